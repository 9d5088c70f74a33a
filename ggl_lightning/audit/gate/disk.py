"""Whether there is room for what an audit leaves."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

from ggl_lightning.audit.plan.data_module import AuditDataModule
from ggl_lightning.errors import UserError
from ggl_lightning.priors.base import Prior

_RESULT = 1024  # the least that a case's result.json takes
_LATENT = 4  # and every number of its latents


def check_room(folder: Path, grid: AuditDataModule, prior: Prior | None, finished: int) -> None:
    """Raises if the results of an audit cannot fit on its disk.

    Only what is certain is counted, so that no audit is refused that would fit.

    Args:
        folder: A folder on that disk that is there.
        grid: The cases, set up.
        prior: The prior, if there is one.
        finished: How many cases have been written already.

    Raises:
        UserError: If there is less room.
    """
    cases = max(0, len(grid.cases) - finished)
    latent = 0 if prior is None else _LATENT * grid.client_batch * math.prod(prior.latent_shape)
    need = cases * (_RESULT + latent)
    free = shutil.disk_usage(folder).free
    if free < need:
        raise UserError(
            f"The disk of {folder} has {_megabytes(free)} left, and the results of {cases} cases "
            f"take at least {_megabytes(need)}: make room, or give another folder with --out_dir."
        )


def _megabytes(count: float) -> str:
    return f"{count / 1e6:,.1f} MB"
