"""A trained WGAN-GP generator as a prior."""

from __future__ import annotations

from importlib.resources import as_file, files

from torch import Tensor

from ggl_lightning.priors.base import Prior
from ggl_lightning.priors.generator_files import load_generator


class WGANGPPrior(Prior):
    """A WGAN-GP generator with ``z ~ N(0, I)``; unconditional.

    Always in eval mode, so that an image depends on its own latent only, and its parameters never
    get gradients.

    Args:
        checkpoint: Any file that `load_generator` reads; None for the prior shipped with the
            package, trained on synthetic faces at 32x32.
        width: The width the checkpoint must have; any if None.

    Raises:
        UserError: If the checkpoint cannot be read or has another width.
    """

    def __init__(self, checkpoint: str | None = None, width: int | None = None) -> None:
        super().__init__()
        if checkpoint is None:
            shipped = files("ggl_lightning.priors") / "weights" / "synthetic_faces32.safetensors"
            with as_file(shipped) as path:
                generator = load_generator(path, width=width)
        else:
            generator = load_generator(checkpoint, width=width)
        self.generator = generator.requires_grad_(False)
        self.latent_shape = (generator.latent_dim,)
        self.image_size = generator.image_size
        self.eval()

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images ``(N, 3, image_size, image_size)`` in ``[-1, 1]``; ``labels`` are ignored."""
        return self.generator(latents)
