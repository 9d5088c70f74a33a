"""``ckpt_path`` by name: the newest checkpoint of a run with the same settings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from ggl_lightning.errors import UserError
from ggl_lightning.training.settings import changed, flat

NAMES = ("last", "best")
"""Values of ``ckpt_path`` that are no paths: files that the recipes' callbacks write."""


def find_checkpoint(name: str, root: Path, model: Any, data: Any) -> Path:
    """Finds the checkpoint ``<name>.ckpt`` of the newest run with these settings.

    Args:
        name: ``last`` or ``best``.
        root: The folder of a run, or of several in folders of their own.
        model: The model's settings.
        data: The data module's class and settings.

    Returns:
        The checkpoint.

    Raises:
        UserError: If there is none.
    """
    pattern = f"checkpoints/{name}.ckpt"
    found = [*root.glob(pattern), *root.glob(f"*/{pattern}")]
    asked = {**flat(model, "model"), **flat(_source(data), "data")}
    matching = [file for file in found if _is_of(file.parents[1], asked)]
    if matching:
        return max(matching, key=lambda file: (file.stat().st_mtime_ns, str(file)))
    others = f" ({len(found)} are of other settings)" if found else ""
    raise UserError(
        f"ckpt_path is {name!r}, but no run of this configuration in {str(root)!r} has left "
        f"{pattern}{others}. Give the checkpoint's path, or leave ckpt_path out to train anew."
    )


def runs_root(trainer: Any, working_folder: Callable[[], Path] = Path.cwd) -> Path:
    """Where the runs of a configuration are.

    Args:
        trainer: The Trainer's settings.
        working_folder: Where runs go that name no folder.
    """
    logger = trainer.get("logger")
    settings = logger[0] if isinstance(logger, list) and logger else logger
    if hasattr(settings, "get") and settings.get("init_args") is not None:
        arguments = settings["init_args"]
        folder = Path(str(arguments.get("save_dir") or ".")).expanduser()
        return folder / str(arguments.get("name") or "")
    default = trainer.get("default_root_dir")
    root = working_folder() if default is None else Path(str(default)).expanduser()
    return root if logger is False else root / "lightning_logs"


def _is_of(run: Path, asked: dict[str, Any]) -> bool:
    config = run / "config.yaml"
    if not config.is_file():
        return False
    try:
        settings = yaml.safe_load(config.read_text())
    except (OSError, yaml.YAMLError):
        return False
    if not isinstance(settings, dict):
        return False
    trained = {
        **flat(settings.get("model", {}), "model"),
        **flat(_source(settings.get("data", {})), "data"),
    }
    return not any(changed(asked, trained))


def _source(data: Any) -> dict[str, Any]:
    """What tells one set of images from another; how they are read may change."""
    if not hasattr(data, "get"):
        return {}
    arguments = data.get("init_args") or {}
    kept = ("root", "image_size", "target_attribute")
    return {
        "class_path": data.get("class_path"),
        **{name: str(arguments[name]) for name in kept if arguments.get(name) is not None},
    }
