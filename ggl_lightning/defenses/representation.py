"""Representation pruning (Soteria): parts of the last layer's gradient are left out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ggl_lightning.clients import ClassifierLayer, Update
from ggl_lightning.defenses.base import ClientSide, Defense, TensorwiseAdaptation
from ggl_lightning.defenses.percentile import at_or_above_rank, check_percentage, percentile_rank
from ggl_lightning.errors import UserError

_ROWS_AT_ONCE = 32
"""Rows of the Jacobian computed by one batched backward pass, over all images: bounds memory."""


class Representation(Defense):
    """Leaves out the columns of the last layer's weight gradient with the lowest scores.

    The score of feature ``f`` of the last layer's input ``r`` is
    ``||d r_f / d x||_2 / (r_f + 1e-10)`` (Soteria: Sun et al., CVPR 2021; the constant is that of
    Li et al. 2022's code). Columns whose score has a magnitude strictly below the
    ``pruning_rate``-th percentile (linear interpolation) become zero; all other tensors are sent as
    they are. With several private images, or a last layer that gets several vectors per image, a
    feature's score is the sum of its scores' magnitudes over all of them.

    Args:
        pruning_rate: The share of features to leave out, from 0 to 100.

    Raises:
        UserError: If ``pruning_rate`` is outside that range.
    """

    def __init__(self, pruning_rate: float = 10.0) -> None:
        check_percentage("pruning_rate of the representation defense", pruning_rate)
        self.pruning_rate = pruning_rate

    @property
    def adds_noise(self) -> bool:
        """No."""
        return False

    @property
    def reads_images(self) -> bool:
        """True: which columns are left out follows from the images."""
        return True

    def norm_bound(self, before: float | None) -> float | None:
        """That of what it is given: columns are left out."""
        return before

    def __call__(self, update: Update, client: ClientSide) -> Update:
        """Returns the update with columns of the last layer's weight gradient set to zero.

        Raises:
            UserError: If that weight is frozen.
        """
        index = _weight_index(client.classifier)
        scores = feature_scores(client.model, client.classifier.layer, client.images)
        rank = percentile_rank(self.pruning_rate, len(scores))
        keep = at_or_above_rank(scores, rank)
        return _keep_columns(update, index, keep)

    def adapt(self, received: Update, classifier: ClassifierLayer) -> KeepColumns:
        """The attacker keeps the columns that have a nonzero entry in any row."""
        index = _weight_index(classifier)
        return KeepColumns((received[index] != 0).any(dim=0), index)


class KeepColumns(TensorwiseAdaptation):
    """Keeps the columns of the last layer's weight gradient that were not left out.

    Args:
        keep: Boolean mask over the features ``(F,)``. The reported estimate is the share of
            features left out, in percent.
        weight_index: Index of the last layer's weight in an update.
    """

    def __init__(self, keep: Tensor, weight_index: int) -> None:
        self.keep = keep
        self.weight_index = weight_index
        self.estimate = {"pruning_rate": 100 * (1 - int(keep.sum()) / len(keep))}

    def adapt_tensor(self, tensor: Tensor, index: int) -> Tensor:
        """Returns the tensor, with the other columns set to zero if it is the weight."""
        return tensor * self.keep if index == self.weight_index else tensor


def feature_scores(model: nn.Module, layer: nn.Linear, images: Tensor) -> Tensor:
    """Scores of the last layer's input features; see `Representation`.

    One forward pass, then batched backward passes of `_ROWS_AT_ONCE` Jacobian rows each: images do
    not influence each other in eval mode, so a feature's row covers every image at once.

    Args:
        model: The client model, in eval mode.
        layer: Its last layer.
        images: Private images ``(N, 3, H, W)``.

    Returns:
        Scores ``(F,)``, none negative.
    """
    with torch.enable_grad():
        images = images.detach().clone().requires_grad_()
        inputs = _input_of(layer, model, images)
        features = inputs.flatten(1)  # (N, T F) for T vectors per image, usually one
    count, width = features.shape
    norms = []
    for chosen in torch.arange(width, device=features.device).split(max(1, _ROWS_AT_ONCE // count)):
        # (rows, N, T F): row k is the gradient of feature chosen[k], in every image.
        rows = nn.functional.one_hot(chosen, width).to(features.dtype)
        rows = rows.unsqueeze(1).expand(-1, count, -1)
        (jacobian,) = torch.autograd.grad(
            features, images, rows, retain_graph=True, is_grads_batched=True
        )
        norms.append(jacobian.flatten(2).norm(dim=2))
    scores = (torch.cat(norms) / (features.detach().T + 1e-10)).abs().sum(dim=1)
    return scores.unflatten(0, (-1, inputs.shape[-1])).sum(dim=0)


def _input_of(layer: nn.Linear, model: nn.Module, images: Tensor) -> Tensor:
    """What the layer is given when the model runs on the images, ``(N, F)`` or ``(N, ..., F)``."""
    inputs: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda _layer, arguments: inputs.append(arguments[0]))
    try:
        model(images)
    finally:
        handle.remove()
    return inputs[-1]


def _weight_index(classifier: ClassifierLayer) -> int:
    if classifier.weight_index is None:
        raise UserError(
            "The weight of the client model's last layer is frozen, hence in no update, but the "
            "representation defense prunes it: let it be trained (requires_grad), or choose "
            "another defense."
        )
    return classifier.weight_index


def _keep_columns(update: Update, weight_index: int, keep: Tensor) -> Update:
    return [tensor * keep if i == weight_index else tensor for i, tensor in enumerate(update)]
