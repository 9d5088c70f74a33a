"""How large the images of an audit are."""

from __future__ import annotations

from torch import nn

from ggl_lightning.audit.plan.data_module import AuditDataModule
from ggl_lightning.errors import UserError
from ggl_lightning.priors.base import Prior


def image_size_of(
    prior: Prior | None, grid: AuditDataModule, model: nn.Module, given: int | None
) -> int:
    """Height and width of the images, in pixels.

    Args:
        prior: The prior, whose images are of that size.
        grid: The cases, whose images are, where there is no prior and none is given.
        model: The client model, which may say so (`image_size`) where there are no images.
        given: What the user says.

    Raises:
        UserError: If nothing says it, or the user says something else than the prior.
    """
    if prior is not None:
        if given not in (None, prior.image_size):
            raise UserError(
                f"model.image_size is {given}, but the prior generates images of "
                f"{prior.image_size} pixels: leave it out, or choose another prior."
            )
        return prior.image_size
    if given is not None:
        return given
    public = None if grid.public is None else grid.public.images
    for said in (grid.images, public, model):
        size = getattr(said, "image_size", None)
        if isinstance(size, int):
            return size
    raise UserError(
        "How large the private images are is said by no prior, no images and not by the client "
        f"model {type(model).__name__}: give their height and width in pixels (model.image_size)."
    )
