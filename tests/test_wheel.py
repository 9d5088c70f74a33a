"""The wheel, built and installed where nothing else of the repository can be found."""

import configparser
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from ggl_lightning.data.synthetic import write_synthetic_celeba

REPOSITORY = Path(__file__).parents[1]
SOURCES = ("ggl_lightning", "configs", "ggl_commands.py", "pyproject.toml", "README.md", "LICENSE")
CALLS = {
    "ggl-audit": "ggl_commands:audit",
    "ggl-faces": "ggl_commands:faces",
    "ggl-train-client": "ggl_commands:train_client",
    "ggl-train-gan": "ggl_commands:train_gan",
}
# Runs a command as the interpreter would, and tells where its code came from.
RUN = """
import atexit, runpy, sys
sys.argv = sys.argv[1:]
own = lambda: {m.__file__ for n, m in sys.modules.items() if n.startswith("ggl_")}
atexit.register(lambda: print("code:", *sorted(file for file in own() if file)))
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built of a copy: a build leaves files beside its sources, and takes some from there."""
    source = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        if (REPOSITORY / name).is_dir():
            unwanted = shutil.ignore_patterns("__pycache__")
            shutil.copytree(REPOSITORY / name, source / name, symlinks=True, ignore=unwanted)
        else:
            shutil.copy(REPOSITORY / name, source)
    dist = tmp_path_factory.mktemp("dist")
    _pip("wheel", "--no-build-isolation", f"--wheel-dir={dist}", str(source))
    [built] = dist.iterdir()
    return built


def _pip(*arguments):
    offline = ("--no-index", "--no-deps", "--disable-pip-version-check")
    command = [sys.executable, "-m", "pip", *arguments, *offline]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def _files(folder):
    """All files that the package needs, by their path in the repository."""
    found = (path for path in (REPOSITORY / folder).rglob("*") if path.is_file())
    return {
        path.relative_to(REPOSITORY).as_posix() for path in found if "__pycache__" not in path.parts
    }


def test_the_wheel_holds_package_configurations_and_commands(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        [entry_points] = [name for name in archive.namelist() if "entry_points" in name]
        parser = configparser.ConfigParser()
        parser.read_string(archive.read(entry_points).decode())
    configs = {f"ggl_lightning/{name}" for name in _files("configs")}
    assert len(configs) > 10
    assert names == _files("ggl_lightning") | configs | {"ggl_commands.py"}
    assert dict(parser["console_scripts"]) == CALLS


def test_the_demo_runs_from_the_wheel_alone(wheel, tmp_path):
    installed, empty = tmp_path / "installed", tmp_path / "empty"
    empty.mkdir()
    _pip("install", f"--target={installed}", str(wheel))
    write_synthetic_celeba(empty / "runs/demo/faces", 60, seed=2203, workers=1)
    done = subprocess.run(
        [
            *(sys.executable, "-c", RUN, str(installed / "bin" / "ggl-audit"), "--config=demo"),
            *("--idx=0", "--defense=none", "--public_images=20", "--data.controls=[]"),
            *("--model.utility=null", "--data.decoys=1", "--model.random_samples=4"),
        ],
        cwd=empty,
        env={"PYTHONPATH": str(installed), "PATH": os.defpath, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *_, last = done.stdout.splitlines()
    code = [Path(file) for file in last.removeprefix("code: ").split()]
    assert installed / "ggl_lightning/audit/run/module.py" in code
    assert all(file.is_relative_to(installed) for file in code)
    run = empty / "runs" / "demo" / "audit"
    rows = json.loads((run / "summary.json").read_text())
    found = [(row["image_index"], row["attack"], row["status"]) for row in rows]
    assert found == [(0, "learned", "done"), (0, "matching", "done")]
    assert (run / "report.html").stat().st_size > 10_000
    command = json.loads((run / "environment.json").read_text())["command"]
    assert Path(command[0]).name == "ggl-audit"
