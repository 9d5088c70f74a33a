"""Which parameter tensors are worth a Gram matrix of all public images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ggl_lightning.attacks.learned.examples import Examples, Gram
from ggl_lightning.attacks.learned.weights import Choice, choose_weights

SCREENED = 500
"""Public images by which tensors and their weights are chosen."""

_MOST_TENSORS = 6
_LEAST_NORM = 1e-100
_WORTH = 0.01
"""Relative gain in expected error below which another tensor is not worth its cost."""


def select_tensors(
    examples: Examples, targets: Tensor, noise: float, twins: int, memory_bytes: int
) -> list[str]:
    """Chooses the tensors whose joint regression is expected to be best, and few of them.

    Args:
        examples: Of all public images.
        targets: Their pixels ``(M, D)``.
        noise: Standard deviation of noise per entry, in the examples' own scale.
        twins: See `left_out_residuals`.
        memory_bytes: What may be kept ready of them together.

    Returns:
        Their names, in the model's order; at least one.
    """
    some = min(len(targets), SCREENED // twins * twins)
    grams = examples.grams(examples.names, some)

    def chosen(names: Sequence[str], start: Tensor | None = None) -> Choice:
        kernels = torch.stack([grams[name].cosines for name in names])
        ratios = noise_ratios(grams, names, noise)
        return choose_weights(kernels, targets[:some], ratios, twins, start)

    weights = dict(zip(examples.names, chosen(examples.names).weights, strict=True))
    order = sorted(weights, key=lambda name: -float(weights[name]))
    strong = _that_fit(examples, order[:_MOST_TENSORS], memory_bytes)
    errors = []
    for i in range(len(strong)):
        names = _sorted(strong[: i + 1], examples)
        # What the others were trusted is shared out first.
        start = torch.stack([weights[name] for name in names])
        start = start * sum(weights.values()) / start.sum()
        errors.append(chosen(names, start).error)
    enough = next(i for i, error in enumerate(errors) if error <= (1 + _WORTH) * min(errors))
    return _sorted(strong[: enough + 1], examples)


def noise_ratios(grams: Mapping[str, Gram], names: Sequence[str], noise: float) -> Tensor:
    """Noise relative to tensors' usual size: ``s^2 / n^2`` with the median norm ``n``, ``(L,)``."""
    usual = torch.stack([grams[name].norms.median() for name in names])
    # The square of the norm of a tensor that is zero in most updates would be zero too.
    return (noise / usual.clamp(min=_LEAST_NORM)).square()


def _sorted(names: Sequence[str], examples: Examples) -> list[str]:
    return [name for name in examples.names if name in names]


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
