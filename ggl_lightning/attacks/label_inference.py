"""Reads the private labels off the gradient of the client model's last layer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ggl_lightning.clients import ClassifierLayer, Update


@dataclass(frozen=True)
class InferredLabels:
    """Labels read off an update.

    Attributes:
        labels: Class indices in ascending order, one per private image, repeats included.
        margin: How clear the last choice was: how far the best class not chosen is behind the
            last one chosen, as a fraction of the spread of all classes. 0 is a tie, 1 the clearest
            possible case; with one image of two classes it is 1 unless they tie.
    """

    labels: list[int]
    margin: float


def infer_labels(update: Update, classifier: ClassifierLayer, count: int = 1) -> InferredLabels:
    """Infers the labels of the private images behind an update.

    For cross-entropy, row ``k`` of the last layer's weight gradient is the mean over images of
    ``(p_k - 1[k = label]) r`` with ``p`` the predicted probabilities and ``r`` the layer's input,
    which is not negative after a ReLU. With one image only the true label's row has a negative
    sum, so the row with the smallest sum is the answer (Zhao et al. 2020, iDLG, eq. 3; Li et al.
    2022, section 3.2).

    With several images every class with a negative gradient is a label that occurs. Labels are
    taken one by one, lowest class first, and each taken gives its impact back. The impact of one
    occurrence is exactly ``-1/N`` on the bias gradient, the mean of ``p_k - 1[k = label]``. A layer
    without bias leaves the rows' sums, where the impact is estimated as ``(1 + 1/K) / N`` of the
    sum of the negative ones, for ``K`` classes and ``N`` images (Wainakh et al. 2022, LLG,
    algorithm 1, without auxiliary knowledge).

    A defense may make the answer wrong; nothing here can tell.

    Args:
        update: The received update.
        classifier: The client model's last layer, whose weight gradient is
            ``(num_classes, features)``.
        count: Number ``N`` of private images.
    """
    rows = update[classifier.weight_index].detach().double().sum(dim=1).cpu()
    impact = rows.clamp(max=0).sum().item() * (1 + 1 / len(rows)) / count
    if count > 1 and classifier.bias_index is not None:
        rows = update[classifier.bias_index].detach().double().cpu().clone()
        impact = -1 / count
    spread = (rows.max() - rows.min()).item()
    occurring = rows.argsort()[: int((rows < 0).sum())].tolist()
    labels: list[int] = []
    for position in range(count):
        label = occurring[position] if position < len(occurring) else int(rows.argmin())
        labels.append(label)
        margin = _gap(rows, label)
        rows[label] -= impact
    return InferredLabels(sorted(labels), 0.0 if spread == 0 else max(0.0, margin) / spread)


def _gap(rows: Tensor, label: int) -> float:
    others = torch.cat([rows[:label], rows[label + 1 :]])
    return (others.min() - rows[label]).item()
