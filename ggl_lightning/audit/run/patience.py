"""Processes of one audit that wait for each other as long as a case may take."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

from pytorch_lightning.utilities.exceptions import SIGTERMException
from torch import distributed

from ggl_lightning.errors import UserError

_LONGEST = timedelta(days=30)
_SECONDS_BETWEEN_LOOKS = 0.05


class Patience:
    """A meeting of all processes, for which the first may wait days and not half an hour.

    Process groups give up after minutes, which is right for steps in parallel and wrong for ranks
    that end their shares of cases whenever they are done. A process that has died ends the wait at
    once. All processes must make one of these, and meet, at the same points.
    """

    def __init__(self) -> None:
        distributed_run = distributed.is_available() and distributed.is_initialized()
        # Gloo, whatever the backend: nothing is transferred, and NCCL would keep the GPU busy.
        self._group = (
            distributed.new_group(backend="gloo", timeout=_LONGEST) if distributed_run else None
        )

    def wait(self, stopped: Callable[[], bool] = lambda: False) -> None:
        """Waits until every process is here.

        Args:
            stopped: Whether this process has been asked to stop.

        Raises:
            SIGTERMException: If it has.
            UserError: If one of the others has ended.
        """
        if self._group is None:
            return
        try:
            meeting = distributed.barrier(group=self._group, async_op=True)
            # A wait inside the barrier would keep Python from handling signals until all are here.
            while not meeting.is_completed():
                if stopped():
                    raise SIGTERMException
                time.sleep(_SECONDS_BETWEEN_LOOKS)
            meeting.wait()
        except RuntimeError as error:
            raise UserError(
                f"Another process of the audit has ended before its time ({error}): its log says "
                "why. What is finished is kept; the same command does the rest."
            ) from error
