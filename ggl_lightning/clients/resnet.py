"""ResNet-18 for small images: the CelebA audit's client model."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from ggl_lightning.errors import check_positive


class ResNet18(nn.Module):
    """ResNet-18 (He et al., CVPR 2016, table 1) with a stem for small images.

    The stem is one 3x3 convolution of stride 1, without max-pooling, so that 32x32 images keep
    their resolution through the first stage. Residual blocks and initialisation (Kaiming normal,
    fan out) are torchvision's, and ``parameters()`` comes in torchvision's order: 62 tensors.

    Args:
        num_classes: Number of classes.
        width: Channels of the first stage; the four stages have 1, 2, 4 and 8 times as many.
            64 is the published width.

    Raises:
        UserError: If ``num_classes`` or ``width`` is not positive.
    """

    def __init__(self, num_classes: int = 2, width: int = 64) -> None:
        check_positive("num_classes", num_classes)
        check_positive("width", width)
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, kernel_size=3, stride=1, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.layer1 = _stage(width, width, stride=1)
        self.layer2 = _stage(width, 2 * width, stride=2)
        self.layer3 = _stage(2 * width, 4 * width, stride=2)
        self.layer4 = _stage(4 * width, 8 * width, stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(8 * width, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Classifies images.

        Args:
            images: ``(N, 3, H, W)`` in ``[-1, 1]``.

        Returns:
            Logits ``(N, num_classes)``.
        """
        features = self.relu(self.bn1(self.conv1(images)))
        features = self.layer4(self.layer3(self.layer2(self.layer1(features))))
        return self.fc(torch.flatten(self.avgpool(features), 1))


def _stage(channels_in: int, channels_out: int, stride: int) -> nn.Sequential:
    """Two residual blocks; a 1x1 convolution carries the shortcut where the shape changes."""
    shortcut = None
    if stride != 1 or channels_in != channels_out:
        shortcut = nn.Sequential(
            nn.Conv2d(channels_in, channels_out, kernel_size=1, stride=stride, bias=False),
            nn.BatchNorm2d(channels_out),
        )
    return nn.Sequential(
        BasicBlock(channels_in, channels_out, stride, shortcut),
        BasicBlock(channels_out, channels_out),
    )
