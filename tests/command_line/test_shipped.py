"""Configurations that come with the commands: found by name, listed, and never in a file's way."""

import shutil
from pathlib import Path

import pytest
import yaml

import ggl_lightning.audit.cli
import ggl_lightning.clients.cli
import ggl_lightning.priors.cli
from ggl_lightning.cli import run_command
from ggl_lightning.command_line import shipped

CONFIGS = Path(__file__).parents[2] / "configs"
COMMANDS = {  # by folder: the command, and what stands before its options
    "audit": (ggl_lightning.audit.cli.main, []),
    "client": (ggl_lightning.clients.cli.main, ["fit"]),
    "gan": (ggl_lightning.priors.cli.main, ["fit"]),
}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def printed(capsys):
    """What a command of a kind prints when it is asked for its configuration."""

    def ask(kind, *options):
        command, before = COMMANDS[kind]
        with pytest.raises(SystemExit) as ended:
            run_command(command, [*before, *options, "--print_config"])
        output = capsys.readouterr()
        assert ended.value.code in (0, None), output.err
        return yaml.safe_load(output.out)

    return ask


@pytest.fixture
def refused(capsys):
    """The one line with which a command of a kind refuses."""

    def ask(kind, *options):
        command, before = COMMANDS[kind]
        assert run_command(command, [*before, *options, "--print_config"]) == 2
        [line] = capsys.readouterr().err.splitlines()
        return line

    return ask


@pytest.mark.parametrize(
    "options", [("--config", "demo"), ("--config=demo",), ("-c", "demo")], ids=" ".join
)
@pytest.mark.parametrize("kind", ["audit", "gan"])
def test_a_name_is_the_file_of_that_name(printed, kind, options):
    assert printed(kind, *options) == printed(kind, f"--config={CONFIGS / kind / 'demo.yaml'}")


def test_each_command_has_names_of_its_own(printed, refused):
    assert "client_model" in printed("client", "--config", "celeba32")["model"]
    assert "n_critic" in printed("gan", "--config", "celeba32")["model"]
    line = refused("client", "--config", "demo_sweep")
    assert line.endswith("this command are celeba32, synthetic32.")


def test_names_and_files_are_put_together(printed, tmp_path):
    (tmp_path / "more.yaml").write_text("data: {split: valid}\nmodel: {exp_name: mine}\n")
    config = printed(
        "audit", "--config", "demo_search", "--config", "more.yaml", "--config={data: {}}"
    )
    assert (config["data"]["split"], config["model"]["exp_name"]) == ("valid", "mine")
    assert config["data"]["idx"] == [0, 1, 2]


def test_a_file_of_that_name_wins_and_a_folder_does_not(printed, tmp_path):
    (tmp_path / "demo_table").mkdir()
    assert printed("audit", "--config=demo_table")["model"]["exp_name"] == "demo_table"
    text = (CONFIGS / "audit" / "demo.yaml").read_text()
    (tmp_path / "demo").write_text(text.replace("exp_name: audit", "exp_name: own"))
    assert printed("audit", "--config=demo")["model"]["exp_name"] == "own"


def test_a_file_in_the_home_folder(printed, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    shutil.copy(CONFIGS / "audit" / "demo.yaml", tmp_path / "home" / "mine.yaml")
    assert printed("audit", "--config=~/mine.yaml")["model"]["exp_name"] == "audit"


@pytest.mark.parametrize(
    ("given", "near"),
    [("dmo", "demo"), ("Demo.yaml", "demo"), ("configs/audit/celeba32.yaml", "celeba32")],
)
def test_what_is_neither_path_nor_name(refused, given, near):
    line = refused("audit", "--config", given)
    assert line.startswith(f"error: --config is {given!r}: there is no such file")
    assert all(path.stem in line for path in (CONFIGS / "audit").glob("*.yaml"))
    assert f"Did you mean {near}" in line


@pytest.mark.parametrize("given", ["~nobody_of_this_name/x.yaml", "x" * 5000])
def test_what_can_be_no_path(refused, given):
    assert "there is no such file" in refused("audit", "--config", given)


def test_a_folder_is_no_configuration(refused, tmp_path):
    assert "it is a folder" in refused("audit", "--config", str(tmp_path))


@pytest.mark.parametrize("words", [["--list_configs"], ["fit", "--list_configs"]], ids=" ".join)
@pytest.mark.parametrize("kind", ["audit", "client", "gan"])
def test_the_list_has_a_line_for_each(capsys, kind, words):
    with pytest.raises(SystemExit) as ended:
        run_command(COMMANDS[kind][0], words[-1:] if kind == "audit" else words)
    assert ended.value.code in (0, None)
    *lines, last = capsys.readouterr().out.splitlines()
    assert last == f"Files: {CONFIGS / kind}"
    names = [line.split()[0] for line in lines]
    folder = CONFIGS / kind
    there = (path.relative_to(folder) for path in folder.rglob("*.yaml"))
    assert names == sorted(path.as_posix().removesuffix(".yaml") for path in there)
    for line, name in zip(lines, names, strict=True):
        first = (CONFIGS / kind / f"{name}.yaml").read_text().splitlines()[0]
        assert first == f"# {line.removeprefix(name).strip()}"


@pytest.mark.parametrize(
    "config", sorted(CONFIGS.rglob("*.yaml")), ids=lambda path: f"{path.parent.name}/{path.stem}"
)
def test_the_first_line_of_a_configuration_says_what_it_is(config):
    first = config.read_text().splitlines()[0]
    assert first.startswith("# ")
    assert first.endswith(".")


def test_names_in_folders_have_their_path(printed, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "shipped" / "audit" / "attacks"
    folder.mkdir(parents=True)
    shutil.copy(CONFIGS / "audit" / "demo.yaml", folder / "first.yaml")
    monkeypatch.setattr(shipped, "FOLDER", tmp_path / "shipped")
    assert printed("audit", "--config", "attacks/first")["model"]["exp_name"] == "audit"
    with pytest.raises(SystemExit):
        run_command(ggl_lightning.audit.cli.main, ["--list_configs"])
    assert capsys.readouterr().out.startswith("attacks/first  What")
