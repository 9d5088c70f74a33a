"""Generators on disk: our own bare safetensors files, and published or training checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from ggl_lightning.errors import UserError
from ggl_lightning.priors.wgan_gp_networks import WGANGPGenerator
from ggl_lightning.weight_files import (
    differences,
    read_checkpoint,
    read_safetensors,
    some,
    state_dict_of,
    write_safetensors,
)


def export_generator(generator: WGANGPGenerator, path: str | Path, provenance: str = "") -> None:
    """Writes a bare generator as safetensors, with its architecture in the metadata.

    Args:
        generator: The generator.
        path: File to write, ``*.safetensors``; its folder is created. The file appears when it is
            complete.
        provenance: Free text: data, command and seed it was trained with.

    Raises:
        UserError: If the path does not end in ``.safetensors`` or cannot be written.
    """
    metadata = {
        "class": f"{WGANGPGenerator.__module__}.{WGANGPGenerator.__qualname__}",
        "width": str(generator.width),
        "latent_dim": str(generator.latent_dim),
        "image_size": str(generator.image_size),
        "provenance": provenance,
    }
    write_safetensors(path, generator.state_dict(), metadata)


def load_generator(
    path: str | Path,
    width: int | None = None,
    latent_dim: int | None = None,
    image_size: int | None = None,
) -> WGANGPGenerator:
    """Reads a generator; never runs code from the file.

    Reads what `export_generator` writes; Lightning checkpoints of `WGANGP` training (the moving
    average, if it was kept); and published ``.pth.tar``, ``.pt`` or ``.pth`` files holding a
    state dict or ``{"state_dict": ...}``, with or without ``module.`` or ``generator.`` before
    the names. The architecture is read off the tensors' shapes.

    Args:
        path: The file.
        width: The width it must have; any if None.
        latent_dim: The latent length it must have; any if None.
        image_size: The image size it must have; any if None.

    Returns:
        The generator on the CPU, in eval mode.

    Raises:
        UserError: If the file is missing, damaged, would need arbitrary pickle code, is not a
            WGAN-GP generator, holds values that are not finite, or is one of another architecture
            than asked for.
    """
    path = Path(path)
    tensors = _strip_prefixes(_read_tensors(path))
    found = _architecture(tensors, path)
    asked = {"width": width, "latent_dim": latent_dim, "image_size": image_size}
    for name, value in asked.items():
        if value is not None and value != found[name]:
            raise UserError(
                f"The generator in {str(path)!r} has {name} {found[name]}, not {value}. "
                f"Set {name} to {found[name]} or leave it out."
            )
    generator = WGANGPGenerator(**found)
    expected = generator.state_dict()
    problems = differences(expected, tensors)
    if problems:
        raise UserError(
            f"{str(path)!r} is not a WGAN-GP generator of the width that its last layer has: "
            f"{some(problems)}."
        )
    unusable = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if unusable:
        raise UserError(
            f"The generator in {str(path)!r} holds infinite or undefined values: {some(unusable)}. "
            "Its training diverged, or the file is damaged: take an earlier checkpoint."
        )
    generator.load_state_dict({**expected, **tensors})
    return generator.eval()


def read_metadata(path: str | Path) -> dict[str, str]:
    """Reads the metadata that `export_generator` wrote.

    Args:
        path: A safetensors file.

    Returns:
        ``class``, ``width``, ``latent_dim``, ``image_size`` and ``provenance``.

    Raises:
        UserError: If the file is missing or damaged.
    """
    return read_safetensors(path)[1]


def _read_tensors(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        return read_safetensors(path)[0]
    return state_dict_of(read_checkpoint(path), path)


def _strip_prefixes(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Keeps the generator's tensors, under the generator's own names."""
    # DataParallel and DistributedDataParallel put "module." before everything.
    tensors = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    for prefix in ("average.module.", "generator.module.", "generator."):
        inside = {
            name.removeprefix(prefix): tensor
            for name, tensor in tensors.items()
            if name.startswith(prefix)
        }
        if inside:
            return inside
    return tensors


def _architecture(tensors: Mapping[str, Tensor], path: Path) -> dict[str, int]:
    first, last = tensors.get("preprocess.0.weight"), tensors.get("deconv_out.weight")
    if first is None or last is None or first.dim() != 2 or last.dim() != 4:
        raise UserError(
            f"{str(path)!r} is not a WGAN-GP generator: it needs a matrix 'preprocess.0.weight' "
            f"and a convolution 'deconv_out.weight'. Found: {some(sorted(tensors))}."
        )
    return {
        "width": last.shape[0],
        "latent_dim": first.shape[1],
        "image_size": 64 if "block3.0.weight" in tensors else 32,
    }
