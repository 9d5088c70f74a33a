"""The notebooks in examples/ run from top to bottom in a clean kernel, and hold no outputs."""

import ast
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


def test_a_model_of_ones_own_is_audited(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(REPOSITORY)]))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = nbformat.read(REPOSITORY / "examples" / "audit_your_model.ipynb", as_version=4)
    client = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()  # raises if a cell does
    codes = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(codes) == 10
    shown = [out.data for cell in codes for out in cell.outputs if "data" in out]
    assert sum("data:image/png" in data.get("text/html", "") for data in shown) == 2
    verdicts = ast.literal_eval(shown[-1]["text/plain"])
    assert verdicts.keys() == {"none", "noise", "compression"}
    assert verdicts["none"]["PSNR above chance (dB)"] > 3
    assert verdicts["none"]["place in the lineup"] == 1
    assert list(tmp_path.iterdir()) == []
