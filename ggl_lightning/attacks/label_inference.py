"""Reads the private label off the gradient of the client model's last layer."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ggl_lightning.clients import ClassifierLayer, Update


@dataclass(frozen=True)
class InferredLabel:
    """A label read off an update.

    Attributes:
        label: The class index.
        margin: How far the runner-up class is behind, as a fraction of the spread between the
            largest and the smallest row sum: 0 is a tie, 1 the clearest possible case. With two
            classes it is always 1 unless they tie.
    """

    label: int
    margin: float


def infer_label(update: Update, classifier: ClassifierLayer) -> InferredLabel:
    """Infers the label of the one private image behind an update.

    For cross-entropy, row ``k`` of the last layer's weight gradient is ``(p_k - 1[k = label]) r``
    with ``p`` the predicted probabilities and ``r`` the layer's input, which is not negative after
    a ReLU: only the true label's row has a negative sum (Zhao et al. 2020, iDLG, eq. 3; Li et al.
    2022, section 3.2). The row with the smallest sum is the answer; a defense may make it wrong.

    Args:
        update: The received update.
        classifier: The client model's last layer, whose weight gradient is
            ``(num_classes, features)``.
    """
    sums: Tensor = update[classifier.weight_index].sum(dim=1)
    ordered, order = sums.sort()
    spread = (ordered[-1] - ordered[0]).item()
    margin = 0.0 if spread == 0 else (ordered[1] - ordered[0]).item() / spread
    return InferredLabel(label=int(order[0].item()), margin=margin)
