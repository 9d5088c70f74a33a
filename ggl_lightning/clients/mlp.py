"""A multilayer perceptron on pixels."""

from __future__ import annotations

from torch import Tensor, nn

from ggl_lightning.clients.image_size import check_image_size
from ggl_lightning.errors import check_non_negative, check_positive


class MLP(nn.Module):
    """Hidden layers of equal width with ReLUs, on the image's pixels.

    With the default values it is the MLP that Geiping et al. 2020 ("Inverting gradients", arXiv
    2003.14053) attack: 5,256,202 parameters in 8 tensors. Layers have the names of their code.

    Args:
        num_classes: Number of classes.
        image_size: Height and width of the images, in pixels.
        width: Units of each hidden layer.
        hidden_layers: Number of hidden layers; 0 is a linear classifier.

    Raises:
        UserError: If a value is out of range; from `forward`, if images have another size.
    """

    def __init__(
        self,
        num_classes: int = 10,
        image_size: int = 32,
        width: int = 1024,
        hidden_layers: int = 3,
    ) -> None:
        check_positive("num_classes", num_classes)
        check_positive("image_size", image_size)
        check_positive("width", width)
        check_non_negative("hidden_layers", hidden_layers)
        super().__init__()
        self.image_size = image_size
        self.model = nn.Sequential()
        self.model.add_module("flatten", nn.Flatten())
        inputs = 3 * image_size**2
        for i in range(hidden_layers):
            self.model.add_module(f"linear{i}", nn.Linear(inputs, width))
            self.model.add_module(f"relu{i}", nn.ReLU())
            inputs = width
        self.model.add_module(f"linear{hidden_layers}", nn.Linear(inputs, num_classes))

    def forward(self, images: Tensor) -> Tensor:
        """Classifies images.

        Args:
            images: ``(N, 3, image_size, image_size)`` in ``[-1, 1]``.

        Returns:
            Logits ``(N, num_classes)``.
        """
        check_image_size(self, images, self.image_size)
        return self.model(images)
