"""Small random BigGANs, saved in the format of pytorch_pretrained_biggan."""

from __future__ import annotations

from pathlib import Path

import torch
from pytorch_pretrained_biggan import BigGAN, BigGANConfig
from pytorch_pretrained_biggan.convert_tf_to_pytorch import BigGAN128, BigGAN256, BigGAN512

PUBLISHED = {128: BigGAN128, 256: BigGAN256, 512: BigGAN512}


def tiny_config(**changes: object) -> BigGANConfig:
    """8x8 images, 16-dimensional latents, 5 classes; every kind of layer."""
    settings = {
        "output_dim": 8,
        "z_dim": 16,
        "class_embed_dim": 16,
        "channel_width": 4,
        "num_classes": 5,
        "layers": [(True, 16, 8), (False, 8, 4), (False, 4, 2), (False, 2, 1)],
        "attention_layer_position": 1,
    }
    return BigGANConfig(**{**settings, **changes})


def narrow_config(size: int, num_classes: int = 1000) -> BigGANConfig:
    """A published architecture, 32 times narrower."""
    published = PUBLISHED[size].to_dict()
    return BigGANConfig(**{**published, "channel_width": 4, "num_classes": num_classes})


def random_biggan(config: BigGANConfig, seed: int = 0) -> BigGAN:
    """A generator whose every tensor matters: nothing is zero, no two statistics are equal."""
    generator = torch.Generator().manual_seed(seed)
    model = BigGAN(config).eval()
    state = model.state_dict()
    for name, tensor in state.items():
        values = torch.randn(tensor.shape, generator=generator)
        if name.endswith("running_vars"):
            values = 0.5 + values.abs()
        elif name.endswith(("running_means", ".bias")):
            values = values / 4
        elif name.endswith(("weight_u", "weight_v")):
            values = values / values.norm()
        state[name] = values
    # Power iteration's fixed point: the singular vectors that published files hold.
    for name in [name.removesuffix("_orig") for name in state if name.endswith("weight_orig")]:
        u, _, v = torch.linalg.svd(state[f"{name}_orig"].flatten(1), full_matrices=False)
        state[f"{name}_u"], state[f"{name}_v"] = u[:, 0].clone(), v[0].clone()
    model.load_state_dict(state)
    return model.requires_grad_(False)


def save_biggan(model: BigGAN, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(model.config.to_json_string())
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    return folder
