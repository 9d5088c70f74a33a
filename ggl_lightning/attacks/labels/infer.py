"""Reads the private labels off the gradient of the client model's last layer."""

from __future__ import annotations

from torch import Tensor

from ggl_lightning.attacks.labels.impact import labels_by_impact
from ggl_lightning.attacks.labels.inferred import FROZEN_LAST_LAYER, InferredLabels
from ggl_lightning.attacks.labels.instance_wise import labels_by_equations
from ggl_lightning.attacks.labels.one_image import label_of_one
from ggl_lightning.clients import ClassifierLayer, Update
from ggl_lightning.errors import UserError


def infer_labels(
    update: Update, classifier: ClassifierLayer, count: int = 1, scaled: bool = False
) -> InferredLabels:
    """Infers the labels of the private images behind an update.

    For cross-entropy, row ``k`` of the last layer's weight gradient is the mean over images of
    ``(p_k - 1[k = label]) r`` with ``p`` the predicted probabilities and ``r`` the layer's input;
    entry ``k`` of its bias gradient is that of ``p_k - 1[k = label]``.

    One image's label is read as `label_of_one` says. The labels of several are counted by
    `labels_by_equations`, which needs the gradients of weight and bias; where there are none, or
    the equations say too little, `labels_by_impact` takes them one by one. The answer says which
    way it was.

    A defense may make the answer wrong.

    Args:
        update: The received update, finite. One of zeros says nothing: its margin is 0.
        classifier: The client model's last layer, with the weights before training.
        count: Number ``N`` of private images.
        scaled: Whether a defense may have scaled the update down, so that the bias gradient is no
            longer a mean over images; see `Defense.hides_scale`.

    Raises:
        UserError: If the last layer is frozen, so that the update holds nothing of it.
    """
    bias = _tensor(update, classifier.bias_index)
    weight = _tensor(update, classifier.weight_index)
    if weight is None and bias is None:
        raise UserError(FROZEN_LAST_LAYER)
    if count == 1:
        return label_of_one(weight, bias, classifier.non_negative)
    found = None
    if weight is not None and bias is not None:
        layer = classifier.layer
        layer_weight, layer_bias = (
            each.detach().double().cpu() for each in (layer.weight, layer.bias)
        )
        found = labels_by_equations(weight, bias, layer_weight, layer_bias, count, scaled)
    if found is not None:
        return found
    return labels_by_impact(weight, bias, classifier.non_negative, count)


def _tensor(update: Update, index: int | None) -> Tensor | None:
    return None if index is None else update[index].detach().double().cpu()
