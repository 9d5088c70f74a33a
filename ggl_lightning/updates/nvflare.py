"""Recording updates in NVFlare: a filter of task results.

Needs NVFlare's package: ``pip install 'ggl-lightning[nvflare]'``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ggl_lightning.errors import UserError
from ggl_lightning.updates.record import Mode
from ggl_lightning.updates.sent_state import Circumstances, StateReader, write_to_folder

try:
    from nvflare.apis.dxo import DXO, DataKind, MetaKey, from_shareable
    from nvflare.apis.dxo_filter import DXOFilter
    from nvflare.apis.event_type import EventType
    from nvflare.apis.fl_constant import FilterKey, FLContextKey
    from nvflare.apis.fl_context import FLContext
    from nvflare.apis.shareable import Shareable
except ImportError as error:
    raise ImportError(
        f"Recording in NVFlare needs its package, version 2.9 or newer ({error}): install it with "
        "pip install 'ggl-lightning[nvflare]'."
    ) from error


@dataclass(frozen=True)
class _Task:
    """A task as it was before its execution: NVFlare's name of it, its round and its weights."""

    identity: str | None
    number: int | None
    weights: dict[str, Tensor] | UserError


class RecordingFilter(DXOFilter):
    """A filter that records what a client sends, and changes nothing.

    List it *last* in ``task_result_filters``, before encryption only: what comes before it has then
    been applied to what is recorded. The weights before training are those of the task, which are
    copied when its execution begins. Both kinds of result are recorded, ``WEIGHTS`` and
    ``WEIGHT_DIFF``.

    Where clients train in processes of their own, NVFlare may hand large weights on without loading
    them. List the filter in ``task_data_filters`` as well then: it changes nothing there either,
    but NVFlare loads what a filter may look at.

    Args:
        folder: Where to write: one file for each result, named by round and site.
        learning_rate: Of the clients' training, if it is to be recorded: no message says it.
        mode: How batch-norm runs, where it cannot be seen from its counters.
        count: Private images behind an update, if they are to be recorded.
    """

    def __init__(
        self,
        folder: str,
        learning_rate: float | None = None,
        mode: Mode | None = None,
        count: int | None = None,
    ) -> None:
        kinds = [DataKind.WEIGHT_DIFF, DataKind.WEIGHTS]
        super().__init__(supported_data_kinds=kinds, data_kinds_to_filter=kinds)
        self.folder = folder
        self.learning_rate = learning_rate
        self.mode = mode
        self.count = count
        self._task = _Task(None, None, {})

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Copies the weights of a task that is about to be executed: later they are gone."""
        super().handle_event(event_type, fl_ctx)
        if event_type != EventType.BEFORE_TASK_EXECUTION:
            return
        data = fl_ctx.get_prop(FLContextKey.TASK_DATA)
        number = data.get_header(MetaKey.CURRENT_ROUND) if isinstance(data, Shareable) else None
        weights: dict[str, Tensor] | UserError
        try:
            weights = _weights(data)
        except UserError as error:  # other tasks need no weights; a result that does will say so
            weights = error
        self._task = _Task(fl_ctx.get_prop(FLContextKey.TASK_ID), number, weights)

    def process_dxo(self, dxo: DXO, shareable: Shareable, fl_ctx: FLContext) -> None:
        """Records a result.

        Args:
            dxo: The weights or their difference, by name.
            shareable: What it belongs to.
            fl_ctx: Knows the task and the site.

        Returns:
            None, by which NVFlare knows that nothing was changed.

        Raises:
            UserError: If the weights before training are not known, or the recording cannot be
                written.
        """
        if fl_ctx.get_prop(FLContextKey.FILTER_DIRECTION) == FilterKey.IN:
            return
        as_difference = dxo.data_kind == DataKind.WEIGHT_DIFF
        reader = StateReader(None)
        before = self._weights_before(fl_ctx)
        if not before:
            raise UserError(
                "The task that this result answers holds no weights (WEIGHTS), so the base of the "
                "update is not known, without which an update says nothing."
            )
        sent = reader.named(_tensors(dxo.data), "The weights of the result")
        steps = dxo.get_meta_prop(MetaKey.NUM_STEPS_CURRENT_ROUND)
        number = shareable.get_header(
            MetaKey.CURRENT_ROUND, dxo.get_meta_prop(MetaKey.CURRENT_ROUND, self._task.number)
        )
        site = fl_ctx.get_identity_name() or "client"
        metadata = {
            "framework": "nvflare",
            "framework_version": version("nvflare"),
            "client": site,
            "data_kind": str(getattr(dxo.data_kind, "value", dxo.data_kind)),
            **({} if number is None else {"round": str(number)}),
        }
        circumstances = Circumstances(
            self.count, self.learning_rate, int(steps) if steps else None, self.mode, metadata
        )
        parts = [] if number is None else [f"round-{number}"]
        recording = reader.recording(before, sent, circumstances, as_difference)
        write_to_folder(Path(self.folder), [*parts, site], recording)

    def _weights_before(self, fl_ctx: FLContext) -> dict[str, Tensor]:
        if self._task.identity != fl_ctx.get_prop(FLContextKey.TASK_ID):
            return {}
        if isinstance(self._task.weights, UserError):
            raise self._task.weights
        return self._task.weights


def _weights(task: object) -> dict[str, Tensor]:
    """The weights that a client gets with a task; empty if it gets none."""
    if not isinstance(task, Shareable):
        return {}
    try:
        dxo = from_shareable(task)
    except ValueError:  # a task without a model
        return {}
    return _tensors(dxo.data) if dxo.data_kind == DataKind.WEIGHTS else {}


def _tensors(data: Mapping[str, Any]) -> dict[str, Tensor]:
    """The arrays of a message, which are NumPy's or PyTorch's, copied out of it."""
    tensors = {}
    for name, value in data.items():
        if isinstance(value, Tensor):
            tensors[name] = value.detach().cpu().clone()
        elif isinstance(value, np.ndarray | np.generic):
            tensors[name] = torch.from_numpy(np.array(value))
        else:
            raise UserError(
                f"{name} of an NVFlare message is a {type(value).__name__}: expected an array. "
                "Filters that encrypt or quantise must come after the one that records; weights "
                "that are handed on without being loaded are, once it is listed in "
                "task_data_filters too."
            )
    return tensors
