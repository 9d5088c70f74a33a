"""What a computation takes of a device's memory, and how much there is."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

MEBIBYTE = 2**20

# What the CPU's allocator says; an accelerator's has its own exception.
_ALLOCATION_FAILED = ("can't allocate memory", "not enough memory", "std::bad_alloc")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that an allocation failed, on whichever device."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and any(part in text for part in _ALLOCATION_FAILED)


def total_memory(device: torch.device) -> int | None:
    """Bytes of memory that an accelerator has in all; None for the CPU and where unknown."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return None


def free_memory(device: torch.device) -> int | None:
    """Bytes that could be allocated now; None where there is no way to know."""
    if device.type == "cuda":
        reusable = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + reusable
    if device.type != "cpu":
        return None
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 2**10
    if "SC_AVPHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


@dataclass(frozen=True)
class Footprint:
    """Sizes of the tensors that go in and out of a module's innermost modules, in bytes.

    Attributes:
        total: Of all of them together: what is kept when gradients are needed.
        largest: The most that goes in and out of one of them: what is needed at one time when they
            are not.
    """

    total: int
    largest: int


@torch.no_grad()
def footprint(module: nn.Module, run: Callable[[], object]) -> Footprint:
    """Measures a module's footprint while ``run`` calls it."""
    sizes = [0]

    def measure(_module: nn.Module, inputs: tuple[object, ...], output: object) -> None:
        sizes.append(sum(each.nbytes for each in (*inputs, output) if isinstance(each, Tensor)))

    innermost = [child for child in module.modules() if not any(child.children())]
    handles = [child.register_forward_hook(measure) for child in innermost]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    return Footprint(sum(sizes), max(sizes))
