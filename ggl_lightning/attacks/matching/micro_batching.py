"""How a population is evaluated: in which parts, which must not change any result."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
from torch import Tensor

from ggl_lightning.errors import UserError, check_positive
from ggl_lightning.memory import MEBIBYTE, free_memory, is_out_of_memory, total_memory

MicroBatch = int | Literal["auto", "measure"]
"""How many candidates are evaluated together; see `MicroBatching`."""

_Result = TypeVar("_Result")

_CPU_MEMORY_MB = 1024
"""A CPU gains nothing from more: from eight candidates on, the time of each is the same."""

_SHARE_OF_DEVICE = 0.5
_SHARE_OF_FREE = 0.8

_WORTH_IT = 1.05
"""How much slower than the fastest size a smaller one may be and still be taken."""

_log = logging.getLogger(__name__)


@dataclass
class _Plan:
    size: int
    chosen: str
    bytes_per_candidate: int


class MicroBatching:
    """Evaluates populations part by part within a memory bound, for all cases of a run.

    The size of the parts is found once for each kind of evaluation (client model, path, prior) and
    kept. By default it follows from sizes alone, so that a repeated or resumed run cuts its
    populations at the same places and ends with the same bits: sums over a part of another size
    may be rounded differently. Measuring gives that up for speed; so does running out of memory,
    which halves the size and goes on. Both are reported.

    Args:
        max_memory_mb: Bound on the memory for candidates that are evaluated together, in units of
            2^20 bytes, as estimated from the sizes of their activations and gradients. None takes
            1024 on the CPU and half of the memory of an accelerator.
        micro_batch: How many candidates are evaluated together: a number; ``auto`` for what fits
            the bound; ``measure`` for the fastest of several sizes that fit both the bound and the
            memory that is free.

    Raises:
        UserError: If ``max_memory_mb`` or ``micro_batch`` is not positive; from `run`, if not even
            one candidate fits in memory.
    """

    def __init__(
        self, max_memory_mb: float | None = None, micro_batch: MicroBatch = "auto"
    ) -> None:
        if max_memory_mb is not None:
            check_positive("max_memory_mb", max_memory_mb)
        if isinstance(micro_batch, str):
            if micro_batch not in ("auto", "measure"):
                raise UserError(
                    f"micro_batch is {micro_batch!r}: it must be a number of candidates, 'auto' or "
                    "'measure'."
                )
        else:
            check_positive("micro_batch", micro_batch)
        self._max_memory_mb = max_memory_mb
        self._micro_batch = micro_batch
        self._plans: dict[tuple[int, torch.device], _Plan] = {}
        self._out_of_memory = 0
        self._announced: set[str] = set()

    def announce(self, message: str) -> None:
        """Logs a message at INFO, unless this run has seen it before."""
        if message not in self._announced:
            self._announced.add(message)
            _log.info("%s", message)

    def report(self, bytes_per_candidate: int, device: torch.device) -> dict[str, object]:
        """How candidates of one kind are evaluated, for a result's details.

        Args:
            bytes_per_candidate: As given to `run`.
            device: Likewise.

        Returns:
            ``micro_batch`` (candidates evaluated together, at most), ``chosen`` (``set``,
            ``memory bound`` or ``measured``), ``mb_per_candidate`` (estimated) and
            ``out_of_memory`` (how often in this run so far the size had to be halved); empty
            before the first population of this kind.
        """
        plan = self._plans.get((bytes_per_candidate, device))
        if plan is None:
            return {}
        return {
            "micro_batch": plan.size,
            "chosen": plan.chosen,
            "mb_per_candidate": round(plan.bytes_per_candidate / MEBIBYTE, 3),
            "out_of_memory": self._out_of_memory,
        }

    def bound(self, device: torch.device) -> float:
        """The memory bound on a device, in bytes."""
        if self._max_memory_mb is not None:
            return self._max_memory_mb * MEBIBYTE
        total = total_memory(device)
        return _CPU_MEMORY_MB * MEBIBYTE if total is None else _SHARE_OF_DEVICE * total

    def run(
        self,
        function: Callable[[Tensor], _Result],
        population: Tensor,
        bytes_per_candidate: int,
        device: torch.device,
    ) -> list[_Result]:
        """Evaluates a population in parts.

        Args:
            function: Evaluates some candidates, ``(c, ...)`` with ``c`` at most the micro-batch.
            population: ``(C, ...)``.
            bytes_per_candidate: What a candidate is estimated to take.
            device: Where.

        Returns:
            The function's results, in order.
        """
        kind = (bytes_per_candidate, device)
        if kind not in self._plans:
            self._plans[kind] = self._choose(function, population, bytes_per_candidate, device)
        plan = self._plans[kind]
        results: list[_Result] = []
        done = 0
        while done < len(population):
            left = len(population) - done
            part = population[done : done + math.ceil(left / math.ceil(left / plan.size))]
            try:
                results.append(function(part))
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                reason = str(error)
            else:
                done += len(part)
                continue
            # Outside of the handler, where the exception no longer keeps what was allocated.
            plan.size = self._halved(len(part), device, reason)
        return results

    def _choose(
        self,
        function: Callable[[Tensor], object],
        population: Tensor,
        bytes_per_candidate: int,
        device: torch.device,
    ) -> _Plan:
        if not isinstance(self._micro_batch, str):
            size, chosen = self._micro_batch, "set"
        else:
            fits = max(1, int(self.bound(device) // max(1, bytes_per_candidate)))
            size, chosen = fits, "memory bound"
            if self._micro_batch == "measure":
                free = free_memory(device)
                if free is not None:
                    fits = min(fits, int(_SHARE_OF_FREE * free // max(1, bytes_per_candidate)))
                size, chosen = self._fastest(function, population, max(1, fits), device), "measured"
        self.announce(
            f"Candidates are evaluated at most {size} at a time ({chosen}), with an estimated "
            f"{bytes_per_candidate / MEBIBYTE:.2f} MB each."
        )
        return _Plan(size, chosen, bytes_per_candidate)

    def _fastest(
        self,
        function: Callable[[Tensor], object],
        population: Tensor,
        fits: int,
        device: torch.device,
    ) -> int:
        """The smallest size that is about as fast as the fastest, per candidate."""
        size = min(fits, len(population))
        times: dict[int, float] = {}
        while size >= 1 and len(times) < 4:
            try:
                function(population[:size])  # warms up
                _wait_for(device)
                started = time.perf_counter()
                function(population[:size])
                _wait_for(device)
                times[size] = (time.perf_counter() - started) / size
            except (RuntimeError, MemoryError) as error:
                if size == 1 or not is_out_of_memory(error):
                    raise
            size //= 2
        best = min(times.values())
        return min(size for size, seconds in times.items() if seconds <= _WORTH_IT * best)

    def _halved(self, size: int, device: torch.device, reason: str) -> int:
        if device.type == "cuda":
            torch.cuda.empty_cache()
        if size == 1:
            raise UserError(
                f"One candidate alone does not fit in the memory of {device} ({reason}). Use a "
                "device with more memory, a smaller client model, or fewer images per client "
                "(data.client_batch)."
            )
        self._out_of_memory += 1
        half = size // 2
        _log.info("Out of memory with %d candidates at a time: going on with %d.", size, half)
        return half


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
