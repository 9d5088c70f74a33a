"""The configurations of published attacks: each is planned by name, with its paper's numbers."""

import pytest

from ggl_lightning.audit.cli import main
from ggl_lightning.cli import run_command
from ggl_lightning.command_line.shipped import ShippedConfigurations
from tests.data.conftest import write_celeba_tree

# Steps or candidates, with one more for the answer of every search.
EVALUATIONS = {
    "attacks/dlg": 6001,
    "attacks/ggl_adam": 4 * 2501,
    "attacks/ggl_cma": 4 * 40_001,
    "attacks/ggl_turbo": 4 * 1001,
    "attacks/gias": 3 * 1000 + 1 + 8001,
    "attacks/gifd": 4 * 4 * 1001,
    "attacks/grad_inversion": 8 * 20_000 + 1,
    "attacks/idlg": 6001,
    "attacks/inverting_gradients": 24_001,
    "attacks/rog": 101,
}


def test_all_of_them_are_listed():
    names = ShippedConfigurations("audit").files()
    assert sorted(EVALUATIONS) == [name for name in names if name.startswith("attacks/")]


@pytest.mark.parametrize("name", EVALUATIONS)
def test_it_is_planned_by_its_name(name, tmp_path, capsys):
    write_celeba_tree(tmp_path)
    arguments = [
        "--config", name, "--dry_run", "--data.images.init_args.root", str(tmp_path),
        "--model.client_model.init_args.width", "4", "--trainer.accelerator", "cpu",
        "--out_dir", str(tmp_path / "runs"), "--data.controls", "[]", "--data.decoys", "2",
    ]  # fmt: skip
    assert run_command(main, arguments) == 0
    (line,) = [
        line
        for line in capsys.readouterr().out.splitlines()
        if f"attack none {name.removeprefix('attacks/')}" in " ".join(line.split())
    ]
    assert line.split()[:2] == ["1", str(EVALUATIONS[name])]
