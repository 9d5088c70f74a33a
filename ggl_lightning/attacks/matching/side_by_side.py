"""Parts of a population on a CPU's cores, side by side."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait

import torch
from torch import Tensor

Evaluate = Callable[[Tensor, Tensor], Tensor]
"""Called as ``evaluate(images, labels)`` with ``(C, ...)`` and something for all of them: rows."""

_FEWEST = 8
"""Candidates of a part for which it pays: each part prepares the client model's weights anew."""


class SideBySide:
    """Evaluates a population in as many parts as there are threads for operations.

    What is done for one candidate at a time is too little work for an operation to be split over
    threads, which wait for each other after each; parts of a population never wait.

    Args:
        evaluate: Evaluates candidates on the CPU.
        twin: Makes another such function, that may run at the same time in another thread.
    """

    def __init__(self, evaluate: Evaluate, twin: Callable[[], Evaluate]) -> None:
        self._evaluators = [evaluate]
        self._twin = twin
        self._executor: ThreadPoolExecutor | None = None
        self._workers = 0

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        """Evaluates a population; alone where it is small or must be differentiable.

        Args:
            images: ``(C, ...)``.
            labels: As the functions take them.

        Returns:
            Their rows, in order.
        """
        threads = torch.get_num_threads()
        sides = min(threads, len(images) // _FEWEST)
        if sides < 2 or images.requires_grad or images.device.type != "cpu":
            return self._evaluators[0](images, labels)
        while len(self._evaluators) < sides:
            self._evaluators.append(self._twin())
        executor = self._executor_of(sides)
        parts = zip(self._evaluators[:sides], images.tensor_split(sides), strict=True)
        grad = torch.is_grad_enabled()
        futures: list[Future[Tensor]] = [
            executor.submit(_evaluate, evaluate, part, labels, threads // sides, grad)
            for evaluate, part in parts
        ]
        try:
            wait(futures)
        finally:
            # A thread's number of threads is its own, but becomes that of threads yet to start.
            torch.set_num_threads(threads)
        return torch.cat([future.result() for future in futures])

    def _executor_of(self, workers: int) -> ThreadPoolExecutor:
        if self._executor is None or self._workers < workers:
            self._executor = ThreadPoolExecutor(workers, thread_name_prefix="candidates")
            self._workers = workers
        return self._executor


def _evaluate(
    evaluate: Evaluate, images: Tensor, labels: Tensor, threads: int, grad: bool
) -> Tensor:
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
    with torch.set_grad_enabled(grad):
        return evaluate(images, labels)
