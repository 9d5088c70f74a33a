"""What is remembered of a search: its loss curves, and what it needs to go on if interrupted."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ggl_lightning import __version__
from ggl_lightning.errors import UserError
from ggl_lightning.tensor_hash import hash_tensors
from ggl_lightning.weight_files import read_safetensors, write_safetensors

_FORMAT = 1
_SEARCH = "search."
_RNG = "rng."
_COMPUTED_WITH = ("torch", "numpy", "scipy", "nevergrad", "cma", "botorch", "gpytorch")


class RoundLosses(NamedTuple):
    """The losses of one round.

    Attributes:
        evaluations: Candidates evaluated in the trial so far, this round's included.
        mean: Mean loss of the round's candidates.
        lowest: Lowest loss of the round.
        best: Lowest loss of the trial so far.
    """

    evaluations: int
    mean: float
    lowest: float
    best: float


@dataclass(frozen=True)
class TrialSnapshot:
    """One trial between two rounds, or complete.

    Attributes:
        finished: Whether the trial is complete, its recommendation evaluated.
        evaluations: Candidates evaluated.
        best_loss: Lowest loss so far.
        best_latent: Its latent; None before the first round.
        seconds: Time spent.
        stop_reason: Why the trial ends early, or None.
        told: The losses of every round so far, ``(C,)`` each.
        asked: The latents of the last of these rounds; None for a finished trial.
        search: What `Search.snapshot` returned; empty for a finished trial.
        rng: States of the global generators (`rng_state`); empty for a finished trial.
    """

    finished: bool
    evaluations: int
    best_loss: float
    best_latent: Tensor | None
    seconds: float
    stop_reason: str | None
    told: Sequence[Tensor]
    asked: Tensor | None = None
    search: Mapping[str, Tensor] = field(default_factory=dict)
    rng: Mapping[str, Tensor] = field(default_factory=dict)


def write_trials(path: Path, key: str, trials: Sequence[TrialSnapshot]) -> None:
    """Writes an attack's trials so far into one file, which appears when it is complete.

    Args:
        path: File to write, ``*.safetensors``.
        key: Names everything that determines the attack's result.
        trials: In order; all but the last are finished.

    Raises:
        UserError: If the file cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    for number, trial in enumerate(trials):
        tensors.update(with_prefix(f"{number}.", _tensors(trial)))
    metadata = {
        "format": str(_FORMAT),
        "key": key,
        "computed_with": json.dumps(_versions()),
        "trials": json.dumps([_scalars(trial) for trial in trials]),
    }
    write_safetensors(path, tensors, {**metadata, "hash": _hash(tensors, metadata)})


def read_trials(path: Path, key: str) -> tuple[TrialSnapshot, ...]:
    """Reads what `write_trials` wrote.

    Args:
        path: The file.
        key: The key it must have been written with.

    Raises:
        UserError: If it is missing or damaged, has another key, or was written by another version
            of this package or of a library that searches compute with.
    """
    tensors, metadata = read_safetensors(path)
    expected = metadata.pop("hash", None)
    if expected is None or metadata.get("format") != str(_FORMAT):
        raise UserError(f"{str(path)!r} is not a snapshot that this version writes.")
    if expected != _hash(tensors, metadata):
        raise UserError(f"{str(path)!r} is damaged: its contents do not have the hash they had.")
    if metadata["key"] != key:
        raise UserError(f"{str(path)!r} belongs to a case with another configuration.")
    versions = json.loads(metadata["computed_with"])
    if versions != _versions():
        changed = [name for name, value in _versions().items() if versions.get(name) != value]
        raise UserError(f"{str(path)!r} was computed with another version of {', '.join(changed)}.")
    return tuple(
        _trial(scalars, under_prefix(f"{number}.", tensors))
        for number, scalars in enumerate(json.loads(metadata["trials"]))
    )


def losses_csv(histories: Iterable[Sequence[RoundLosses]]) -> str:
    """The loss curves of an attack's trials as CSV, one line per round.

    Args:
        histories: The rounds of every trial, both in order.

    Returns:
        Columns ``trial`` (from 0), ``round`` (from 1), ``evaluations``, ``loss_mean``,
        ``loss_min``, ``loss_best``; numbers in full precision.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["trial", "round", "evaluations", "loss_mean", "loss_min", "loss_best"])
    for trial, history in enumerate(histories):
        writer.writerows([trial, number, *losses] for number, losses in enumerate(history, 1))
    return text.getvalue()


def with_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under longer names."""
    return {prefix + name: tensor for name, tensor in tensors.items()}


def under_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with ``prefix``, without it."""
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def _scalars(trial: TrialSnapshot) -> dict[str, Any]:
    return {
        "finished": trial.finished,
        "evaluations": trial.evaluations,
        "best_loss": trial.best_loss,
        "seconds": trial.seconds,
        "stop_reason": trial.stop_reason,
        "told": [len(losses) for losses in trial.told],
    }


def _tensors(trial: TrialSnapshot) -> dict[str, Tensor]:
    tensors = {**with_prefix(_SEARCH, trial.search), **with_prefix(_RNG, trial.rng)}
    if trial.told:
        tensors["told"] = torch.cat(list(trial.told))
    optional = {"best_latent": trial.best_latent, "asked": trial.asked}
    tensors.update({name: tensor for name, tensor in optional.items() if tensor is not None})
    return tensors


def _trial(scalars: dict[str, Any], tensors: dict[str, Tensor]) -> TrialSnapshot:
    counts = scalars.pop("told")
    told = tensors["told"].split(counts) if counts else ()
    return TrialSnapshot(
        **scalars,
        best_latent=tensors.get("best_latent"),
        told=tuple(losses.clone() for losses in told),
        asked=tensors.get("asked"),
        search=under_prefix(_SEARCH, tensors),
        rng=under_prefix(_RNG, tensors),
    )


def _hash(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    in_order = {name: tensors[name] for name in sorted(tensors)}
    return hash_tensors({json.dumps(dict(metadata), sort_keys=True): torch.empty(0), **in_order})


@cache
def _versions() -> dict[str, str]:
    """A search that goes on with another version of one of these may end elsewhere."""
    return {"ggl-lightning": __version__, **{name: version(name) for name in _COMPUTED_WITH}}
