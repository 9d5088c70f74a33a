"""The documentation's site has every page and every public class; `make docs` builds it."""

import importlib
import inspect
import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from pytorch_lightning.cli import LightningArgumentParser

from ggl_lightning.audit.shortcuts import add_shortcuts

REPOSITORY = Path(__file__).parents[1]
DOCS = REPOSITORY / "docs"
SITE = yaml.safe_load((REPOSITORY / "mkdocs.yml").read_text())
NAMED = re.findall(
    r"^::: ([\w.]+)$", "\n".join(page.read_text() for page in DOCS.rglob("*.md")), re.MULTILINE
)
PUBLIC = (
    *("ggl_lightning.attacks", "ggl_lightning.attacks.spaces", "ggl_lightning.attacks.searches"),
    *("ggl_lightning.attacks.penalties", "ggl_lightning.defenses", "ggl_lightning.clients"),
    *("ggl_lightning.clients.procedures", "ggl_lightning.priors", "ggl_lightning.updates"),
    *("ggl_lightning.audit", "ggl_lightning.attacks.callbacks", "ggl_lightning.federated"),
    "ggl_lightning.metrics",
)


def pages(nav):
    for entry in nav:
        for target in entry.values():
            yield from pages(target) if isinstance(target, list) else [target]


def test_every_page_and_notebook_stands_in_the_navigation_once():
    written = [path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")]
    notebooks = [f"examples/{path.name}" for path in (REPOSITORY / "examples").glob("*.ipynb")]
    assert len(notebooks) == 3
    assert sorted(pages(SITE["nav"])) == sorted([*written, *notebooks])
    assert (DOCS / "examples").resolve() == REPOSITORY / "examples"


OPENINGS = {
    "Start": ["After this page you have"],
    "How to": ["With this page you can"],
    "Notebooks": ["With this notebook you can"],
    "Explanation": ["After this page you know"],
    "Reference": ["Look up here"],
    "Results": ["Look up here", "After this page you can"],
}


@pytest.mark.parametrize("part", OPENINGS)
def test_a_page_opens_with_what_a_reader_can_do_afterwards(part):
    (nav,) = [entry[part] for entry in SITE["nav"] if part in entry]
    for page in pages([{part: nav}]):
        text = (DOCS / page).read_text()
        if page.endswith(".ipynb"):
            text = "".join(json.loads(text)["cells"][0]["source"])
        opening = text.partition("\n## ")[0].replace("\n", " ")
        assert any(words in opening for words in OPENINGS[part]), page


def test_no_paragraph_stands_on_two_pages():
    places = {}
    for page in DOCS.rglob("*.md"):
        for paragraph in page.read_text().split("\n\n"):
            words = " ".join(paragraph.split())
            if len(words) > 120 and not words.startswith(("|", "```", ":::")):
                places.setdefault(words, set()).add(page.name)
    assert [words for words, found in places.items() if len(found) > 1] == []


def test_short_options_stand_on_the_page_of_commands():
    page = (DOCS / "reference/commands.md").read_text()
    parser = LightningArgumentParser()
    add_shortcuts(parser)
    names = {action.dest for action in parser._actions} - {"help", "client"}
    assert len(names) > 10
    assert [name for name in sorted(names) if f"--{name}" not in page] == []


def found(name):
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def test_what_the_reference_names_is_there_and_named_once():
    assert len(NAMED) == len(set(NAMED)) > 100
    for name in NAMED:
        if inspect.isclass(found(name)) or inspect.isfunction(found(name)):
            assert found(name).__doc__, name


@pytest.mark.parametrize("module", PUBLIC)
def test_the_reference_has_all_classes_that_settings_can_name(module):
    loaded = importlib.import_module(module)
    known = [found(name) for name in NAMED]
    classes = [getattr(loaded, name) for name in loaded.__all__]
    lacking = [each.__name__ for each in classes if isinstance(each, type) and each not in known]
    assert lacking == []


def test_the_tools_that_build_it_are_pinned_and_it_loads_nothing():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    pinned = {
        line.partition("==")[0]
        for line in (REPOSITORY / "constraints.txt").read_text().splitlines()
    }
    for need in project["optional-dependencies"]["docs"]:
        name = re.split(r"[\[>=<]", need)[0]
        assert name in pinned
        assert name in (REPOSITORY / "Makefile").read_text()
    assert SITE["theme"]["font"] is False
