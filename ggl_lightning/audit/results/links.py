"""Links in a run folder, through which an audit would write somewhere else."""

from __future__ import annotations

import os
from pathlib import Path

from ggl_lightning.errors import UserError

_FOLDERS = (".", "cases", "utility", "fits", "tensorboard", "tensorboard/hparams")


def refuse_links(run: Path) -> None:
    """Raises if a run folder holds links where an audit creates folders or appends to files.

    Files inside a case's folder need no look: they are replaced as a whole, links included.

    Args:
        run: The run folder, which may be a link itself; it need not exist.

    Raises:
        UserError: Naming the first link; or if the folder cannot be read.
    """
    for name in _FOLDERS:
        try:
            entries = os.scandir(run / name)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise UserError(
                f"The output folder {run} cannot be read ({error.strerror}): give another one "
                "with --out_dir."
            ) from error
        with entries:
            for entry in entries:
                if entry.is_symlink():
                    raise UserError(
                        f"{Path(entry.path)} is a link, and an audit writes into its own folder "
                        "alone: remove the link. To keep results elsewhere, give --out_dir, or "
                        f"make the whole folder {run} a link."
                    )
