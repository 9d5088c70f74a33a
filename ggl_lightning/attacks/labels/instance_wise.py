"""The labels of a batch by the equations that its gradient and the layer's weights give."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ggl_lightning.attacks.labels.inferred import InferredLabels

BY_EQUATIONS = "counts solved for from mean embeddings"
BY_SCALED_EQUATIONS = "counts and scale solved for from mean embeddings"

_SHRINKAGE = 0.3
"""What a class's own embedding is mixed with the common one by, in mean squared bias gradients."""

_CLEAR_ROUNDING = 0.25
"""Counts that are further off whole numbers than this, in the mean square, are not trusted. Of
numbers that mean nothing it is ``1 / sqrt(12) = 0.29``."""

_CONTRADICTION = 0.05
"""Entries of the bias gradient must sum to 0. Of their magnitudes' sum, what is too much."""

_UNDECIDED = 0.7
"""With two classes, and where the scale is not known, the largest probability of mean embeddings at
which they are trusted."""

_SCALES = 1000
"""Factors that are tried between 1 and the largest, evenly on a logarithmic axis."""

_LARGEST_SCALE = 1000.0

_CLEAR_SCALED_ROUNDING = 0.05
"""The same as `_CLEAR_ROUNDING` where so many factors are tried."""

_SURE_SUM = 1e3
"""Weight of the equation that counts sum to ``N``, which holds exactly."""


def labels_by_equations(
    weight: Tensor, bias: Tensor, layer_weight: Tensor, layer_bias: Tensor, count: int, scaled: bool
) -> InferredLabels | None:
    """Infers how many images of each class a batch has, from its gradient (Ma et al. 2023, iLRG).

    Row ``k`` of the weight gradient is the mean over images of ``(p_k - 1[k = label]) r``, with
    ``p`` the predicted probabilities and ``r`` the last layer's input; entry ``k`` of the bias
    gradient, ``g_k``, is that of ``p_k - 1[k = label]``. Their quotient is a weighted mean of ``r``
    in which images of class ``k`` prevail, and is all of it if the row comes from them alone. From
    it follow the probabilities of such an image, row ``k`` of ``P``, and the counts ``n`` of all
    classes solve ``(P^T - I) n = N g`` and ``sum n = N`` (Ma et al., "Instance-wise Batch Label
    Restoration via Gradients in Federated Learning", ICLR 2023, section 4).

    Beside the paper, since quotients of small entries mean little, and since a trained model's
    equations hardly determine the counts: a class's embedding is mixed with the common one, which
    explains all rows best; and among counts that fit, those near an even split are preferred, the
    more the rows of ``P`` differ (ridge regression, whose strength is the variance over rows of
    ``P`` in units of that of counts drawn at random). Both vanish where all images look alike to
    the last layer, as in models that are not trained: the counts are exact then.

    A defense that scales an update down leaves the quotients as they are, but not ``g``: of the
    factors that could make up for it, that one is taken whose counts are whole numbers, if the
    model is undecided.

    Args:
        weight: Gradient of the last layer's weight, ``(K, D)``, in float64.
        bias: That of its bias, ``(K,)``.
        layer_weight: The layer's weight that the client started from, ``(K, D)``.
        layer_bias: Its bias, ``(K,)``.
        count: Number ``N`` of images.
        scaled: Whether the update may have been scaled down.

    Returns:
        None where the equations cannot be trusted: if the bias gradient is zero or contradicts
        itself, or if the counts that solve them are far from whole numbers. Two classes have
        opposite rows and one embedding, which extrapolates: it counts only where the model is
        undecided there.
    """
    classes = len(bias)
    if classes < 2 or not bias.any():
        return None
    if float(bias.sum().abs()) > _CONTRADICTION * float(bias.abs().sum()):
        return None
    probabilities = (_embeddings(weight, bias) @ layer_weight.T + layer_bias).softmax(dim=1)
    undecided = float(probabilities.max()) <= _UNDECIDED
    if classes == 2 and not undecided:
        return None
    solved = _solve(probabilities, bias, count)
    if not bool((solved.abs() < 2 * count).all()):
        return None
    found = _labels(
        solved, _whole(solved, _certain(bias, count), count), _CLEAR_ROUNDING, BY_EQUATIONS
    )
    if found is None and scaled and undecided and classes > 2:
        change = _solve(probabilities, 2 * bias, count) - solved
        return _rescaled(solved - change, change, count)
    return found


def _labels(solved: Tensor, counts: Tensor, clear: float, way: str) -> InferredLabels | None:
    off = (solved - counts).abs()
    if _rounding(off, int(counts.sum())) > clear:
        return None
    labels = torch.arange(len(counts)).repeat_interleave(counts).tolist()
    return InferredLabels(labels, max(0.0, 1 - 2 * float(off.max())), way)


def _rounding(off: Tensor, count: int) -> float:
    """The root mean square of what counts are off whole numbers.

    At most N classes occur: that all others are near 0 says nothing.
    """
    return math.sqrt(float(off.square().sum()) / min(len(off), count))


def _rescaled(level: Tensor, change: Tensor, count: int) -> InferredLabels | None:
    """Labels by the factor ``s`` at which ``level + s * change`` are closest to whole numbers."""
    falling = change < 0
    if not bool(falling.any()):
        return None
    # Beyond the largest, some count would be below 0 by more than rounding.
    largest = float(((level + _CLEAR_ROUNDING)[falling] / -change[falling]).min())
    if largest <= 1:
        return None
    scales = torch.logspace(
        0, math.log10(min(largest, _LARGEST_SCALE)), _SCALES, dtype=level.dtype
    ).unsqueeze(1)
    solved = level + scales * change
    counts = solved.round().clamp(min=0)
    off = (solved - counts).square().sum(dim=1)
    best = int(off.masked_fill(counts.sum(dim=1) != count, math.inf).argmin())
    if int(counts[best].sum()) != count:
        return None
    return _labels(solved[best], counts[best].long(), _CLEAR_SCALED_ROUNDING, BY_SCALED_EQUATIONS)


def _embeddings(weight: Tensor, bias: Tensor) -> Tensor:
    """The mean input of the last layer over images of each class, ``(K, D)``."""
    squares = bias.square()
    common = (bias @ weight) / squares.sum()
    mixed = _SHRINKAGE * squares.mean()
    return (weight * bias.unsqueeze(1) + mixed * common) / (squares.unsqueeze(1) + mixed)


def _solve(probabilities: Tensor, bias: Tensor, count: int) -> Tensor:
    """Counts ``(K,)``, not whole, around an even split."""
    classes = len(bias)
    identity = torch.eye(classes, dtype=bias.dtype)
    ridge = classes * probabilities.var(dim=0, unbiased=False).mean() + 1e-12
    system = torch.cat([probabilities.T - identity, identity.new_full((1, classes), _SURE_SUM)])
    even = count / classes
    right = torch.cat([count * bias - even * system[:-1].sum(dim=1), bias.new_zeros(1)])
    squared = system.T @ system + ridge * identity
    offset: Tensor = torch.linalg.solve(squared, system.T @ right)
    return even + offset


def _certain(bias: Tensor, count: int) -> Tensor:
    """At least how many images ``(K,)`` each class has: one if its entry is clearly negative.

    Entries sum to 0: what they do not is what noise does to all of them.
    """
    noise = 3 * bias.sum().abs() / math.sqrt(len(bias))
    certain = (bias < -noise).long()
    return certain if int(certain.sum()) <= count else torch.zeros_like(certain)


def _whole(solved: Tensor, least: Tensor, count: int) -> Tensor:
    """Whole counts ``(K,)`` that sum to ``count``, by largest remainders."""
    counts = torch.maximum(solved.floor().long(), least)
    while (missing := count - int(counts.sum())) != 0:
        left = solved - counts
        if missing > 0:
            counts[left.argmax()] += 1
        else:
            counts[left.masked_fill(counts <= least, math.inf).argmin()] -= 1
    return counts
