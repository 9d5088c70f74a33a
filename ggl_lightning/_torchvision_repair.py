"""Lets ``import torchvision`` succeed when its compiled operators cannot load.

torchvision's wheels on PyPI are linked against CUDA. Beside a CPU-only torch their shared
library fails to load, and torchvision (0.26 to 0.28 at least) then dies while it registers
shape functions for operators that do not exist: ``operator torchvision::nms does not exist``.
torchmetrics and pytorch_lightning import torchvision and die with it.

Declaring the missing operators' schemas first is enough: models, datasets, transforms and
utils never call them. The operators themselves stay unavailable, and calling one
still raises. An install whose compiled operators load is left exactly as it is.
"""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, FileFinder
from pathlib import Path

import torch

_SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}

# Schemas live as long as their Library object does.
_declared: torch.library.Library | None = None


def _operators_load(package_dir: Path) -> bool:
    """Whether torchvision's compiled operators load, found and loaded as torchvision does."""
    finder = FileFinder(str(package_dir), (ExtensionFileLoader, EXTENSION_SUFFIXES))
    spec = finder.find_spec("_C")
    if spec is None or spec.origin is None:
        return False
    try:
        torch.ops.load_library(spec.origin)
    except OSError:
        return False
    return True


def repair_torchvision() -> bool:
    """Declares torchvision's missing operator schemas, if and only if that is needed.

    Must run before the first import of torchvision, torchmetrics or pytorch_lightning;
    ``import ggl_lightning`` sees to it. Calling it again is harmless.

    Returns:
        True if schemas were declared by this process, False if the install was left untouched
        (torchvision absent, already imported, or sound).
    """
    global _declared
    if _declared is not None:
        return True
    if "torchvision" in sys.modules:
        return False
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return False
    if _operators_load(Path(spec.origin).parent):
        return False
    # A fragment, and only what is missing: another package may have done the same before.
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name, schema in _SCHEMAS.items():
        if not hasattr(torch.ops.torchvision, name):
            library.define(schema)
    _declared = library
    return True
