"""BigGAN-deep-256 with its real architecture and random weights, for timing only."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import torch
from pytorch_pretrained_biggan import BigGAN, BigGANConfig
from torch import Tensor
from torch.nn import functional as F

from ggl_lightning.priors import BigGANPrior

_LAYERS = [  # up-sampling, channels in and out in units of 128
    (False, 16, 16),
    (True, 16, 16),
    (False, 16, 16),
    (True, 16, 8),
    (False, 8, 8),
    (True, 8, 8),
    (False, 8, 8),
    (True, 8, 4),
    (False, 4, 4),
    (True, 4, 2),
    (False, 2, 2),
    (True, 2, 1),
]


def random_biggan() -> BigGANPrior:
    """The prior of the ImageNet audit, 256x256 averaged to 224x224, 56 million random weights."""
    config = BigGANConfig(output_dim=256, layers=_LAYERS)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.json").write_text(json.dumps(config.to_dict()))
        torch.save(_random_weights(config), Path(folder, "pytorch_model.bin"))
        return BigGANPrior(folder, output_size=224)


def _random_weights(config: BigGANConfig) -> dict[str, Tensor]:
    """Initial weights, with the singular vectors that training would have found."""
    weights = BigGAN(config).state_dict()
    for name in weights:
        layer, _, kind = name.rpartition("_")
        if kind == "orig":
            matrix = weights[name].flatten(1)
            left = weights[f"{layer}_u"]
            for _ in range(3):
                right = F.normalize(matrix.mT @ left, dim=0)
                left = F.normalize(matrix @ right, dim=0)
            weights[f"{layer}_u"], weights[f"{layer}_v"] = left, right
    return weights
