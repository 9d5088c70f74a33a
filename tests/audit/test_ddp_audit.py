"""Two processes share an audit's cases and leave the table of one process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).parents[2]
VARYING = {"seconds"}


def _run(config, *arguments):
    environment = {
        **os.environ,
        "PYTHONPATH": str(REPOSITORY),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    command = [sys.executable, "audit.py", "--config", str(config), "--budget=6", *arguments]
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done


def _rows(folder):
    rows = json.loads((folder / "summary.json").read_text())
    return [{k: v for k, v in row.items() if k not in VARYING} for row in rows]


def test_two_ranks_leave_what_one_process_leaves(tiny_config, tmp_path):
    config = yaml.safe_load(tiny_config.read_text())
    del config["data"]["controls"]
    config["data"]["idx"] = [0, 3, 5]
    tiny_config.write_text(yaml.safe_dump(config, sort_keys=False))
    ddp = ("--trainer.strategy=ddp", "--trainer.devices=2", "--trainer.accelerator=cpu")
    _run(tiny_config, "--exp_name=one")
    _run(tiny_config, "--exp_name=two", *ddp)
    one, two = tmp_path / "runs" / "one", tmp_path / "runs" / "two"
    assert _rows(one) == _rows(two)
    assert len(_rows(two)) == 24
    # A rerun on two ranks, with a few cases missing, does these and no others.
    results = sorted(two.glob("cases/*/result.json"))
    for file in results[::5]:
        file.unlink()
    before = {file: file.stat().st_mtime_ns for file in results if file.exists()}
    _run(tiny_config, "--exp_name=two", *ddp)
    assert {file: file.stat().st_mtime_ns for file in before} == before
    assert _rows(one) == _rows(two)
    # More ranks than cases.
    _run(tiny_config, "--exp_name=few", "--data.controls=[]", "--idx=0", "--defense=none", *ddp)
    assert len(_rows(tmp_path / "runs" / "few")) == 1
