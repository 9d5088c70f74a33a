"""The docs' links lead somewhere, and every configuration file is one that its command takes."""

import importlib
import re
from pathlib import Path

import pytest
import torch
import yaml

import ggl_lightning.audit.cli
import ggl_lightning.clients.cli
import ggl_lightning.priors.cli
from ggl_lightning.cli import run_command

REPOSITORY = Path(__file__).parents[1]
PAGES = [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md")]
CONFIGS = sorted(REPOSITORY.glob("configs/**/*.yaml"))
COMMANDS = {  # by folder: the command's entry, and what stands before its options
    "audit": (ggl_lightning.audit.cli.main, []),
    "client": (ggl_lightning.clients.cli.main, ["fit"]),
    "gan": (ggl_lightning.priors.cli.main, ["fit"]),
}


def anchors(page: Path) -> set[str]:
    """The fragments under which a page's headings can be linked to."""
    headings = re.findall(r"^#+ +(.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def dead_links(page: Path) -> list[str]:
    """Relative links of a page to files or headings that are not there."""
    dead = []
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, heading = link.partition("#")
        target = page.parent / name if name else page
        if not target.exists() or (heading and heading not in anchors(target)):
            dead.append(link)
    return dead


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    assert dead_links(page) == []


def test_dead_links_are_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A: b's c\n[1](page.md#a-bs-c) [2](#d) [3](no.md) [4](https://example.org)\n")
    assert dead_links(page) == ["#d", "no.md"]


@pytest.mark.parametrize("page", [*PAGES, REPOSITORY / "Makefile"], ids=lambda page: page.name)
def test_configurations_that_are_named_exist(page):
    for name in re.findall(r"\bconfigs/[\w/]+\.yaml", page.read_text()):
        assert (REPOSITORY / name).is_file(), name


def test_a_model_and_a_defense_of_ones_own_are_taken_as_the_pages_show(
    tmp_path, monkeypatch, capsys
):
    for page in ("clients.md", "audit.md"):
        text = (REPOSITORY / "docs" / page).read_text()
        for code in re.findall(r"```\w+\n(# my_\w+\.\w+\n.*?)```", text, re.DOTALL):
            name = code.partition("\n")[0].removeprefix("# ")
            (tmp_path / name).write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    model, defense = (importlib.import_module(name) for name in ("my_model", "my_defense"))
    assert model.Net()(torch.zeros(2, 3, 32, 32)).shape == (2, 2)
    [sent] = defense.KeepSigns(0.5)([torch.tensor([3.0, -2.0, 0.0])], None)
    assert sent.tolist() == [0.5, -0.5, 0.0]
    options = ["--config=demo", "--config=my_defenses.yaml", "--model.client_model=my_model.Net"]
    with pytest.raises(SystemExit) as ended:
        run_command(ggl_lightning.audit.cli.main, [*options, "--print_config"])
    printed = capsys.readouterr()
    assert ended.value.code in (0, None), printed.err
    understood = yaml.safe_load(printed.out)
    assert list(understood["data"]["defenses"]) == ["none", "pruned", "ours"]
    assert understood["data"]["defenses"]["ours"]["class_path"] == "my_defense.KeepSigns"
    assert understood["model"]["client_model"]["class_path"] == "my_model.Net"


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_configuration_is_taken_by_its_command(config, capsys):
    command, before = COMMANDS[config.relative_to(REPOSITORY / "configs").parts[0]]
    with pytest.raises(SystemExit) as ended:
        run_command(command, [*before, f"--config={config}", "--print_config"])
    printed = capsys.readouterr()
    assert ended.value.code in (0, None), printed.err
    # What the file says is what the command understood.
    assert_says(yaml.safe_load(printed.out), yaml.safe_load(config.read_text()), config.stem)


def assert_says(understood: object, written: object, where: str) -> None:
    """Every setting of one configuration is in another, with the same value."""
    if isinstance(written, list):
        assert isinstance(understood, list), where
        for i, pair in enumerate(zip(understood, written, strict=True)):
            assert_says(*pair, f"{where}[{i}]")
    elif isinstance(written, dict):
        assert isinstance(understood, dict), where
        for name, value in written.items():
            if value is not None:  # audits print no nulls
                assert name in understood, f"{where}.{name}"
                assert_says(understood[name], value, f"{where}.{name}")
    else:
        assert understood == written, where
