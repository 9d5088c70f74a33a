"""What makes a generator unfit to be a prior, found out before anything is run."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ggl_lightning.errors import UserError
from ggl_lightning.priors.base import Prior
from ggl_lightning.weight_files import nonfinite_names, some

_SLACK = 1e-3  # that values may lie outside [-1, 1]


def prior_problems(prior: Prior, labels: Sequence[int]) -> list[str]:
    """Tries a prior on latents of its own, and says in which way it is not one.

    Args:
        prior: The prior.
        labels: Labels that it will be given, at least one; each is tried.

    Returns:
        Texts for the user, one for each thing that is wrong: weights that are not finite; that it
        fails on its latents or a label; images of another shape than it says, that are not finite,
        outside ``[-1, 1]``, or others each time for the same latents.
    """
    name = f"The prior {type(prior).__name__}"
    unusable = nonfinite_names(prior)
    if unusable:
        return [
            f"{name} has weights that are infinite or undefined: {some(unusable)}. Its training "
            "diverged, or its file is damaged: give it another checkpoint."
        ]
    classes = torch.tensor(list(labels), device=prior.device)
    try:
        latents = prior.sample(len(classes), torch.Generator().manual_seed(0))
        with torch.no_grad():
            images = prior(latents, classes)
            again = prior(latents[:1], classes[:1])
    except UserError as error:
        return list(error.problems)
    except Exception as error:  # noqa: BLE001 - whatever a prior of the user's may raise
        reason = next(iter(str(error).splitlines()), "").strip().rstrip(".")
        return [
            f"{name} fails on latents of shape {tuple(prior.latent_shape)} and the labels "
            f"{list(labels)}: {type(error).__name__}: {reason}. It must take its own latents, and "
            "every label of the images."
        ]
    return [f"{name} {problem}" for problem in _wrong_images(prior, latents, images, again)]


def _wrong_images(prior: Prior, latents: Tensor, images: object, again: Tensor) -> list[str]:
    expected = (len(latents), 3, prior.image_size, prior.image_size)
    if tuple(latents.shape[1:]) != tuple(prior.latent_shape):
        return [
            f"draws latents of shape {tuple(latents.shape[1:])}, but its latent_shape is "
            f"{tuple(prior.latent_shape)}: make them agree."
        ]
    if not isinstance(images, Tensor) or tuple(images.shape) != expected:
        found = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
        return [f"returns {found} for {len(latents)} latents, expected {expected}."]
    if not images.isfinite().all():
        return ["generates infinite or undefined values: check its checkpoint."]
    if images.abs().max() > 1 + _SLACK:
        return [
            f"generates values from {images.min().item():.4g} to {images.max().item():.4g}: images "
            "must be in [-1, 1]."
        ]
    if not torch.allclose(images[:1], again, atol=_SLACK):
        return [
            "generates another image each time for the same latent, so there is nothing to search "
            "for: switch off the noise it draws."
        ]
    return []
