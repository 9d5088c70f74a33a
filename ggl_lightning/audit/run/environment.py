"""Where, when and with which versions an audit was run."""

from __future__ import annotations

import os
import platform
import sys
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

import torch

import ggl_lightning

_PACKAGES = (
    "torch",
    "torchvision",
    "pytorch-lightning",
    "torchmetrics",
    "nevergrad",
    "botorch",
    "opacus",
    "numpy",
    "scipy",
)


def environment(device: torch.device, ranks: int) -> dict[str, Any]:
    """Describes this process, ready for JSON.

    Args:
        device: Where the audit runs.
        ranks: Processes it runs in.
    """
    versions = {"ggl_lightning": ggl_lightning.__version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:  # an optional one
            continue
    cuda = device.type == "cuda"
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": [*sys.argv],
        "versions": versions,
        "platform": platform.platform(),
        "processor": platform.machine(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if cuda else device.type,
        "ranks": ranks,
    }
