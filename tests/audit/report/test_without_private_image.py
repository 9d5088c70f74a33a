"""Cases of recorded updates, of which nobody gave the private image, beside others."""

import json

import pytest
from PIL import Image

from ggl_lightning.audit.report import build_report
from ggl_lightning.audit.results.collect import collect
from ggl_lightning.audit.results.reading import UnreadableResultError, read_row
from ggl_lightning.audit.results.run_folder import RunFolder
from ggl_lightning.audit.results.schema import (
    CASE_FIELDS,
    METRICS,
    NO_PRIVATE_IMAGE,
    columns,
    missing_without_private_image,
)
from ggl_lightning.audit.run.table import format_table
from ggl_lightning.audit.run.tensorboard import log_outcome
from tests.audit.report.fabricated import Plan, row, rows, write_case, write_run
from tests.audit.report.html_page import by_id, read_page, with_class

PLAN = Plan(images=2, defenses=("none",), utility=False, rounds=3)


def _recorded(record, attack="cma"):
    """The row of an attack on a recorded update."""
    made = row(PLAN, 0, "attack", "none", attack, 15.0)
    missing = missing_without_private_image()
    return {
        **made,
        **dict.fromkeys(missing),
        "name": f"{record}_none_{attack}_seed0",
        "key": f"key of {record} {attack}",
        "image_index": None,
        "record": record,
        "missing_metrics": missing,
    }


@pytest.fixture
def run(tmp_path):
    """A run folder with cases of two private images and of two records."""
    folder = write_run(tmp_path / "mixed", PLAN)
    for record in ("round1", "round2"):
        name = _recorded(record)["name"]
        case = write_case(folder, row(PLAN, 0, "attack", "none", "cma", 15.0), PLAN, name)
        (case / "original.png").unlink()
        (case / "result.json").write_text(json.dumps(_recorded(record)))
    return folder


def test_every_metric_is_missing_with_the_reason():
    missing = missing_without_private_image()
    assert METRICS.keys() <= missing.keys() <= {column.name for column in columns()}
    assert {"rank_pixel", "rank_feature", "attribute_agreement"} <= missing.keys()
    assert not missing.keys() & {"loss", "label_margin", "inferred_labels", "evaluations"}
    assert set(missing.values()) == {NO_PRIVATE_IMAGE}


def test_the_report_shows_reconstructions_and_why_there_are_no_metrics(run):
    page = read_page(build_report([run], run))
    text = by_id(page, "environment").text
    assert "0 to 1, round1, round2" in text
    tiles = [tile.text for tile in with_class(page, "private")]
    assert sum(NO_PRIVATE_IMAGE in tile for tile in tiles) == 2
    assert {"round1", "round2"} <= {
        name for tile in tiles for name in ("round1", "round2") if name in tile
    }
    assert NO_PRIVATE_IMAGE in by_id(page, "missing").text
    (one,) = json.loads((run / "statistics.json").read_text())["groups"]
    assert (one["cases"], one["images"]) == (4, 4)
    assert (one["metrics"]["psnr"]["count"], one["metrics"]["psnr"]["left_out"]) == (2, 2)
    header, *lines = (run / "results.csv").read_text().splitlines()
    assert "record" in header.split(",")
    assert len(lines) == len(rows(PLAN)) + 2


def test_records_alone_have_no_number_and_say_why(run):
    for case in (run / "cases").glob("image*"):
        for file in case.iterdir():
            file.unlink()
        case.rmdir()
    page = read_page(build_report([run], run))
    (one,) = json.loads((run / "statistics.json").read_text())["groups"]
    assert all(found == {"missing": NO_PRIVATE_IMAGE} for found in one["metrics"].values())
    assert all(found == {"missing": NO_PRIVATE_IMAGE} for found in one["leakage"].values())
    assert one["label_accuracy"]["count"] == 2
    verdict = by_id(page, "verdict").text
    assert f"Leakage by PSNR is not known: {NO_PRIVATE_IMAGE}." in verdict


def test_tables_pictures_and_tensorboard_name_the_record(run):
    shown = collect([run]).rows
    table = format_table(shown, run)
    assert [line.split()[0] for line in table.splitlines()[1:5]] == ["0", "1", "round1", "round2"]
    folder = RunFolder(run)
    folder.write_picture(shown)
    with Image.open(run / "summary.png") as sheet:
        assert sheet.height > 4 * 128

    logged = {}

    class Experiment:
        def add_image(self, tag, picture):
            logged[tag] = picture.shape

        def add_text(self, tag, text):
            logged[f"{tag} text"] = text

    class Logger:
        log_dir = run / "tensorboard"
        experiment = Experiment()

    log_outcome([Logger()], folder, shown, ["none: Held."])
    assert logged["audit text"].startswith("none: Held.\n\n")
    _, recorded = logged["clients/round1_seed0 text"].split("\n\n")
    assert recorded == "1. reconstruction, none, cma"
    _, given = logged["clients/image000000_seed0 text"].split("\n\n")
    assert given.startswith("1. private image\n2. random samples: PSNR ")
    assert "reconstruction, none, cma: PSNR " in given
    assert (run / "tensorboard" / "hparams" / "round1_none_cma_seed0").is_dir()


def test_a_case_of_neither_image_nor_record_is_refused(tmp_path):
    made = _recorded("round1")
    del made["record"]
    (tmp_path / "result.json").write_text(json.dumps(made))
    with pytest.raises(UnreadableResultError, match="neither an 'image_index' nor a 'record'"):
        read_row(tmp_path / "result.json", CASE_FIELDS)
