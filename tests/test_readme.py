"""What the README shows is run as it stands there."""

import re
from pathlib import Path

import pytest
import yaml

import ggl_lightning.audit.cli
from ggl_lightning.cli import run_command
from tests.test_docs import assert_says

REPOSITORY = Path(__file__).parents[1]
README = (REPOSITORY / "README.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_python_finds_the_image(capsys):
    [code] = blocks("python")
    exec(compile(code, "README.md", "exec"), {})
    table = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines() if line}
    assert float(table["learned"][1]) > float(table["(chance)"][1]) + 5
    assert table["matching"][5] == "1"  # first of the lineup


def test_the_yaml_is_what_the_command_understands(tmp_path, capsys):
    [text] = blocks("yaml")
    (tmp_path / "first.yaml").write_text(text)
    command = ggl_lightning.audit.cli.main
    with pytest.raises(SystemExit) as ended:
        run_command(command, [f"--config={tmp_path / 'first.yaml'}", "--print_config"])
    printed = capsys.readouterr()
    assert ended.value.code in (0, None), printed.err
    understood, written = yaml.safe_load(printed.out), yaml.safe_load(text)
    written["data"].pop("defenses"), written["data"].pop("attacks")  # there by their short names
    assert_says(understood, written, "first.yaml")
    classes = {name: each["class_path"] for name, each in understood["data"]["defenses"].items()}
    assert classes == {
        "none": "ggl_lightning.defenses.NoDefense",
        "noise": "ggl_lightning.defenses.Noise",
    }


def test_commands_are_there():
    makefile = (REPOSITORY / "Makefile").read_text()
    lines = [line for block in blocks("bash") for line in block.splitlines()]
    for line in lines:
        if line.startswith("make "):
            assert re.search(rf"^{line.split()[1]}:", makefile, re.MULTILINE), line
        else:
            program, script, *options = line.split()
            assert program == ".venv/bin/python"
            assert (REPOSITORY / script).is_file(), line
            assert {o for o in options if o.startswith("--")} <= {"--config", "--dry_run"}
    assert {"make demo", "make test"} <= set(lines)
