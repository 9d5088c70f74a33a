"""The repair both ways: a broken torchvision becomes importable, a sound one is left as it is.

Each case runs in a process of its own, with a stand-in `torchvision` package that does at import
what the real one does: load its library `_C` if it can, then register a shape function.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest
import torch

NOT_A_LIBRARY = "no shared library"

# If the library loads, it defines the operators: the stand-in does so in its place, in the very
# way (a single "DEF") that fails if anyone defined them before.
FAKE_INIT = """
import importlib.machinery, pathlib, torch
_finder = importlib.machinery.FileFinder(
    str(pathlib.Path(__file__).parent),
    (importlib.machinery.ExtensionFileLoader, importlib.machinery.EXTENSION_SUFFIXES),
)
_spec = _finder.find_spec("_C")
try:
    if _spec is None:
        raise ImportError("no _C")
    torch.ops.load_library(_spec.origin)
except (ImportError, OSError):
    SOUND = False
else:
    SOUND = True
    _library = torch.library.Library("torchvision", "DEF")
    _library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

for _name in ("nms", "qnms"):
    @torch.library.register_fake(f"torchvision::{_name}")
    def _shape(dets, scores, iou_threshold):
        return dets.new_empty(0)
"""


# Importing torch takes seconds: one process does it, and each case runs in a fork of it.
SERVER = """
import json, os, sys, traceback
import torch

for line in sys.stdin:
    code, path, folder, errors = json.loads(line)
    child = os.fork()
    if child == 0:
        os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT), 2)
        sys.path[:1] = path
        os.chdir(folder)
        status = 0
        try:
            exec(code, {"__name__": "__main__"})
        except SystemExit as end:
            print(end, file=sys.stderr)
            status = 0 if end.code is None else 1
        except BaseException:
            traceback.print_exc()
            status = 1
        sys.stderr.flush()
        os._exit(status)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture(scope="module")
def server() -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process


@dataclass
class Ended:
    returncode: int
    stderr: str


@pytest.fixture
def run(server: subprocess.Popen[str], tmp_path: Path) -> Callable[..., Ended]:
    """Runs Python code with the given folders first on its module path."""
    repository = Path(__file__).parents[1]
    errors = tmp_path / "errors.txt"

    def run(code: str, *path: Path) -> Ended:
        folders = [str(folder) for folder in (*path, repository)]
        print(json.dumps([code, folders, folders[0], str(errors)]), file=server.stdin, flush=True)
        return Ended(int(server.stdout.readline()), errors.read_text())

    return run


@pytest.fixture
def succeeds(run: Callable[..., Ended]) -> Callable[..., None]:
    def succeeds(code: str, *path: Path) -> None:
        done = run(code, *path)
        assert done.returncode == 0, done.stderr

    return succeeds


def fake_torchvision(folder: Path) -> Path:
    package = folder / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text(FAKE_INIT)
    return package


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    (fake_torchvision(tmp_path) / f"_C{EXTENSION_SUFFIXES[-1]}").write_text(NOT_A_LIBRARY)
    return tmp_path


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    # Any library that loads will do; torch always brings a small one.
    package = fake_torchvision(tmp_path)
    shutil.copy(torch._C.__file__, package / f"_C{EXTENSION_SUFFIXES[-1]}")
    return tmp_path


REPAIRED = """
import ggl_lightning
from ggl_lightning import _torchvision_repair as repair
assert repair.repair_torchvision() is True, "a second call says the same"
import torchvision
assert torchvision.__file__.startswith({folder!r}), torchvision.__file__
assert not torchvision.SOUND
import torch
try:
    torch.ops.torchvision.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
except NotImplementedError:
    pass
else:
    raise SystemExit("an operator that is not there answered")
"""


def test_a_broken_install_dies_without_the_repair(run, broken):
    done = run("import torchvision", broken)
    assert done.returncode != 0
    assert "operator torchvision::nms does not exist" in done.stderr


def test_a_broken_install_is_repaired(succeeds, broken):
    succeeds(REPAIRED.format(folder=str(broken)), broken)


def test_an_install_without_any_library_is_repaired(succeeds, tmp_path):
    fake_torchvision(tmp_path)
    succeeds(REPAIRED.format(folder=str(tmp_path)), tmp_path)


def test_another_library_beside_the_operators_does_not_count_as_them(succeeds, broken):
    suffix = EXTENSION_SUFFIXES[-1]
    shutil.copy(torch._C.__file__, broken / "torchvision" / f"_C_other{suffix}")
    succeeds(REPAIRED.format(folder=str(broken)), broken)


def test_a_repair_by_someone_else_is_tolerated(succeeds, broken):
    succeeds(
        """
import torch
other = torch.library.Library("torchvision", "DEF")
other.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
"""
        + REPAIRED.format(folder=str(broken)),
        broken,
    )


def test_a_sound_install_is_left_as_it_is(succeeds, sound):
    succeeds(
        f"""
import torch
import ggl_lightning
from ggl_lightning import _torchvision_repair as repair
assert repair.repair_torchvision() is False
assert repair._declared is None
assert not hasattr(torch.ops.torchvision, "nms"), "a schema was declared"
import torchvision
assert torchvision.__file__.startswith({str(sound)!r}), torchvision.__file__
assert torchvision.SOUND
""",
        sound,
    )


def test_nothing_to_do_if_torchvision_is_absent_or_already_imported(succeeds, sound):
    succeeds(
        """
import importlib.util, sys, types, torch

real = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "torchvision" else real(name, *rest)
from ggl_lightning import _torchvision_repair as repair  # the package's own call finds nothing
assert repair.repair_torchvision() is False
importlib.util.find_spec = real

sys.modules["torchvision"] = types.ModuleType("torchvision")
assert repair.repair_torchvision() is False
assert repair._declared is None
assert not torch.ops.loaded_libraries, "it looked for a library"
assert not hasattr(torch.ops.torchvision, "nms"), "a schema was declared"
""",
        sound,
    )


def test_this_environment_imports(succeeds):
    succeeds(
        """
import ggl_lightning, torchvision, torchmetrics, pytorch_lightning, torch
from ggl_lightning._torchvision_repair import repair_torchvision
assert repair_torchvision() is not torchvision.extension._has_ops(), "not iff broken"
torchvision.models.resnet18(num_classes=2).eval()(torch.zeros(1, 3, 32, 32))
torchvision.transforms.functional.resize(torch.zeros(3, 8, 8), 4)
"""
    )
