"""The labels of a batch, one by one: each that is taken gives its impact back."""

from __future__ import annotations

from torch import Tensor

from ggl_lightning.attacks.labels.inferred import InferredLabels
from ggl_lightning.attacks.labels.scores import first_direction, gap

BY_IMPACT = "one by one, by impact"


def labels_by_impact(
    weight: Tensor | None, bias: Tensor | None, non_negative: bool, count: int
) -> InferredLabels:
    """Infers the labels of a batch from the signs of the last layer's gradient; see `infer_labels`.

    Every class with a negative gradient is a label that occurs. Labels are taken one by one, lowest
    class first, and each taken gives its impact back. The impact of one occurrence is exactly
    ``-1/N`` on the bias gradient, the mean of ``p_k - 1[k = label]``. A layer without bias leaves
    the rows' sums, where the impact is estimated as ``(1 + 1/K) / N`` of the sum of the negative
    ones, for ``K`` classes and ``N`` images (Wainakh et al. 2022, LLG, algorithm 1, without
    auxiliary knowledge). Where the layer's input may be negative the first singular vector is in
    the place of these sums, and the margin is 0: its sign is a guess.

    What is left in the end is as even among classes as can be: counts are right if the mean
    prediction is, as in a model that is not trained.

    Args:
        weight: Gradient of the last layer's weight, ``(K, D)`` in float64; None if it is not sent.
        bias: That of its bias, ``(K,)`` in float64; None if there is none. One of both must be.
        non_negative: Whether the layer's input never has a negative entry.
        count: Number ``N`` of images.
    """
    if bias is not None:
        return _one_by_one(bias.clone(), -1 / count, count)
    assert weight is not None
    if non_negative:
        rows = weight.sum(dim=1)
    else:
        direction, _ = first_direction(weight)
        # The entry of largest magnitude is that of a label which occurs, hence negative.
        rows = -direction * direction[direction.abs().argmax()].sign()
    impact = rows.clamp(max=0).sum().item() * (1 + 1 / len(rows)) / count
    found = _one_by_one(rows, impact, count)
    return found if non_negative else InferredLabels(found.labels, 0.0, BY_IMPACT)


def _one_by_one(rows: Tensor, impact: float, count: int) -> InferredLabels:
    occurring = rows.argsort()[: int((rows < 0).sum())].tolist()
    spread = float(rows.max() - rows.min())
    labels: list[int] = []
    behind = 0.0
    for position in range(count):
        label = occurring[position] if position < len(occurring) else int(rows.argmin())
        labels.append(label)
        behind = gap(rows, label)
        rows[label] -= impact
    certainty = 0.0 if spread == 0 else min(1.0, max(0.0, behind) / spread)
    return InferredLabels(sorted(labels), certainty, BY_IMPACT)
