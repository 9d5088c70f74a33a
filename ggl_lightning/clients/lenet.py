"""LeNet as the first gradient-inversion papers used it."""

from __future__ import annotations

from torch import Tensor, nn

from ggl_lightning.clients.image_size import check_image_size
from ggl_lightning.errors import check_positive


class LeNet(nn.Module):
    """Three 5x5 convolutions with sigmoids and one linear layer; no pooling.

    The network of Zhu et al. 2019 ("Deep leakage from gradients", arXiv 1906.08935): sigmoids,
    because that attack needs second derivatives everywhere, and strides instead of pooling. With
    width 12, 10 classes and 32x32 images it has 15,826 parameters in 8 tensors. As there, weights
    and biases start uniform in ``[-0.5, 0.5]``.

    Args:
        num_classes: Number of classes.
        image_size: Height and width of the images, in pixels.
        width: Channels of each convolution.
        init_bound: Weights and biases start uniform in ``[-init_bound, init_bound]``.

    Raises:
        UserError: If a value is not positive; from `forward`, if images have another size.
    """

    def __init__(
        self,
        num_classes: int = 10,
        image_size: int = 32,
        width: int = 12,
        init_bound: float = 0.5,
    ) -> None:
        check_positive("num_classes", num_classes)
        check_positive("image_size", image_size)
        check_positive("width", width)
        check_positive("init_bound", init_bound)
        super().__init__()
        self.image_size = image_size
        self.body = nn.Sequential(
            nn.Conv2d(3, width, kernel_size=5, padding=2, stride=2),
            nn.Sigmoid(),
            nn.Conv2d(width, width, kernel_size=5, padding=2, stride=2),
            nn.Sigmoid(),
            nn.Conv2d(width, width, kernel_size=5, padding=2, stride=1),
            nn.Sigmoid(),
        )
        side = -(-image_size // 4)  # two strides of 2, each rounding up
        # A sequence of one layer, for the names of the published checkpoints.
        self.fc = nn.Sequential(nn.Linear(width * side**2, num_classes))
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -init_bound, init_bound)

    def forward(self, images: Tensor) -> Tensor:
        """Classifies images.

        Args:
            images: ``(N, 3, image_size, image_size)`` in ``[-1, 1]``.

        Returns:
            Logits ``(N, num_classes)``.
        """
        check_image_size(self, images, self.image_size)
        return self.fc(self.body(images).flatten(1))
