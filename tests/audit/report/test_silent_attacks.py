"""Attacks that only rank have no pictures, and no columns of empty fields for them."""

import json

from ggl_lightning.audit.report import build_report
from tests.audit.report.fabricated import Plan, write_run
from tests.audit.report.html_page import read_page, with_class

SILENT = "the attack makes no reconstruction"


def page(tmp_path, silent):
    run = write_run(tmp_path / "run", Plan(defenses=("none",), attacks=("cma", "adam")))
    for file in (run / "cases").glob("*/result.json"):
        row = json.loads(file.read_text())
        if row["attack"] in silent:
            row["missing_metrics"]["psnr"] = SILENT
            row["psnr"] = None
            file.write_text(json.dumps(row))
            (file.parent / "reconstruction.png").unlink()
    return read_page(build_report([run], tmp_path))


def columns(tmp_path, silent):
    found = page(tmp_path, silent)
    grid = with_class(found, "grid")[0]
    return len(grid.all("thead")[0].all("tr")[1].all("th")), found.text


def test_an_attack_that_makes_no_images_has_no_columns_and_is_named(tmp_path):
    for name in ("all", "one", "none"):
        (tmp_path / name).mkdir()
    whole, _ = columns(tmp_path / "all", ())
    fewer, text = columns(tmp_path / "one", ("adam",))
    assert fewer == whole - 4  # two nulls, the attack and its bound
    assert "make no images: adam." in text
    alone, text = columns(tmp_path / "none", ("adam", "cma"))
    assert alone == whole
    assert "make no images" not in text
