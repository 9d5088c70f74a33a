"""Generators on disk: our own bare safetensors files, and published or training checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ggl_lightning.errors import UserError
from ggl_lightning.priors.wgan_gp_networks import WGANGPGenerator
from ggl_lightning.weight_files import (
    check_finite,
    differences,
    read_safetensors,
    read_weights,
    some,
    write_safetensors,
)
from ggl_lightning.wrapped_weights import find_weights

_TELLING = ("preprocess.0.weight", "deconv_out.weight")  # their shapes tell the architecture
_CLASSES = "class_embedding.weight"  # only generators that are conditioned have it
_AVERAGE = "average.module."  # in a checkpoint of `WGANGP` training, which keeps it to be used


def export_generator(generator: WGANGPGenerator, path: str | Path, provenance: str = "") -> None:
    """Writes a bare generator as safetensors, with its architecture in the metadata.

    Args:
        generator: The generator.
        path: File to write, ``*.safetensors``; its folder is created. The file appears when it is
            complete.
        provenance: Free text: data, command and seed it was trained with.

    Raises:
        UserError: If the path does not end in ``.safetensors`` or cannot be written, or if the
            generator's weights are not finite.
    """
    check_finite(generator.state_dict(), path)
    metadata = {
        "class": f"{WGANGPGenerator.__module__}.{WGANGPGenerator.__qualname__}",
        "width": str(generator.width),
        "latent_dim": str(generator.latent_dim),
        "image_size": str(generator.image_size),
        "provenance": provenance,
    }
    if generator.num_classes is not None:
        metadata["num_classes"] = str(generator.num_classes)
    write_safetensors(path, generator.state_dict(), metadata)


def load_generator(
    path: str | Path,
    width: int | None = None,
    latent_dim: int | None = None,
    image_size: int | None = None,
    num_classes: int | None = None,
) -> WGANGPGenerator:
    """Reads a generator; never runs code from the file.

    Reads what `export_generator` writes; Lightning checkpoints of `WGANGP` training (the moving
    average, if it was kept); and published ``.pth.tar``, ``.pt`` or ``.pth`` files with a state
    dict in whatever `find_weights` finds it. The architecture is read off the tensors' shapes.

    Args:
        path: The file.
        width: The width it must have; any if None.
        latent_dim: The latent length it must have; any if None.
        image_size: The image size it must have; any if None.
        num_classes: How many classes it must be conditioned on; any, and none, if None.

    Returns:
        The generator on the CPU, in eval mode.

    Raises:
        UserError: If the file is missing, damaged, would need arbitrary pickle code, is not a
            WGAN-GP generator, holds values that are not finite, or is one of another architecture
            than asked for.
    """
    path = Path(path)
    saved, _ = read_weights(path)
    weights = find_weights(saved, _TELLING, _misfits, path, preferred=_AVERAGE)
    if weights.misfits:
        raise UserError(
            f"{str(path)!r} is not a WGAN-GP generator: {some(weights.misfits)}. "
            f"It holds {weights.contents}."
        )
    tensors = weights.tensors
    check_finite(tensors, path)
    found = _architecture(tensors)
    if num_classes is not None and found["num_classes"] is None:
        raise UserError(
            f"num_classes is {num_classes}, but the generator in {str(path)!r} is unconditional. "
            "Leave num_classes out, or train one with model.num_classes."
        )
    asked = {
        "width": width,
        "latent_dim": latent_dim,
        "image_size": image_size,
        "num_classes": num_classes,
    }
    for name, value in asked.items():
        if value is not None and value != found[name]:
            raise UserError(
                f"The generator in {str(path)!r} has {name} {found[name]}, not {value}. "
                f"Set {name} to {found[name]} or leave it out."
            )
    generator = _with_architecture(found)
    generator.load_state_dict({**generator.state_dict(), **tensors})
    return generator.eval()


def read_metadata(path: str | Path) -> dict[str, str]:
    """Reads the metadata that `export_generator` wrote.

    Args:
        path: A safetensors file.

    Returns:
        ``class``, ``width``, ``latent_dim``, ``image_size`` and ``provenance``; ``num_classes`` if
        it is conditioned.

    Raises:
        UserError: If the file is missing or damaged.
    """
    return read_safetensors(path)[1]


def _misfits(tensors: Mapping[str, Tensor]) -> list[str]:
    first, last = (tensors.get(name) for name in _TELLING)
    if first is None or last is None or first.dim() != 2 or last.dim() != 4:
        return [f"it needs a matrix {_TELLING[0]!r} and a convolution {_TELLING[1]!r}"]
    classes = tensors.get(_CLASSES)
    if classes is not None and (classes.dim() != 2 or 0 in classes.shape):
        return [f"{_CLASSES} is {tuple(classes.shape)}, which is no vector for each class"]
    with torch.device("meta"):  # names and shapes alone
        expected = _with_architecture(_architecture(tensors)).state_dict()
    return differences(expected, tensors)


def _architecture(tensors: Mapping[str, Tensor]) -> dict[str, int | None]:
    first, last = (tensors[name] for name in _TELLING)
    classes = tensors.get(_CLASSES)
    return {
        "width": last.shape[0],
        # A class's vector is as long as a latent, and the first layer gets both.
        "latent_dim": first.shape[1] if classes is None else classes.shape[1],
        "image_size": 64 if "block3.0.weight" in tensors else 32,
        "num_classes": None if classes is None else len(classes),
    }


def _with_architecture(found: Mapping[str, int | None]) -> WGANGPGenerator:
    return WGANGPGenerator(**found)  # type: ignore[arg-type]
