"""Generators on disk: our own bare safetensors files, and published or training checkpoints."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ggl_lightning.errors import UserError
from ggl_lightning.priors.wgan_gp_networks import WGANGPGenerator

_SHOWN = 6  # names in an error message


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
    path = Path(path)
    if path.suffix != ".safetensors":
        raise UserError(f"The output {str(path)!r} must end in .safetensors.")
    metadata = {
        "class": f"{WGANGPGenerator.__module__}.{WGANGPGenerator.__qualname__}",
        "width": str(generator.width),
        "latent_dim": str(generator.latent_dim),
        "image_size": str(generator.image_size),
        "provenance": provenance,
    }
    tensors = {name: t.detach().cpu().contiguous() for name, t in generator.state_dict().items()}
    unfinished = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, unfinished, metadata)
        unfinished.replace(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"Cannot write {str(path)!r}: {error}.") from error


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
            WGAN-GP generator, or is one of another architecture than asked for.
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
    _check_shapes(generator.state_dict(), tensors, path)
    generator.load_state_dict(tensors)
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
    return _read_safetensors(Path(path))[1]


def read_checkpoint(path: str | Path) -> Any:
    """Reads a file of ``torch.save`` on the CPU, tensors and plain containers only.

    Args:
        path: The file.

    Returns:
        What was saved.

    Raises:
        UserError: If the file is missing, damaged, or would need arbitrary pickle code.
    """
    path = Path(path)
    _check_exists(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = "is damaged or not a PyTorch checkpoint"
        if zipfile.is_zipfile(path):
            reason = (
                "holds objects other than tensors and plain containers; reading them would run "
                "code from the file, which is never done. Save its state dict alone"
            )
        raise UserError(f"The checkpoint {str(path)!r} {reason}.") from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"Cannot read the checkpoint {str(path)!r}: {first_line}.") from error


def _check_exists(path: Path) -> None:
    if not path.is_file():
        raise UserError(f"The checkpoint {str(path)!r} does not exist or is not a file.")


def _read_tensors(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        return _read_safetensors(path)[0]
    saved = read_checkpoint(path)
    state = saved.get("state_dict", saved) if isinstance(saved, Mapping) else None
    if not isinstance(state, Mapping):
        raise UserError(
            f"The checkpoint {str(path)!r} holds a {type(saved).__name__}: expected a state dict "
            'or {"state_dict": ...}.'
        )
    return {str(name): value for name, value in state.items() if isinstance(value, Tensor)}


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    _check_exists(path)
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise UserError(f"{str(path)!r} is damaged or not a safetensors file: {error}.") from error


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
            f"and a convolution 'deconv_out.weight'. Found: {_some(sorted(tensors))}."
        )
    return {
        "width": last.shape[0],
        "latent_dim": first.shape[1],
        "image_size": 64 if "block3.0.weight" in tensors else 32,
    }


def _check_shapes(expected: Mapping[str, Tensor], found: dict[str, Tensor], path: Path) -> None:
    problems = []
    for name, tensor in expected.items():
        if name not in found:
            # Files from before PyTorch counted batches lack the counter, which sampling ignores.
            if name.endswith("num_batches_tracked"):
                found[name] = tensor
            else:
                problems.append(f"{name} is missing")
        elif found[name].shape != tensor.shape:
            problems.append(f"{name} is {tuple(found[name].shape)}, expected {tuple(tensor.shape)}")
    problems += [f"{name} is not expected" for name in found if name not in expected]
    if problems:
        raise UserError(
            f"{str(path)!r} is not a WGAN-GP generator of the width that its last layer has: "
            f"{_some(problems)}."
        )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ("; ".join(names[:_SHOWN]) or "nothing") + more
