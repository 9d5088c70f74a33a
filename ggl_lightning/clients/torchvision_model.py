"""Any of torchvision's classifiers as a client model."""

from __future__ import annotations

import torchvision
from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights, list_models

from ggl_lightning.clients.image_size import check_image_size
from ggl_lightning.errors import UserError, check_choice, check_positive

# Their auxiliary heads see no gradient in eval mode, and training would return them beside the
# logits: built without.
_WITH_AUXILIARY_HEADS = ("googlenet", "inception_v3")


class TorchvisionClassifier(nn.Module):
    """A classifier of torchvision's by name, with random weights; nothing is downloaded.

    ``parameters()`` comes in torchvision's order: ResNet-18 with 1000 classes has 62 tensors with
    11,689,512 parameters. The logits must come out of ``nn.Linear``, as they do in all of them but
    SqueezeNet, for an audit to infer the label.

    Args:
        name: The classifier's name in torchvision, e.g. ``resnet18``, ``vgg11``, ``vit_b_16``.
        num_classes: Number of classes.
        image_size: Height and width of the images. Vision transformers are built for this size;
            for others it is only checked against the smallest size they take.

    Raises:
        UserError: If there is no such classifier, or it does not take images of this size.
    """

    def __init__(
        self, name: str = "resnet18", num_classes: int = 1000, image_size: int = 224
    ) -> None:
        check_choice("name", name, list_models(module=torchvision.models))
        check_positive("num_classes", num_classes)
        super().__init__()
        self._name = name
        self._built_for: int | None = None
        self._smallest = 1
        options: dict[str, int | bool | tuple[int, int]] = {"num_classes": num_classes}
        if name in _WITH_AUXILIARY_HEADS:
            options |= {"aux_logits": False, "init_weights": True}
        if name.startswith("vit_"):
            patch = int(name.rsplit("_", 1)[1])
            if image_size <= 0 or image_size % patch:
                raise UserError(
                    f"image_size is {image_size}: {name} needs a multiple of its patches' {patch}."
                )
            options["image_size"] = image_size
            self._built_for = image_size
        else:
            self._smallest = max(get_model_weights(name)["DEFAULT"].meta["min_size"])
            if image_size < self._smallest:
                raise UserError(
                    f"image_size is {image_size}: torchvision's {name} needs at least "
                    f"{self._smallest}."
                )
        self.model = get_model(name, weights=None, **options)

    def forward(self, images: Tensor) -> Tensor:
        """Classifies images.

        Args:
            images: ``(N, 3, image_size, image_size)`` in ``[-1, 1]``.

        Returns:
            Logits ``(N, num_classes)``.

        Raises:
            UserError: If images are smaller than the classifier takes, or of another size than a
                vision transformer was built for.
        """
        if self._built_for is not None:
            check_image_size(self, images, self._built_for)
        if min(images.shape[2:]) < self._smallest:
            raise UserError(
                f"torchvision's {self._name} needs images of at least {self._smallest} pixels and "
                f"got {min(images.shape[2:])}: raise image_size of the images, or choose another "
                "client model."
            )
        return self.model(images)
