"""What a user is told about a training before it begins."""

from __future__ import annotations

import sys

from lightning_fabric.utilities.rank_zero import rank_zero_only
from pytorch_lightning import Trainer


@rank_zero_only
def say(line: str) -> None:
    """Tells the user a line, once for all ranks.

    Args:
        line: The text.
    """
    print(line, file=sys.stderr)


def limit_notes(trainer: Trainer) -> list[str]:
    """What a training leaves out because of its settings.

    Args:
        trainer: The Trainer.

    Returns:
        Lines for the user.
    """
    trial = trainer.fast_dev_run  # type: ignore[attr-defined]
    if trial:
        return [
            f"trainer.fast_dev_run is {trial}: a trial of a few batches. It writes nothing: no "
            "settings, no logs and no checkpoint."
        ]
    notes = []
    few = trainer.overfit_batches  # type: ignore[attr-defined]
    if few:
        notes.append(
            f"trainer.overfit_batches is {few}: trains on the same few batches "
            "again and again, without shuffling."
        )
    limits = {
        "limit_train_batches": (trainer.limit_train_batches, "trains on"),
        "limit_val_batches": (trainer.limit_val_batches, "validates on"),
    }
    for name, (limit, does) in limits.items():
        is_all = limit is None or (isinstance(limit, float) and limit == 1)
        if limit == 0:
            notes.append(f"trainer.{name} is 0: {does} no batch.")
        elif not is_all:
            unit = "of the batches" if isinstance(limit, float) else "batches"
            notes.append(f"trainer.{name} is {limit}: {does} only {limit} {unit} each time.")
    return notes
