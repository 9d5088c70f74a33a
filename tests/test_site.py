"""The documentation's site has every page and every public class; `make docs` builds it."""

import importlib
import inspect
import re
import tomllib
from pathlib import Path

import pytest
import yaml

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
    "ggl_lightning.audit",
)


def pages(nav):
    for entry in nav:
        for target in entry.values():
            yield from pages(target) if isinstance(target, list) else [target]


def test_every_page_stands_in_the_navigation_once():
    assert sorted(pages(SITE["nav"])) == sorted(
        path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")
    )


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
