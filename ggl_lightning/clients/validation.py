"""What makes a model unfit to be a client model, found out before anything is run."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ggl_lightning.clients.classifier_layer import find_classifier_layer
from ggl_lightning.errors import UserError
from ggl_lightning.weight_files import nonfinite_names, some

_OTHER_SIZES = (8, 16, 28, 32, 64, 75, 96, 128, 160, 224, 256, 299, 384, 512)
"""Sizes that a model which cannot take the images is tried on, to tell the user which it takes."""


def client_model_problems(
    model: nn.Module, images: Tensor, largest_label: int | None = None
) -> list[str]:
    """Tries a client model on images, and says in which way it is not one.

    The model is tried in eval mode and put back into the mode it was in; neither its weights nor
    their ``.grad`` change.

    Args:
        model: The model.
        images: At least two different images ``(N, 3, H, W)`` in ``[-1, 1]``, of the size that the
            run will read, on the model's device.
        largest_label: The largest label that the run will read; None if it is not known.

    Returns:
        Texts for the user, one for each thing that is wrong: weights that are not finite; that it
        fails on the images; that it does not return finite logits ``(N, classes)``, but others or
        probabilities; too few classes; no linear last layer; nothing to train, or a last layer that
        no gradient reaches. Frozen, shared and unused parameters are none of these.
    """
    name = f"The client model {type(model).__name__}"
    unusable = nonfinite_names(model)
    if unusable:
        return [
            f"{name} has weights that are infinite or undefined: {some(unusable)}. Give it other "
            "weights."
        ]
    training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        return _problems(name, model, images, largest_label)
    finally:
        for module, mode in training.items():
            module.training = mode


def is_random(model: nn.Module, images: Tensor) -> bool:
    """Whether a model in eval mode returns other logits for the same images when called again.

    Args:
        model: A client model that `client_model_problems` finds nothing wrong of, in eval mode.
        images: At least two images ``(N, 3, H, W)``.
    """
    with torch.no_grad():
        first, second = model(images), model(images)
    # Rounding may differ on an accelerator; what is drawn at random differs by far more.
    return not torch.allclose(first, second, rtol=1e-3, atol=1e-3 * float(first.abs().max()))


def has_batch_norm(model: nn.Module) -> bool:
    """Whether a model has layers whose statistics depend on the mode it is in."""
    return any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.modules())


def _problems(name: str, model: nn.Module, images: Tensor, largest_label: int | None) -> list[str]:
    try:
        with torch.no_grad():
            logits = model(images)
    except UserError as error:
        return list(error.problems)
    except Exception as error:  # noqa: BLE001 - whatever a model of the user's may raise
        return [
            f"{name} fails on images of shape {tuple(images.shape[1:])}: "
            f"{_reason(error)}.{_advice(model, images)}"
        ]
    wrong = _wrong_output(logits, len(images))
    if wrong is not None:
        return [f"{name} {wrong}"]
    unusable = _wrong_values(name, logits)
    if unusable:
        return unusable
    return [
        *_too_few_classes(name, logits.shape[1], largest_label),
        *_wrong_gradient(name, model, images, logits.shape[1]),
    ]


def _wrong_output(logits: object, count: int) -> str | None:
    """What is wrong of the kind and shape of what a model returns."""
    expected = "its forward must return the logits alone, a tensor (images, classes)."
    if not isinstance(logits, Tensor):
        return f"returns a {type(logits).__name__} instead of a tensor: {expected}"
    if logits.dim() != 2 or len(logits) != count or logits.shape[1] == 0:
        return f"returns shape {tuple(logits.shape)} for {count} images: {expected}"
    if not logits.is_floating_point():
        return f"returns values of {logits.dtype}, which no gradient passes: {expected}"
    return None


def _wrong_values(name: str, logits: Tensor) -> list[str]:
    if not logits.isfinite().all():
        return [f"{name} returns infinite or undefined logits: check its weights and its forward."]
    sums = logits.sum(dim=1)
    if logits.shape[1] > 1 and logits.min() >= 0 and torch.allclose(sums, torch.ones_like(sums)):
        return [
            f"{name} returns probabilities, but the loss takes logits: leave the softmax out of "
            "its forward."
        ]
    return []


def _too_few_classes(name: str, classes: int, largest_label: int | None) -> list[str]:
    if largest_label is None or largest_label < classes:
        return []
    return [
        f"The images have labels up to {largest_label}, but {name[0].lower()}{name[1:]} has "
        f"{classes} classes, numbered from 0: set num_classes to at least {largest_label + 1}."
    ]


def _wrong_gradient(name: str, model: nn.Module, images: Tensor, classes: int) -> list[str]:
    trainable = {n: p for n, p in model.named_parameters() if p.requires_grad}
    if not trainable:
        return [
            f"{name} has nothing to train: requires_grad is false for all of its parameters, so "
            "its client would send an empty update. Leave some of them to be trained."
        ]
    try:
        layer = find_classifier_layer(model, images[:1]).layer
    except UserError as error:
        return list(error.problems)
    if layer.out_features != classes:
        return [
            f"{name} returns {classes} logits, but its last linear layer has {layer.out_features} "
            "outputs: its forward must return what that layer does, so that labels can be read "
            "from its gradient."
        ]
    last = next(n for n, p in model.named_parameters() if p is layer.weight)
    with torch.enable_grad():
        logits = model(images)
        loss = F.cross_entropy(logits, logits.argmax(dim=1))
        gradients: Iterable[Tensor | None] = (
            torch.autograd.grad(loss, list(trainable.values()), allow_unused=True)
            if loss.requires_grad
            else [None] * len(trainable)
        )
    found = {n: g for n, g in zip(trainable, gradients, strict=True) if g is not None}
    if not found or (last in trainable and last not in found):
        return [
            f"{name} passes no gradient to {last!r}, the weight of its last layer: leave no_grad "
            "and detach out of its forward."
        ]
    unusable = [n for n, g in found.items() if not g.isfinite().all()]
    if unusable:
        return [
            f"{name} has gradients that are infinite or undefined: {some(unusable)}. Check its "
            "weights and its forward."
        ]
    return []


def _advice(model: nn.Module, images: Tensor) -> str:
    """What kind of images a model takes that fails on these, as far as trying tells."""
    dtypes = {p.dtype for p in model.parameters() if p.is_floating_point()}
    if dtypes and images.dtype not in dtypes:
        return (
            f" Its weights are of {dtypes.pop()} and images of {images.dtype}: build it in "
            f"{images.dtype}."
        )
    channels, size = images.shape[1], images.shape[-1]
    for other in (1, 4):
        if _takes(model, images.new_zeros(1, other, size, size)):
            return f" It takes images of {other} channels: give it a first layer for {channels}."
    sizes = [s for s in _OTHER_SIZES if _takes(model, images.new_zeros(1, channels, s, s))]
    if sizes:
        return (
            f" It takes images of {sizes[0]} pixels: set image_size of the images, and of the "
            "model if it has that setting, to one that both take."
        )
    return f" It must take images of shape {tuple(images.shape[1:])}."


def _takes(model: nn.Module, images: Tensor) -> bool:
    try:
        with torch.no_grad():
            model(images)
    except Exception:  # noqa: BLE001 - likewise
        return False
    return True


def _reason(error: Exception) -> str:
    """The first line of an error."""
    line = next(iter(str(error).splitlines()), "").strip().rstrip(".")
    return f"{type(error).__name__}: {line}" if line else type(error).__name__
