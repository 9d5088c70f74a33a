"""What a release says of itself agrees, wherever it is said."""

import tomllib
from datetime import date
from pathlib import Path

import pytest
import yaml

import ggl_lightning

REPOSITORY = Path(__file__).parents[1]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
CITATION = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
HOOKS = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text())
WORKFLOWS = sorted((REPOSITORY / ".github").rglob("*.yml"))


def test_versions_agree():
    assert ggl_lightning.__version__ == PROJECT["version"] == CITATION["version"]


def test_the_citation_has_what_its_format_requires():
    # Citation File Format 1.2.0, section "Valid keys".
    assert CITATION["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= CITATION.keys()
    assert CITATION["title"] == PROJECT["name"].replace("-", "_")
    assert CITATION["license"] == PROJECT["license"]
    if "date-released" in CITATION:
        assert isinstance(CITATION["date-released"], date)
    [paper] = [each for each in CITATION["references"] if each["type"] == "conference-paper"]
    assert paper["year"] == 2022
    assert len(paper["authors"]) == 4


def test_hooks_are_those_of_the_environment():
    hooks = [hook for repository in HOOKS["repos"] for hook in repository["hooks"]]
    assert {repository["repo"] for repository in HOOKS["repos"]} == {"local"}
    assert [hook["id"] for hook in hooks] == ["ruff-check", "ruff-format", "mypy"]
    for hook in hooks:
        assert hook["language"] == "system"
        assert hook["entry"].split()[0] == ".venv/bin/python"


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_forms_and_workflows_can_be_read(path):
    found = yaml.safe_load(path.read_text())
    assert isinstance(found, dict)
    if path.parent.name == "workflows":
        assert {"name", "jobs", True} <= found.keys()  # YAML 1.1 reads `on` as true
    elif path.stem != "config":
        assert {"name", "description", "body"} <= found.keys()


def test_a_release_is_refused_unless_tag_and_version_agree():
    text = (REPOSITORY / ".github/workflows/release.yml").read_text()
    for step in ("python -m build", "twine check --strict", "GITHUB_REF_NAME"):
        assert step in text
