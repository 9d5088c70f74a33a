"""The label of a single image."""

from __future__ import annotations

import torch
from torch import Tensor

from ggl_lightning.attacks.labels.inferred import InferredLabels
from ggl_lightning.attacks.labels.scores import first_direction, gap, margin

BY_ROW_SUM = "smallest row sum of the weight gradient"
BY_BIAS = "smallest entry of the bias gradient"
BY_SIGN = "the row of another sign than all others"


def label_of_one(weight: Tensor | None, bias: Tensor | None, non_negative: bool) -> InferredLabels:
    """Infers the label of one image; see `infer_labels`.

    * Where the layer's input ``r`` is not negative, as after a ReLU, only the true label's row has
      a negative sum, so the row with the smallest sum is the answer (Zhao et al. 2020, iDLG, eq. 3;
      Li et al. 2022, section 3.2).
    * Elsewhere only the true label's entry of the bias gradient is negative, whatever ``r`` is: the
      smallest is the answer. Entries must sum to 0; the margin is less by the share that does not.
    * Without a bias the rows are one vector times ``p_k - 1[k = label]``: of the matrix's first
      singular vector, which has these signs or the opposite ones, one entry has another sign than
      all the rest. Two classes are a tie. The margin is less by the ratio of the second singular
      value to the first, which is 0 for a single image's own gradient.

    Args:
        weight: Gradient of the last layer's weight, ``(K, D)`` in float64; None if it is not sent.
        bias: That of its bias, ``(K,)`` in float64; None if there is none. One of both must be.
        non_negative: Whether ``r`` never has a negative entry.
    """
    if weight is not None and non_negative and (weight.any() or bias is None):
        return _smallest(weight.sum(dim=1), BY_ROW_SUM)
    if bias is not None:
        found = _smallest(bias, BY_BIAS)
        spread = float(bias.max() - bias.min())
        kept = 1 - abs(float(bias.sum())) / spread if spread > 0 else 0.0
        return InferredLabels(found.labels, found.margin * max(0.0, kept), BY_BIAS)
    assert weight is not None
    return _odd_one_out(weight)


def _smallest(values: Tensor, way: str) -> InferredLabels:
    label = int(values.argmin())
    return InferredLabels([label], margin(values, label), way)


def _odd_one_out(weight: Tensor) -> InferredLabels:
    """The class whose row has another sign than those of all others."""
    direction, second = first_direction(weight)
    squares = direction.square()
    positive = torch.where(direction > 0, squares, 0)
    negative = squares - positive
    # What contradicts that class k alone is negative, or alone is positive.
    alone_negative = positive + negative.sum() - negative
    alone_positive = negative + positive.sum() - positive
    contradiction = torch.minimum(alone_negative, alone_positive).clamp(min=0).sqrt()
    found = _smallest(contradiction, BY_SIGN)
    rounding = 1e-6 * float(direction.norm())  # of float32 gradients
    if gap(contradiction, found.labels[0]) <= rounding:
        return InferredLabels(found.labels, 0.0, BY_SIGN)
    return InferredLabels(found.labels, found.margin * (1 - second), BY_SIGN)
