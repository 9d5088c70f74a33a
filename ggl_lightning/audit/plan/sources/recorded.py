"""Updates that clients of real systems sent, as their recordings have them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from ggl_lightning.audit.plan.sources.base import Source
from ggl_lightning.audit.plan.sources.lineup import Lineup
from ggl_lightning.clients.procedures import ClientProcedure
from ggl_lightning.clients.procedures.belief import believed_procedure
from ggl_lightning.errors import UserError
from ggl_lightning.identity import identity, module_hash
from ggl_lightning.problems import Problems
from ggl_lightning.tensor_hash import hash_tensors
from ggl_lightning.updates import Recording, UpdateRecord, restore


@dataclass(frozen=True, eq=False)
class LoadedUpdate:
    """A recorded update in the names and order of the client model that it was computed at.

    Attributes:
        record: What was sent, with the number of images behind it, on the model's device.
        model: The client model in the state in which the client's was before it trained, in eval
            mode; a copy of its own. Parameters require gradients if they were sent.
        procedure: What the attacker believes that the client did.
    """

    record: UpdateRecord
    model: nn.Module
    procedure: ClientProcedure


def agreed_count(said: Mapping[str, int | None], unknown: str) -> int:
    """How many images are behind an update, by all that say so.

    Args:
        said: The number by who says it; None of those who do not.
        unknown: What to tell the user if nobody does.

    Raises:
        UserError: If nobody does, or they do not agree.
    """
    known = {words: number for words, number in said.items() if number is not None}
    if not known:
        raise UserError(unknown)
    if len(set(known.values())) > 1:
        listed = ", ".join(f"{number} by {words}" for words, number in known.items())
        raise UserError(f"The number of images behind the update is {listed}: make these the same.")
    return next(iter(known.values()))


class RecordedUpdate(Source):
    """A client of a real system. Its own system has defended the update already, if it does.

    The recording is read and checked at once, and read again by `load`: only what identifies it is
    kept.

    Args:
        name: See `Source`.
        recording: What was recorded, or what reads it.
        model: The client model, in eval mode. It stays as it is: weights and buffers are the
            recording's, if it has them.
        images: The private images ``(N, 3, H, W)`` in ``[-1, 1]``, if they are known.
        labels: Their labels ``(N,)``, if they are known.
        procedure: What the attacker believes that the client did; None for the plainest procedure
            that fits the record (`believed_procedure`).
        count: Private images behind the update, if neither the recording nor images or labels say
            so.
        lineup: Images among which the private ones are to be identified, ``(M, 3, H, W)``.
        structure: `module_identity` of the client model as it was built; None takes it now.

    Attributes:
        facts: What is known of the update, for results, ready for JSON.
        lineup: Where decoys of its private images come from.

    Raises:
        UserError: With everything that is wrong: the recording does not fit the model, the number
            of images is not known or given in different ways, labels are negative or without their
            images, the procedure cannot be believed in, or makes another kind of update.
    """

    def __init__(
        self,
        name: str,
        recording: Recording | Callable[[], Recording],
        model: nn.Module,
        *,
        images: Tensor | None = None,
        labels: Tensor | None = None,
        procedure: ClientProcedure | None = None,
        count: int | None = None,
        lineup: Tensor | None = None,
        structure: str | None = None,
    ) -> None:
        self.name = name
        self._recording = recording
        self._model = model
        self._images = images
        self._labels = labels
        self._procedure = procedure
        self._given_count = count
        self._structure = structure
        self.lineup = Lineup(lineup, images)
        problems = Problems()
        loaded = problems.of(self._loaded)
        if images is not None and labels is None:
            problems.add("Its images are given without their labels: give both.")
        if labels is not None and bool((labels < 0).any()):
            problems.add(f"It has the label {int(labels.min())}: labels are numbered from 0.")
        problems.raise_if_any()
        assert loaded is not None
        self._content = self._content_of(loaded)
        self._count = loaded.record.count or 0
        self.facts = _facts(loaded)

    @property
    def count(self) -> int:
        """See `Source.count`."""
        return self._count

    def images(self) -> Tensor | None:
        """See `Source.images`."""
        return self._images

    def labels(self) -> Tensor | None:
        """See `Source.labels`."""
        return self._labels

    def determinants(self) -> dict[str, Any]:
        """What the result of a case of it depends on, beside defense and attack, for JSON."""
        given = {"images": self._images, "labels": self._labels}
        return {
            **self._content,
            "private": hash_tensors({n: each for n, each in given.items() if each is not None}),
            "lineup": self.lineup.content_hash(),
        }

    def load(self) -> LoadedUpdate:
        """Reads the recording again.

        Raises:
            UserError: If it is not the same any more.
        """
        loaded = self._loaded()
        if self._content_of(loaded) != self._content:
            raise UserError(
                f"The recording {self.name} has changed since the audit began: run it again."
            )
        return loaded

    def _loaded(self) -> LoadedUpdate:
        recording = self._recording if isinstance(self._recording, Recording) else self._recording()
        model = copy.deepcopy(self._model).eval()
        record = restore(recording, model).record
        parameters = dict(model.named_parameters())
        problems = Problems()
        count = problems.of(lambda: self._counted(record))
        procedure = problems.of(lambda: self._believed(record, model))
        problems.raise_if_any()
        assert procedure is not None
        record = replace(
            record,
            # What is compared with it is of the model's type.
            tensors={name: each.to(parameters[name]) for name, each in record.tensors.items()},
            buffers={
                name: each.to(next(iter(parameters.values())).device)
                for name, each in record.buffers.items()
            },
            count=count,
        )
        return LoadedUpdate(record, model, procedure)

    def _counted(self, record: UpdateRecord) -> int:
        """How many images are behind the update, by all that say so."""
        return agreed_count(
            {
                "count": self._given_count,
                "its images": None if self._images is None else len(self._images),
                "its labels": None if self._labels is None else len(self._labels),
                "the recording": record.count,
            },
            "It does not say how many images are behind the update, and an attack looks for that "
            "many: give its count, or its labels.",
        )

    def _believed(self, record: UpdateRecord, model: nn.Module) -> ClientProcedure:
        procedure = self._procedure
        if procedure is None:
            return believed_procedure(record, model)
        if procedure.kind != record.kind:
            raise UserError(
                f"The recording is of a {record.kind}, but {type(procedure).__name__}, which the "
                f"attacker believes in (model.procedure), sends a {procedure.kind}: give a "
                "procedure that sends the same, or none."
            )
        return procedure

    def _content_of(self, loaded: LoadedUpdate) -> dict[str, Any]:
        record = loaded.record
        tensors = {f"update/{name}": each for name, each in record.tensors.items()}
        tensors |= {f"buffers/{name}": each for name, each in record.buffers.items()}
        said = [record.kind, record.count, record.learning_rate, record.steps, record.mode]
        return {
            "record": [hash_tensors(tensors), *said],
            "client": module_hash(loaded.model, self._structure),
            "update_rule": identity(loaded.procedure),
        }


def _facts(loaded: LoadedUpdate) -> dict[str, Any]:
    record = loaded.record
    return {
        "kind": record.kind,
        "learning_rate": record.learning_rate,
        "steps": record.steps,
        "mode": record.mode,
        "buffers": len(record.buffers),
        "metadata": dict(record.metadata),
        "believed_mode": loaded.procedure.batch_norm_mode,
    }
