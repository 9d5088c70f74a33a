"""BigGAN-deep generators on disk, in the format of the library ``pytorch_pretrained_biggan``.

The library's own ``BigGAN.from_pretrained`` is not used: it unpickles whatever the file holds, asks
the network for a name's files even when they are cached, and leaves tensors that a file lacks at
random values.
"""

from __future__ import annotations

from pathlib import Path

import torch
from pytorch_pretrained_biggan import BigGAN, BigGANConfig, file_utils
from pytorch_pretrained_biggan.model import (
    CONFIG_NAME,
    PRETRAINED_CONFIG_ARCHIVE_MAP,
    PRETRAINED_MODEL_ARCHIVE_MAP,
    WEIGHTS_NAME,
)
from torch import nn

from ggl_lightning.errors import UserError
from ggl_lightning.priors.module_weights import load_weights
from ggl_lightning.user_paths import user_path


def load_biggan(weights: str, allow_download: bool = False) -> BigGAN:
    """Reads a BigGAN-deep generator; never runs code from the files.

    Args:
        weights: A folder with ``config.json`` and ``pytorch_model.bin``, or else one of the
            library's names: ``biggan-deep-128``, ``biggan-deep-256``, ``biggan-deep-512``.
        allow_download: Whether a name's files may be downloaded, by the library and into its
            cache, if they are not in that cache.

    Returns:
        The generator on the CPU, in eval mode, float32, with spectral normalisation applied to
        its weights once and for all.

    Raises:
        UserError: If files are missing or damaged, would need arbitrary pickle code, or do not
            describe a BigGAN with these weights; or if a download fails.
    """
    config_file, weights_file = _find_files(weights, allow_download)
    config = _read_config(config_file)
    # On the meta device: the file holds every tensor, so drawing 55 million random ones first (and
    # moving the global random generator on) would be for nothing.
    try:
        with torch.device("meta"):
            model = BigGAN(config)
        size = _image_size(config)
    except (TypeError, ValueError, IndexError, RuntimeError, ZeroDivisionError) as error:
        raise UserError(f"{str(config_file)!r} does not describe a BigGAN: {error}.") from error
    if config.output_dim != size:
        raise UserError(
            f"{str(config_file)!r} contradicts itself: output_dim is {config.output_dim}, but its "
            f"layers generate {size}x{size} images."
        )
    # Tensors it does not know are ignored, as the library does; missing ones are not.
    load_weights(model, weights_file, others_ignored=True)
    # Every forward pass would divide every weight by its norm again.
    for module in model.modules():
        if hasattr(module, "weight_orig"):
            nn.utils.remove_spectral_norm(module)
    return model.float().eval()


def _image_size(config: BigGANConfig) -> int:
    """Images start at 4x4 and every up-sampling layer doubles them."""
    return 4 * 2 ** sum(bool(up_sample) for up_sample, _, _ in config.layers)


def _read_config(path: Path) -> BigGANConfig:
    try:
        return BigGANConfig.from_json_file(path)
    except (OSError, ValueError, AttributeError) as error:  # no object in it: AttributeError
        raise UserError(f"Cannot read the BigGAN configuration {str(path)!r}: {error}.") from error


def _find_files(weights: str, allow_download: bool) -> tuple[Path, Path]:
    folder = user_path("weights", weights)
    if folder.is_dir():
        missing = [name for name in (CONFIG_NAME, WEIGHTS_NAME) if not (folder / name).is_file()]
        if missing:
            raise UserError(
                f"The BigGAN folder {str(folder)!r} lacks {' and '.join(missing)}: it must hold "
                f"{CONFIG_NAME} and {WEIGHTS_NAME}, as pytorch_pretrained_biggan names them."
            )
        return folder / CONFIG_NAME, folder / WEIGHTS_NAME
    if weights not in PRETRAINED_MODEL_ARCHIVE_MAP:
        hint = " It is a file: give the folder it lies in." if folder.is_file() else ""
        raise UserError(
            f"weights is {weights!r}, which is neither a folder nor one of "
            f"{', '.join(PRETRAINED_MODEL_ARCHIVE_MAP)}.{hint} Expected: a folder with "
            f"{CONFIG_NAME} and {WEIGHTS_NAME}."
        )
    urls = PRETRAINED_CONFIG_ARCHIVE_MAP[weights], PRETRAINED_MODEL_ARCHIVE_MAP[weights]
    config, model = (_in_cache(url) for url in urls)
    if config is not None and model is not None:
        return config, model
    cache = file_utils.PYTORCH_PRETRAINED_BIGGAN_CACHE
    if not allow_download:
        raise UserError(
            f"The weights of {weights} are not in {str(cache)!r}, and nothing is downloaded "
            f"unasked. Either save {urls[0]} as {CONFIG_NAME} and {urls[1]} as {WEIGHTS_NAME} in a "
            "folder and give that folder as weights; or set allow_download to true, and "
            "pytorch_pretrained_biggan downloads them into its cache."
        )
    try:
        downloaded = [Path(file_utils.cached_path(url)) for url in urls]
    except OSError as error:  # requests' errors are OSErrors
        raise UserError(f"Downloading {weights} into {str(cache)!r} failed: {error}.") from error
    return downloaded[0], downloaded[1]


def _in_cache(url: str) -> Path | None:
    """The newest cached copy of a file of the library's, found without asking the network."""
    # The library names a copy by digests of the address and of the server's tag for the content.
    stem = file_utils.url_to_filename(url)
    cache = Path(file_utils.PYTORCH_PRETRAINED_BIGGAN_CACHE)
    copies = [path for path in cache.glob(f"{stem}*") if path.suffix != ".json"]
    return max(copies, key=lambda path: path.stat().st_mtime, default=None)
