"""`--attack standard` from the command line, with a row for each of its members."""

import csv
import json

import pytest
import yaml

from ggl_lightning.audit.results.collect import collect
from ggl_lightning.audit.statistics import compute_statistics
from ggl_lightning.errors import UserError
from tests.audit.conftest import tiny_settings


@pytest.fixture
def config(tmp_path):
    settings = tiny_settings(tmp_path / "runs")
    settings["data"]["images"] = {"class_path": "tests.audit.test_public_images.SplitImages"}
    settings["data"]["defenses"]["noise0.1"]["init_args"]["std"] = 1.0
    settings["data"]["controls"] = ["null_noise", "bound"]
    path = tmp_path / "standard.yaml"
    path.write_text(yaml.safe_dump(settings, sort_keys=False))
    return path


def test_members_have_rows_pictures_and_statistics(audit, config, tmp_path, capsys):
    arguments = ("--config", str(config), "--attack", "standard", "--budget", "3")
    assert audit(*arguments) == 0
    run = tmp_path / "runs" / "tiny"
    table, _, worst = capsys.readouterr().out.partition("Worst case over attacks")
    assert "standard/" not in table  # one line a case
    assert "none: Not judged. standard/learned gets closest: PSNR" in worst
    with (run / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    attacks = {(row["defense"], row["attack"]) for row in rows if row["role"] == "attack"}
    undefended = {name for defense, name in attacks if defense == "none"}
    assert undefended >= {"standard", "standard/matching", "standard/learned"}
    assert ("noise0.1", "standard/ggl") in attacks
    by_name = {row["name"]: row for row in rows}
    case = "image000000_none_standard_seed0"
    assert by_name[case]["psnr"] == by_name[f"{case}/learned"]["psnr"]
    assert by_name[case]["rank_update"] == by_name[f"{case}/matching"]["rank_update"] == "1"
    assert float(by_name[case]["predicted_mse"]) > 0
    assert (run / "cases" / case / "members" / "learned" / "reconstruction.png").exists()
    # Members meet nulls of their own: the same attack on another update.
    assert f"{case}_null_noise/learned" in by_name
    page = (run / "report.html").read_text()
    assert "standard/learned" in page
    groups = json.loads((run / "statistics.json").read_text())["groups"]
    names = [group["attack"] for group in groups if group["defense"] == "noise0.1"]
    members = ("matching", "learned", "warm", "ggl")
    assert names == ["standard", *(f"standard/{member}" for member in members)]
    before = {path: path.stat().st_mtime_ns for path in (run / "cases").rglob("*")}
    assert audit(*arguments) == 0
    assert before == {path: path.stat().st_mtime_ns for path in (run / "cases").rglob("*")}


def test_a_configuration_names_it_in_a_word(audit, config, tmp_path):
    settings = yaml.safe_load(config.read_text())
    settings["data"]["attacks"] = {"standard": "StandardAttack"}
    settings["data"]["idx"] = [0]
    settings["data"]["controls"] = []
    settings["data"]["defenses"].pop("noise0.1")
    short = tmp_path / "short.yaml"
    short.write_text(yaml.safe_dump(settings))
    assert audit("--config", str(short), "--budget", "2") == 0
    found = collect([tmp_path / "runs" / "tiny"])
    assert "standard/learned" in found.attacks


def test_results_of_other_versions_are_not_compared(audit, config, tmp_path):
    arguments = ("--config", str(config), "--attack", "standard", "--budget", "2")
    arguments += ("--data.controls", "[]", "--data.idx", "0")
    assert audit(*arguments, "--defense", "none") == 0
    rows = collect([tmp_path / "runs" / "tiny"]).rows
    other = [json.loads(json.dumps(row)) for row in rows]
    for row in other:
        row["image_index"] += 1
        row["details"]["attack"]["version"] = 2
    with pytest.raises(UserError, match="standard"):
        compute_statistics([*rows, *other])
