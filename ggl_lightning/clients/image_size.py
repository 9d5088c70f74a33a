"""The check of client models that take images of one size only."""

from __future__ import annotations

from torch import Tensor, nn

from ggl_lightning.errors import UserError


def check_image_size(model: nn.Module, images: Tensor, image_size: int) -> None:
    """Raises `UserError` unless images have the size that a client model was built for.

    Args:
        model: The client model, for the message.
        images: What it was given, ``(N, 3, H, W)``.
        image_size: The height and width it takes.

    Raises:
        UserError: If the shape is another one.
    """
    if tuple(images.shape[1:]) != (3, image_size, image_size):
        raise UserError(
            f"The client model {type(model).__name__} was built for images of shape "
            f"{(3, image_size, image_size)} and got {tuple(images.shape[1:])}. Set image_size to "
            "the same value for the client model and the images."
        )
