"""Which parameter tensors are worth a Gram matrix of all public images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from tqdm import tqdm

from ggl_lightning.attacks.learned.examples import Examples, Gram
from ggl_lightning.attacks.learned.weights import Choice, choose_weights

SCREENED = 500
"""Public images by which tensors and their weights are chosen."""

_MOST_TENSORS = 6
_LEAST_NORM = 1e-100
_MOST_OF_A_LEVEL = 3
_WORTH = 0.01
"""Relative gain in expected error below which another tensor is not worth its cost."""

_NOISE = (0.0, 3.0, 30.0)
"""Levels of noise that tensors are chosen for: its norm over that of a usual update. The published
client's has about the second under a standard deviation of 0.01, and the third under 0.1."""


def select_tensors(examples: Examples, targets: Tensor, twins: int, memory_bytes: int) -> list[str]:
    """Chooses the tensors whose joint regression is expected to be best, and few of them.

    Under noise others tell more than without: some are chosen for each of a few levels, so that one
    fit serves all updates.

    Args:
        examples: Of all public images.
        targets: Their pixels ``(M, D)``.
        twins: See `left_out_residuals`.
        memory_bytes: What may be kept ready of them together.

    Returns:
        Their names, in the model's order; at least one.
    """
    some = min(len(targets), SCREENED // twins * twins)
    grams = examples.grams(examples.names, some)
    norms = torch.stack([gram.norms.median() for gram in grams.values()])
    entries = sum(examples.entries_of(name) for name in examples.names)
    usual = float(norms.square().sum().sqrt()) / entries**0.5
    wanted: dict[str, None] = {}
    # disable=None: only on a terminal.
    for level in tqdm(_NOISE, "Learned inversion: tensors", leave=False, disable=None):
        wanted |= dict.fromkeys(_of_level(grams, targets[:some], level * usual, twins))
    kept = _that_fit(examples, list(wanted)[:_MOST_TENSORS], memory_bytes)
    return [name for name in examples.names if name in kept]


def _of_level(grams: Mapping[str, Gram], targets: Tensor, noise: float, twins: int) -> list[str]:
    """The tensors to trust under noise of a standard deviation, the most trusted first."""

    def chosen(names: Sequence[str], start: Tensor | None = None) -> Choice:
        kernels = torch.stack([grams[name].cosines for name in names])
        ratios = noise_ratios(grams, names, noise)
        return choose_weights(kernels, targets, ratios, twins, start)

    names = list(grams)
    weights = dict(zip(names, chosen(names).weights, strict=True))
    strong = sorted(names, key=lambda name: -float(weights[name]))[:_MOST_OF_A_LEVEL]
    errors = []
    for i in range(len(strong)):
        # What the others were trusted is shared out first.
        start = torch.stack([weights[name] for name in strong[: i + 1]])
        start = start * sum(weights.values()) / start.sum()
        errors.append(chosen(strong[: i + 1], start).error)
    enough = next(i for i, error in enumerate(errors) if error <= (1 + _WORTH) * min(errors))
    return strong[: enough + 1]


def noise_ratios(grams: Mapping[str, Gram], names: Sequence[str], noise: float) -> Tensor:
    """Noise relative to tensors' usual size: ``s^2 / n^2`` with the median norm ``n``, ``(L,)``."""
    usual = torch.stack([grams[name].norms.median() for name in names])
    # The square of the norm of a tensor that is zero in most updates would be zero too.
    return (noise / usual.clamp(min=_LEAST_NORM)).square()


def _that_fit(examples: Examples, names: Sequence[str], memory_bytes: int) -> list[str]:
    """As many of the names, from the first, as the memory holds; at least one."""
    cosines = 4 * len(examples) ** 2
    kept: list[str] = []
    taken = 0
    for name in names:
        size = examples.bytes_of(name) + cosines
        if not kept or taken + size <= memory_bytes:
            kept.append(name)
            taken += size
    return kept
