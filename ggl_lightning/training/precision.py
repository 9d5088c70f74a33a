"""``precision: auto``: mixed precision where the hardware has it, float32 elsewhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

import torch
from lightning_fabric.connector import _PRECISION_INPUT  # type: ignore[attr-defined]
from pytorch_lightning import Trainer

AUTO = "auto"
_CPU_INFO = Path("/proc/cpuinfo")
# What Linux calls bfloat16 arithmetic on x86 and on ARM.
_NATIVE_FLAGS = ("avx512_bf16", "amx_bf16", "bf16", "svebf16")


class TrainingTrainer(Trainer):
    """Lightning's Trainer, which takes ``auto`` for a precision too.

    Args:
        args: As Lightning's.
        precision: As Lightning's, or ``auto``: `choose_precision` says which it becomes.
        kwargs: As Lightning's.
    """

    def __init__(
        self,
        *args: Any,
        precision: Literal["auto"] | _PRECISION_INPUT | None = None,
        **kwargs: Any,
    ) -> None:
        if precision == AUTO:
            precision, _ = choose_precision(str(kwargs.get("accelerator", "auto")))
        super().__init__(*args, precision=precision, **kwargs)  # type: ignore[arg-type]


def choose_precision(accelerator: str) -> tuple[Literal["bf16-mixed", "32-true"], str]:
    """Chooses ``bf16-mixed`` where the hardware computes in bfloat16, and ``32-true`` elsewhere.

    A processor without it emulates it, several times slower than float32.

    Args:
        accelerator: ``trainer.accelerator``.

    Returns:
        The precision, and why, for the user.
    """
    if accelerator in {"auto", "gpu", "cuda"} and torch.cuda.is_available():
        name = torch.cuda.get_device_name()
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return "bf16-mixed", f"{name} computes in bfloat16"
        return "32-true", f"{name} would emulate bfloat16, which is slower"
    if accelerator not in {"auto", "cpu"}:
        return "32-true", f"nothing is known of bfloat16 on the accelerator {accelerator!r}"
    found = native_bfloat16_flag()
    if found is not None:
        return "bf16-mixed", f"this processor computes in bfloat16 ({found})"
    return "32-true", "this processor would emulate bfloat16, which is slower"


def slow_precision(precision: object, accelerator: str) -> str | None:
    """What to say of a precision that the hardware emulates; None if there is nothing to say.

    Args:
        precision: What the user asked for.
        accelerator: ``trainer.accelerator``.
    """
    if str(precision) not in {"bf16-mixed", "bf16-true", "bf16"}:
        return None
    chosen, reason = choose_precision(accelerator)
    if chosen == "bf16-mixed":
        return None
    return f"precision {precision}: {reason} than 32-true. `precision: auto` would choose 32-true."


def replaced_precision(precision: object, accelerator: str) -> str | None:
    """What is wrong of a precision that Lightning replaces by another; None if nothing is.

    Args:
        precision: What the user asked for.
        accelerator: ``trainer.accelerator``.
    """
    on_cpu = accelerator == "cpu" or (accelerator == "auto" and not torch.cuda.is_available())
    if not on_cpu or str(precision) not in {"16-mixed", "16"}:
        return None
    return (
        f"trainer.precision is {precision}, which a CPU does not have: set it to auto, bf16-mixed "
        "or 32-true."
    )


def native_bfloat16_flag() -> str | None:
    """The processor's flag for bfloat16 arithmetic; None if it has none, or does not say."""
    try:
        text = _CPU_INFO.read_text()
    except OSError:  # not Linux
        return None
    flags = re.search(r"^(?:flags|Features)\s*:(.*)$", text, flags=re.MULTILINE)
    found = set(flags.group(1).split()) if flags else set()
    return next((flag for flag in _NATIVE_FLAGS if flag in found), None)
