"""Nothing that a configuration or a result says leads out of the output folder."""

import base64
import json
from pathlib import Path

import pytest
import yaml
from PIL import Image

import audit as audit_command
from ggl_lightning.audit.plan.case import check_name
from ggl_lightning.audit.report import build_report
from ggl_lightning.cli import run_command
from ggl_lightning.errors import UserError
from tests.audit.result_rows import case, utility

ESCAPES = {
    "parent": "../up",
    "parent alone": "..",
    "here": ".",
    "deep": "a/../../up",
    "absolute": "/tmp/up",
    "home": "~",
    "windows parent": "..\\up",
    "windows drive": "C:up",
    "stream": "a:b",
    "NUL": "a\0b",
    "newline": "a\n",
    "empty": "",
    "blank": " ",
    "hidden": ".hidden",
    "option": "-rf",
    "long": "a" * 61,
    "very long": "a" * 100_000,
    "fraction slash": "a\u2044b",
    "full-width slash": "\uff0e\uff0e\uff0fup",
    "division slash": "..\u2215up",
    "two dots in one": "\u2025/up",
    "cyrillic a": "\u0430udit",
    "right to left": "a\u202eb",
    "combining": "a\u0338",
    "digits of another script": "\u0663",
}


@pytest.mark.parametrize("name", ESCAPES.values(), ids=ESCAPES)
def test_names_are_plain(name):
    with pytest.raises(UserError, match="letters, digits"):
        check_name("defense", name)


@pytest.mark.parametrize("name", ["a", "noise0.1", "A_b.c+d-e", "1e-3", "a..b", "a" * 60])
def test_plain_names_are_taken(name):
    check_name("defense", name)


@pytest.mark.parametrize("what", ["exp_name", "defense", "attack"])
@pytest.mark.parametrize("name", ["../up", "/tmp/up"])
def test_no_name_of_a_configuration_leads_out(tiny_config, audit, tmp_path, what, name, capsys):
    config = yaml.safe_load(tiny_config.read_text())
    if what == "exp_name":
        config["model"]["exp_name"] = name
    else:
        config["data"][f"{what}s"] = {name: next(iter(config["data"][f"{what}s"].values()))}
    tiny_config.write_text(yaml.safe_dump(config))
    assert audit() == 2
    assert "becomes part of file names" in capsys.readouterr().err
    assert not list(tmp_path.glob("**/result.json"))
    assert not (tmp_path / "up").exists()
    assert not Path("/tmp/up").exists()


def test_an_output_folder_that_is_no_path(tiny_config, audit, capsys):
    config = yaml.safe_load(tiny_config.read_text())
    config["model"]["out_dir"] = "a\0b"
    tiny_config.write_text(yaml.safe_dump(config))
    assert audit() == 2
    assert "NUL" in capsys.readouterr().err
    assert audit("--out_dir", "x" * 300) == 2
    assert "too long" in capsys.readouterr().err


def test_names_that_run_together_are_refused(tiny_config, audit, capsys):
    config = yaml.safe_load(tiny_config.read_text())
    defense, attack = config["data"]["defenses"]["none"], config["data"]["attacks"]["cma"]
    config["data"]["defenses"] = {"a": defense, "a_b": defense}
    config["data"]["attacks"] = {"b_c": attack, "c": attack}
    tiny_config.write_text(yaml.safe_dump(config))
    assert audit() == 2
    assert "Two cases are called 'image000000_a_b_c_seed0'" in capsys.readouterr().err


def test_a_seed_too_large_for_the_generators(audit, capsys):
    assert audit("--seed", str(2**63)) == 2
    assert "seed must not be" in capsys.readouterr().err
    assert audit("--seed", str(2**63 - 1), "--idx", "0", "--budget", "2", "--defense", "none") == 0


@pytest.fixture
def outside(tmp_path):
    folder = tmp_path / "outside"
    folder.mkdir()
    return folder


@pytest.mark.parametrize(
    "place",
    [
        *("cases", "cases/image000000_none_cma_seed0", "cases/anything", "utility"),
        *("tensorboard", "tensorboard/hparams/image000000_none_cma_seed0", "config.yaml"),
    ],
)
def test_links_in_a_run_folder_are_refused(audit, tmp_path, outside, place, capsys):
    link = tmp_path / "runs" / "tiny" / place
    link.parent.mkdir(parents=True)
    link.symlink_to(outside if place.partition("/")[0] in ("cases", "utility") else "/nowhere")
    for option in ((), ("--dry_run",)) if place == "utility" else ((),):
        assert audit("--idx", "0", *option) == 2
    assert f"{link} is a link" in capsys.readouterr().err
    assert list(outside.iterdir()) == []
    assert link.is_symlink()


def test_links_inside_a_case_are_replaced_and_not_followed(audit, tmp_path, outside):
    folder = tmp_path / "runs" / "tiny" / "cases" / "image000000_none_cma_seed0"
    folder.mkdir(parents=True)
    names = ("original.png", "reconstruction.png", "latent.npy", "losses.csv", "result.json")
    for name in (*names, "snapshot.safetensors", "failure.json"):
        (outside / name).write_text("precious")
        (folder / name).symlink_to(outside / name)
    assert audit("--idx", "0", "--defense", "none") == 0
    assert {file.read_text() for file in outside.iterdir()} == {"precious"}
    assert sorted(file.name for file in folder.iterdir()) == sorted(names)
    assert not any(file.is_symlink() for file in folder.iterdir())


def test_the_run_folder_may_be_a_link_itself(audit, tmp_path, outside):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "tiny").symlink_to(outside)
    assert audit("--idx", "0", "--defense", "none") == 0
    assert (outside / "report.html").exists()


def test_a_result_with_anothers_name_is_run_again(audit, tmp_path):
    run = tmp_path / "runs" / "tiny"
    assert audit("--idx", "0", "--defense", "none") == 0
    file = run / "cases" / "image000000_none_cma_seed0" / "result.json"
    row = json.loads(file.read_text())
    for name in ("../../../up", 7):
        file.write_text(json.dumps({**row, "name": name}))
        assert audit("--idx", "0", "--defense", "none") == 0
        assert json.loads(file.read_text())["name"] == row["name"]
    assert not list(tmp_path.glob("**/up"))


def _picture(file, shade):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), (shade, 1, 2)).save(file)


@pytest.fixture
def strange_runs(tmp_path):
    """Two run folders whose results have names that would lead to a picture beside them."""
    runs = [tmp_path / "first", tmp_path / "second"]
    for number, run in enumerate(runs):
        names = ["../../secret", str(tmp_path / "secret"), "<b>&\"'", "x/y", "a" * 5000, "\u202e"]
        for i, name in enumerate(names):
            row = case(10 * number + i, mse=0.1, psnr=20.0, name=f"{name}{number}", key=f"{run}{i}")
            folder = run / "cases" / f"case{i}"
            _picture(folder / "original.png", shade=i)
            (folder / "result.json").write_text(json.dumps(row))
        folder = run / "utility" / "none"
        folder.mkdir(parents=True)
        row = utility(seed=number, name=f"../../up{number}")
        (folder / "result.json").write_text(json.dumps(row))
    for number in (0, 1):
        _picture(tmp_path / f"secret{number}" / "original.png", shade=255)
    return runs


def test_names_in_results_are_text_to_a_report(strange_runs, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    page = build_report(strange_runs, tmp_path / "report").read_text()
    made = set(tmp_path.rglob("*")) - set(before)
    assert {file.parent for file in made} <= {tmp_path, tmp_path / "report"}
    assert "<b>&" not in page
    pictures = [part.partition('"')[0] for part in page.split("data:image/png;base64,")[1:]]
    shades = {_shade(base64.b64decode(picture), tmp_path) for picture in pictures}
    assert shades == set(range(6))  # and not the secret's 255


def _shade(content, tmp_path):
    file = tmp_path / "shown.png"
    file.write_bytes(content)
    with Image.open(file) as image:
        return image.getpixel((0, 0))[0]


def test_the_reports_output_replaces_links_and_follows_none(strange_runs, tmp_path, outside):
    output = tmp_path / "report"
    output.mkdir()
    for name in ("report.html", "results.csv", "statistics.json"):
        (outside / name).write_text("precious")
        (output / name).symlink_to(outside / name)
    command = ["report", *map(str, strange_runs), "--output", str(output)]
    assert run_command(audit_command.main, command) == 0
    assert {file.read_text() for file in outside.iterdir()} == {"precious"}
    assert not any(file.is_symlink() for file in output.iterdir())


@pytest.mark.parametrize("name", ["x" * 300, "file/below"])
def test_an_output_that_cannot_be_is_one_message(strange_runs, tmp_path, name, capsys):
    (tmp_path / "file").write_text("")
    command = ["report", *map(str, strange_runs), "--output", str(tmp_path / name)]
    assert run_command(audit_command.main, command) == 2
    assert "cannot be written" in capsys.readouterr().err
    assert {file.name for file in (tmp_path / "first").iterdir()} == {"cases", "utility"}
