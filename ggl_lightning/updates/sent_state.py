"""What a framework's message says: states of a model before and after, or their difference."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from torch import Tensor, nn

from ggl_lightning.errors import UserError
from ggl_lightning.problems import Problems
from ggl_lightning.updates.misfits import misfits
from ggl_lightning.updates.naming import match_names
from ggl_lightning.updates.observer import mode_from_counters
from ggl_lightning.updates.record import Mode, Recording, UpdateRecord, difference
from ggl_lightning.updates.recording_file import write_recording
from ggl_lightning.updates.state_layout import StateLayout, is_positional, looks_like_buffer


@dataclass(frozen=True)
class Circumstances:
    """What is known of an update beside its tensors; see `UpdateRecord`."""

    count: int | None = None
    learning_rate: float | None = None
    steps: int | None = None
    mode: Mode | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


class StateReader:
    """Tells the parameters from the buffers in what a framework sends.

    Args:
        model: The client model, or one like it, for its names, its buffers and what it has frozen:
            not for its values. Without one, names must be sent, whole numbers and what is named as
            batch-norm's statistics are buffers, and everything else is a parameter.
    """

    def __init__(self, model: nn.Module | None) -> None:
        self._layout = None if model is None else StateLayout.of(model)

    def named(self, arrays: Mapping[str, Tensor], what: str) -> dict[str, Tensor]:
        """A state under the model's names.

        Args:
            arrays: The tensors as they were sent.
            what: What they are, for messages.

        Raises:
            UserError: If they are not the model's, or have no names and there is no model.
        """
        if self._layout is None:
            if is_positional(arrays):
                raise UserError(
                    f"{what} are a list of arrays without names: give the recorder the client "
                    "model, whose names they get."
                )
            return dict(arrays)
        state = self._layout.named(arrays)
        mapping = match_names(list(self._layout.shapes), list(state))
        state = {mapping[name]: tensor for name, tensor in state.items()}
        sent = {name: shape for name, shape in self._layout.shapes.items() if name in state}
        problems = Problems()
        problems.extend(misfits(what, state, sent, ""))
        problems.raise_if_any()
        return {n: t for n, t in state.items() if n not in self._layout.aliases}

    def recording(
        self,
        before: Mapping[str, Tensor],
        sent: Mapping[str, Tensor],
        circumstances: Circumstances,
        as_difference: bool = False,
    ) -> Recording:
        """The recording of one message.

        Args:
            before: The state before training, by `named`; empty if it is not known.
            sent: What was sent, by `named`.
            circumstances: What else is known.
            as_difference: Whether what was sent is a difference, buffers included, and not the
                state after training.

        Raises:
            UserError: If nothing of the model's parameters was sent, or the base of a difference is
                missing.
        """
        base, buffers_before = self._split(before)
        tensors, buffers = self._split(sent)
        if as_difference:
            buffers = {
                name: (buffers_before[name] + change).to(buffers_before[name].dtype)
                for name, change in buffers.items()
                if name in buffers_before
            }
        else:
            lost = [name for name in tensors if name not in base]
            if lost:
                raise UserError(
                    "The client sent weights, but what it was sent before has no "
                    f"{', '.join(lost[:6])}: their difference cannot be had."
                )
            # Servers average in other types at times; a client's training starts in its model's.
            base = {n: t.to(tensors[n].dtype) if n in tensors else t for n, t in base.items()}
            tensors = {name: difference(base[name], after) for name, after in tensors.items()}
        tensors = {n: t for n, t in tensors.items() if not self._is_idle(n, t)}
        record = UpdateRecord(
            tensors,
            "difference",
            buffers,
            circumstances.count,
            circumstances.learning_rate,
            circumstances.steps,
            circumstances.mode or cast(Mode | None, mode_from_counters(buffers_before, buffers)),
            circumstances.metadata,
        )
        not_sent = tuple(name for name in base if name not in tensors)
        return Recording(record, base, buffers_before, not_sent)

    def _split(self, state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Parameters, in the model's order where it is known, and buffers."""
        if self._layout is not None:
            return (
                {name: state[name] for name in self._layout.parameters if name in state},
                {name: state[name] for name in self._layout.buffers if name in state},
            )
        buffers = {n: t for n, t in state.items() if looks_like_buffer(n, t)}
        return {n: t for n, t in state.items() if n not in buffers}, buffers

    def _is_idle(self, name: str, change: Tensor) -> bool:
        """Whether a parameter was sent only because whole states are: frozen, and unchanged."""
        frozen = self._layout is not None and name not in self._layout.trainable
        return frozen and not bool(change.any())


def write_to_folder(folder: Path, parts: Iterable[str], recording: Recording) -> Path:
    """Writes a recording under a name that is free.

    Args:
        folder: Where to; it is created.
        parts: What the file's name is made of, e.g. ``("round-1", "client-7")``.
        recording: What to write.

    Returns:
        The file.

    Raises:
        UserError: If it cannot be written.
    """
    stem = "-".join(_file_name(part) for part in parts) or "update"
    path, number = folder / f"{stem}.safetensors", 1
    while path.exists():
        number += 1
        path = folder / f"{stem}-{number}.safetensors"
    write_recording(path, recording)
    return path


def _file_name(text: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in text).lstrip(".")
