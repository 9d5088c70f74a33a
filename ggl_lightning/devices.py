"""Where modules are."""

from __future__ import annotations

import torch
from torch import nn


def device_of(module: nn.Module) -> torch.device:
    """The device of a module's first parameter; the CPU for a module without any."""
    parameter = next(module.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device
