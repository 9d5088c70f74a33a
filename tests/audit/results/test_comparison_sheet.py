from PIL import Image

from ggl_lightning.audit.results.pictures import comparison_sheet


def sheet(tmp_path, attacks, making):
    cases = []
    for attack in attacks:
        folder = tmp_path / attack
        folder.mkdir()
        picture = Image.new("RGB", (8, 8), "red")
        picture.save(folder / "original.png")
        if attack in making:
            picture.save(folder / "reconstruction.png")
        result = {"seed": 0, "image_index": 3, "defense": "none", "attack": attack, "psnr": None}
        cases.append(({**result, "details": {"indices": [3]}}, folder))
    comparison_sheet(cases, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as image:
        return image.width


def test_attacks_that_make_no_images_have_no_column(tmp_path):
    for name in ("one", "both", "none"):
        (tmp_path / name).mkdir()
    one = sheet(tmp_path / "one", ["learned"], ["learned"])
    both = sheet(tmp_path / "both", ["learned", "matching"], ["learned"])
    none = sheet(tmp_path / "none", ["matching"], [])
    assert one == both == none  # alone, a grey field says that there is nothing
