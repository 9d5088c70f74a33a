"""Whether reconstruction and private image show a person with the same attributes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ggl_lightning.errors import UserError
from ggl_lightning.metrics.mean_over_images import MeanOverImages


class AttributeAgreement(MeanOverImages):
    """Share of attributes on which classifiers say the same of reconstruction and private image.

    Per image the share over the classifiers, then the mean over images: 0 to 1. What the
    classifiers say of the private image is the reference, right or wrong. Attributes that nearly
    all images share agree by chance: compare with the nulls.

    Args:
        classifiers: By attribute: models in eval mode that map images ``(N, 3, H, W)`` in
            ``[-1, 1]`` to logits, ``(N, K)`` of ``K`` classes, or ``(N,)`` or ``(N, 1)`` of yes
            (above 0) or no.
        **kwargs: For `torchmetrics.Metric`.

    Raises:
        UserError: If there is no classifier, or one is in train mode.
    """

    higher_is_better = True

    def __init__(self, classifiers: Mapping[str, nn.Module], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not classifiers:
            raise UserError("Attribute agreement needs at least one attribute classifier.")
        for name, classifier in classifiers.items():
            if classifier.training:
                raise UserError(
                    f"The classifier of attribute {name!r} is in train mode: what it says of an "
                    "image would depend on the other images. Call its eval() first."
                )
        self.attributes = tuple(classifiers)
        self.classifiers = nn.ModuleList(classifiers.values())  # attributes need not be identifiers

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Adds images.

        Args:
            preds: Reconstructions ``(N, 3, H, W)`` in ``[-1, 1]``.
            target: Their private images, likewise.
        """
        with torch.no_grad(), torch.autocast(preds.device.type, enabled=False):
            agree = [_says(model, preds) == _says(model, target) for model in self.classifiers]
        self.add(torch.stack(agree).float().mean(dim=0))


def _says(classifier: nn.Module, images: Tensor) -> Tensor:
    """The class of each image, ``(N,)``."""
    logits = classifier(images)
    if logits.dim() == 1 or logits.shape[1] == 1:
        return logits.flatten() > 0
    return logits.argmax(dim=1)
