"""A trained WGAN-GP generator as a prior."""

from __future__ import annotations

from importlib.resources import as_file, files

from torch import Tensor

from ggl_lightning.priors.base import Prior, check_classes
from ggl_lightning.priors.generator_files import load_generator


class WGANGPPrior(Prior):
    """A WGAN-GP generator with ``z ~ N(0, I)``, conditioned on a class if it was trained so.

    Always in eval mode, so that an image depends on its own latent only, and its parameters never
    get gradients.

    Args:
        checkpoint: Any file that `load_generator` reads; None for the prior shipped with the
            package, trained on synthetic faces at 32x32.
        width: The width the checkpoint must have; any if None.
        num_classes: How many classes the checkpoint must be conditioned on; any, and none, if None.

    Attributes:
        num_classes: How many classes it is conditioned on; None if it is unconditional.

    Raises:
        UserError: If the checkpoint cannot be read, or has another width or other classes.
    """

    def __init__(
        self,
        checkpoint: str | None = None,
        width: int | None = None,
        num_classes: int | None = None,
    ) -> None:
        super().__init__()
        if checkpoint is None:
            shipped = files("ggl_lightning.priors") / "weights" / "synthetic_faces32.safetensors"
            with as_file(shipped) as path:
                generator = load_generator(path, width=width, num_classes=num_classes)
        else:
            generator = load_generator(checkpoint, width=width, num_classes=num_classes)
        self.generator = generator.requires_grad_(False)
        self.latent_shape = (generator.latent_dim,)
        self.image_size = generator.image_size
        self.num_classes = generator.num_classes
        self.eval()

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Generates one image per latent, and label if it is conditioned.

        Args:
            latents: ``(N, latent_dim)``.
            labels: Class indices ``(N,)`` in ``[0, num_classes)``; ignored by unconditional ones.

        Returns:
            Images ``(N, 3, image_size, image_size)`` in ``[-1, 1]``, differentiable with respect
            to ``latents``.

        Raises:
            UserError: If it is conditioned and there are no labels, or one is no class of it.
        """
        if self.num_classes is not None and labels is not None:
            check_classes(labels, self.num_classes)
        return self.generator(latents, labels)
