"""A case that fails is marked with its reason; the others go on; the exit code tells."""

import errno
import json

import pytest
import torch
import yaml

from ggl_lightning.attacks.searches import NevergradSearch
from ggl_lightning.attacks.searches.loop import SearchLoop
from ggl_lightning.audit.results.run_folder import RunFolder


class RaisingSearch(NevergradSearch):
    """An optimiser that breaks in its third round whenever a file is not there."""

    def __init__(self, switch: str) -> None:
        super().__init__(population=10)
        self._switch = switch
        self._rounds = 0

    def start(self, latent_shape, budget, seed):
        super().start(latent_shape, budget, seed)
        self._rounds = 0

    def tell(self, losses):
        super().tell(losses)
        self._rounds += 1
        if self._rounds == 3:
            with open(self._switch):  # noqa: PTH123
                pass


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "runs" / "tiny"


@pytest.fixture
def with_a_breaking_attack(tiny_config, tmp_path):
    """Adds an attack beside the working one; returns the file that mends it."""
    config = yaml.safe_load(tiny_config.read_text())
    switch = tmp_path / "switch"
    config["data"]["attacks"]["breaking"] = {
        "class_path": "ggl_lightning.attacks.GenerativeGradientLeakage",
        "init_args": {
            "search": {
                "class_path": "tests.audit.test_failures.RaisingSearch",
                "init_args": {"switch": str(switch)},
            },
            "budget": 5,
        },
    }
    tiny_config.write_text(yaml.safe_dump(config, sort_keys=False))
    return switch


def _rows(folder):
    return json.loads((folder / "summary.json").read_text())


def test_an_optimiser_that_raises_fails_its_cases_only(
    audit, with_a_breaking_attack, folder, capsys
):
    assert audit() == 3
    error = capsys.readouterr().err
    assert "4 failed; the same command tries them again" in error
    assert "image000000_none_breaking_seed0: FileNotFoundError" in error
    rows = _rows(folder)
    assert len(rows) == 8
    for row in rows:
        if row["attack"] == "breaking":
            assert row["status"] == "failed"
            assert "FileNotFoundError" in row["error"]
            assert row["psnr"] is None
            assert not (folder / "cases" / row["name"] / "result.json").exists()
        else:
            assert (row["status"], row["error"]) == ("done", None)
            assert row["psnr"] > 0
    assert "nan" not in (folder / "results.csv").read_text().lower()
    # Mended, the same command does what is missing and nothing else.
    done = [folder / "cases" / r["name"] / "result.json" for r in rows if r["status"] == "done"]
    before = [file.stat().st_mtime_ns for file in done]
    with_a_breaking_attack.touch()
    assert audit() == 0
    assert [file.stat().st_mtime_ns for file in done] == before
    assert {row["status"] for row in _rows(folder)} == {"done"}
    assert not list(folder.glob("cases/*/failure.json"))


def test_nan_losses_fail_the_case_with_their_number(audit, folder, monkeypatch):
    whole = SearchLoop.run

    def poisoned(loop):
        objective = loop.objective

        class Poisoned:
            def __call__(self, latents):
                losses = objective(latents)
                return torch.where(torch.arange(len(losses)) == 2, torch.nan, losses)

            def __getattr__(self, name):
                return getattr(objective, name)

        loop.objective = Poisoned()
        whole(loop)

    monkeypatch.setattr(SearchLoop, "run", poisoned)
    assert audit("--idx", "0") == 3
    for row in _rows(folder):
        assert row["status"] == "failed"
        assert "1 of 10 candidates" in row["error"]


def test_a_full_disk_fails_the_case_and_leaves_the_others(audit, folder, monkeypatch, capsys):
    write = RunFolder.write_case
    full = []

    def write_case(self, originals, outcome):
        if outcome.result["name"].startswith("image000000_none") and not full:
            full.append(outcome.result["name"])
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, originals, outcome)

    monkeypatch.setattr(RunFolder, "write_case", write_case)
    assert audit() == 3
    assert "No space left on device" in capsys.readouterr().err
    statuses = {row["name"]: row["status"] for row in _rows(folder)}
    assert statuses.pop("image000000_none_cma_seed0") == "failed"
    assert set(statuses.values()) == {"done"}
    assert audit() == 0
    assert {row["status"] for row in _rows(folder)} == {"done"}


def test_a_failure_that_cannot_even_be_written_still_tells(audit, folder, monkeypatch, capsys):
    def refuse(self, *anything):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(RunFolder, "write_case", refuse)
    monkeypatch.setattr(RunFolder, "write_failure", refuse)
    assert audit("--idx", "0") == 3
    assert "2 failed" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"name": 1}', "\udcff"])
def test_a_damaged_result_is_run_again(audit, folder, content):
    assert audit("--idx", "0") == 0
    damaged = folder / "cases" / "image000000_none_cma_seed0" / "result.json"
    good = damaged.read_bytes()
    damaged.write_bytes(content.encode("utf-8", "surrogateescape"))
    if content == '{"name": 1}':
        assert audit("--idx", "0") == 2  # another configuration's, for all anyone can tell
        return
    assert audit("--idx", "0") == 0
    varying = {"seconds"}
    old, new = json.loads(good), json.loads(damaged.read_bytes())
    assert {k: v for k, v in old.items() if k not in varying} == {
        k: v for k, v in new.items() if k not in varying
    }
