"""The notebooks in examples/ run from top to bottom in a clean kernel, and hold no outputs."""

import ast
import importlib.util
import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

REPOSITORY = Path(__file__).parents[1]
NOTEBOOKS = sorted((REPOSITORY / "examples").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_stripped(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count) == ([], None)


def executed(name, folder, monkeypatch):
    """What a notebook's code cells show, each in a list of its own; raises if one raises."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(REPOSITORY)]))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = nbformat.read(REPOSITORY / "examples" / f"{name}.ipynb", as_version=4)
    client = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(folder)}})
    client.execute()
    assert list(folder.iterdir()) == []
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [[out.data for out in cell.outputs if "data" in out] for cell in cells]


def value(shown):
    """The Python value that a cell ends with."""
    return ast.literal_eval(shown[-1]["text/plain"])


def test_a_prior_is_trained_and_exported(tmp_path, monkeypatch):
    shown = executed("train_a_prior", tmp_path, monkeypatch)
    distances = next(value(cell) for cell in shown if cell and "before" in str(cell[-1]))
    before, after = distances.values()
    assert 0 < after < before / 2
    assert sum("image/png" in data for cell in shown for data in cell) == 1


def test_a_model_of_ones_own_is_audited(tmp_path, monkeypatch):
    shown = executed("audit_your_model", tmp_path, monkeypatch)
    assert len(shown) == 10
    every = [data for cell in shown for data in cell]
    assert sum("data:image/png" in data.get("text/html", "") for data in every) == 2
    verdicts = value(every)
    assert verdicts.keys() == {"none", "noise", "compression"}
    assert verdicts["none"]["PSNR above chance (dB)"] > 3
    assert verdicts["none"]["place in the lineup"] == 1


@pytest.mark.skipif(
    importlib.util.find_spec("flwr") is None,
    reason="Flower is not installed here: make test-flower runs this",
)
def test_a_flower_client_is_audited(tmp_path, monkeypatch):
    shown = executed("audit_a_flower_client", tmp_path, monkeypatch)
    every = [data for cell in shown for data in cell]
    assert sum("data:image/png" in data.get("text/html", "") for data in every) == 2
    verdicts = value(every)
    assert verdicts.keys() == {"plain", "private"}
    assert verdicts["plain"]["place in the lineup"] == 1
    plain, private = (verdicts[name]["PSNR above chance (dB)"] for name in verdicts)
    assert plain > 3
    assert private < plain - 1
