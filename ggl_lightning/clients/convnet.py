"""ConvNet: the small convolutional network of the gradient-inversion literature."""

from __future__ import annotations

from torch import Tensor, nn

from ggl_lightning.clients.image_size import check_image_size
from ggl_lightning.errors import UserError, check_positive

SMALLEST_IMAGE = 9  # two poolings by 3 leave one pixel


class ConvNet(nn.Module):
    """Eight 3x3 convolutions with batch-norm, two poolings by 3, one linear layer.

    The "ConvNet" that Geiping et al. 2020 ("Inverting gradients", arXiv 2003.14053) attack; with
    width 64, 10 classes and 32x32 images it has 2,904,970 parameters in 34 tensors. Layers have
    the names of their code (``conv0``, ``bn0``, ... ``linear``), so that their checkpoints load.

    Args:
        num_classes: Number of classes.
        image_size: Height and width of the images, at least 9 pixels.
        width: Channels of the first convolution; later ones have 2 and 4 times as many.

    Raises:
        UserError: If a size is out of range; from `forward`, if images have another size.
    """

    def __init__(self, num_classes: int = 10, image_size: int = 32, width: int = 64) -> None:
        check_positive("num_classes", num_classes)
        check_positive("width", width)
        if image_size < SMALLEST_IMAGE:
            raise UserError(f"image_size is {image_size}: ConvNet needs at least {SMALLEST_IMAGE}.")
        super().__init__()
        self.image_size = image_size
        outputs = [width, 2 * width, 2 * width, *(5 * [4 * width])]
        inputs = [3, *outputs[:-1]]
        self.model = nn.Sequential()
        for i, (channels_in, channels_out) in enumerate(zip(inputs, outputs, strict=True)):
            convolution = nn.Conv2d(channels_in, channels_out, kernel_size=3, padding=1)
            self.model.add_module(f"conv{i}", convolution)
            self.model.add_module(f"bn{i}", nn.BatchNorm2d(channels_out))
            self.model.add_module(f"relu{i}", nn.ReLU())
            if i == 5:
                self.model.add_module("pool0", nn.MaxPool2d(3))
        self.model.add_module("pool1", nn.MaxPool2d(3))
        self.model.add_module("flatten", nn.Flatten())
        pooled = image_size // 3 // 3
        self.model.add_module("linear", nn.Linear(4 * width * pooled**2, num_classes))

    def forward(self, images: Tensor) -> Tensor:
        """Classifies images.

        Args:
            images: ``(N, 3, image_size, image_size)`` in ``[-1, 1]``.

        Returns:
            Logits ``(N, num_classes)``.
        """
        check_image_size(self, images, self.image_size)
        return self.model(images)
