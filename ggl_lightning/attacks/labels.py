"""Reads the private labels off the gradient of the client model's last layer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ggl_lightning.clients import ClassifierLayer, Update
from ggl_lightning.errors import UserError

FROZEN_LAST_LAYER = (
    "The client model's last layer is frozen, so that its update says nothing of labels: let that "
    "layer be trained (requires_grad), or set known_label of every attack."
)
"""What to tell the user then."""


@dataclass(frozen=True)
class InferredLabels:
    """Labels read off an update.

    Attributes:
        labels: Class indices in ascending order, one per private image, repeats included.
        margin: How clear the last choice was, from 0, a tie, to 1: how far the best class not
            chosen is behind the last one chosen, as a fraction of the spread of all classes; less
            by what contradicts it, where that shows.
    """

    labels: list[int]
    margin: float


def infer_labels(update: Update, classifier: ClassifierLayer, count: int = 1) -> InferredLabels:
    """Infers the labels of the private images behind an update.

    For cross-entropy, row ``k`` of the last layer's weight gradient is the mean over images of
    ``(p_k - 1[k = label]) r`` with ``p`` the predicted probabilities and ``r`` the layer's input;
    entry ``k`` of its bias gradient is that of ``p_k - 1[k = label]``.

    With one image:

    * Where ``r`` is not negative, as after a ReLU, only the true label's row has a negative sum, so
      the row with the smallest sum is the answer (Zhao et al. 2020, iDLG, eq. 3; Li et al. 2022,
      section 3.2).
    * Elsewhere only the true label's entry of the bias gradient is negative, whatever ``r`` is: the
      smallest is the answer. Entries must sum to 0; the margin is less by the share that does not.
    * Without a bias the rows are one vector times ``p_k - 1[k = label]``: of the matrix's first
      singular vector, which has these signs or the opposite ones, one entry has another sign than
      all the rest. Two classes are a tie. The margin is less by the ratio of the second singular
      value to the first, which is 0 for a single image's own gradient.

    With several images every class with a negative gradient is a label that occurs. Labels are
    taken one by one, lowest class first, and each taken gives its impact back. The impact of one
    occurrence is exactly ``-1/N`` on the bias gradient, the mean of ``p_k - 1[k = label]``. A layer
    without bias leaves the rows' sums, where the impact is estimated as ``(1 + 1/K) / N`` of the
    sum of the negative ones, for ``K`` classes and ``N`` images (Wainakh et al. 2022, LLG,
    algorithm 1, without auxiliary knowledge). Where ``r`` may be negative the first singular vector
    is in the place of these sums, and the margin is 0: its sign is a guess.

    A defense may make the answer wrong.

    Args:
        update: The received update, finite. One of zeros says nothing: its margin is 0.
        classifier: The client model's last layer.
        count: Number ``N`` of private images.

    Raises:
        UserError: If the last layer is frozen, so that the update holds nothing of it.
    """
    bias = _tensor(update, classifier.bias_index)
    weight = _tensor(update, classifier.weight_index)
    if weight is None and bias is None:
        raise UserError(FROZEN_LAST_LAYER)
    if count > 1:
        return _several(weight, bias, classifier.non_negative, count)
    if weight is not None and classifier.non_negative and (weight.any() or bias is None):
        return _smallest(weight.sum(dim=1))
    if bias is not None:
        found = _smallest(bias)
        spread = float(bias.max() - bias.min())
        kept = 1 - abs(float(bias.sum())) / spread if spread > 0 else 0.0
        return InferredLabels(found.labels, found.margin * max(0.0, kept))
    assert weight is not None
    return _odd_one_out(weight)


def _tensor(update: Update, index: int | None) -> Tensor | None:
    return None if index is None else update[index].detach().double().cpu()


def _smallest(values: Tensor) -> InferredLabels:
    label = int(values.argmin())
    return InferredLabels([label], _margin(values, label))


def _odd_one_out(weight: Tensor) -> InferredLabels:
    """The class whose row has another sign than those of all others."""
    direction, second = _first_direction(weight)
    squares = direction.square()
    positive = torch.where(direction > 0, squares, 0)
    negative = squares - positive
    # What contradicts that class k alone is negative, or alone is positive.
    alone_negative = positive + negative.sum() - negative
    alone_positive = negative + positive.sum() - positive
    contradiction = torch.minimum(alone_negative, alone_positive).clamp(min=0).sqrt()
    found = _smallest(contradiction)
    rounding = 1e-6 * float(direction.norm())  # of float32 gradients
    if _gap(contradiction, found.labels[0]) <= rounding:
        return InferredLabels(found.labels, 0.0)
    return InferredLabels(found.labels, found.margin * (1 - second))


def _several(
    weight: Tensor | None, bias: Tensor | None, non_negative: bool, count: int
) -> InferredLabels:
    if bias is not None:
        return _one_by_one(bias.clone(), -1 / count, count)
    assert weight is not None
    if non_negative:
        rows = weight.sum(dim=1)
    else:
        direction, _ = _first_direction(weight)
        # The entry of largest magnitude is that of a label which occurs, hence negative.
        rows = -direction * direction[direction.abs().argmax()].sign()
    impact = rows.clamp(max=0).sum().item() * (1 + 1 / len(rows)) / count
    found = _one_by_one(rows, impact, count)
    return found if non_negative else InferredLabels(found.labels, 0.0)


def _one_by_one(rows: Tensor, impact: float, count: int) -> InferredLabels:
    occurring = rows.argsort()[: int((rows < 0).sum())].tolist()
    spread = float(rows.max() - rows.min())
    labels: list[int] = []
    for position in range(count):
        label = occurring[position] if position < len(occurring) else int(rows.argmin())
        labels.append(label)
        gap = _gap(rows, label)
        rows[label] -= impact
    return InferredLabels(sorted(labels), 0.0 if spread == 0 else max(0.0, gap) / spread)


def _first_direction(weight: Tensor) -> tuple[Tensor, float]:
    """The first singular vector of the classes ``(K,)``, and the second value over the first."""
    # Of the rows' inner products: there are far fewer of them than of features.
    squares, vectors = torch.linalg.eigh(weight @ weight.T)
    values = squares.clamp(min=0).sqrt()
    first = values[-1]
    second = float(values[-2] / first) if len(values) > 1 and first > 0 else 0.0
    return vectors[:, -1] * first, second


def _margin(values: Tensor, label: int) -> float:
    spread = float(values.max() - values.min())
    return 0.0 if spread == 0 else max(0.0, _gap(values, label)) / spread


def _gap(values: Tensor, label: int) -> float:
    others = torch.cat([values[:label], values[label + 1 :]])
    if not len(others):
        return 0.0
    return float(others.min() - values[label])
