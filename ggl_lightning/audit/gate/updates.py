"""Whether the client of an audit can send its update, under every defense."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ggl_lightning.audit.run.received_update import (
    UnusableUpdateError,
    check_buffers,
    check_update,
    client_generator,
)
from ggl_lightning.clients import ClassifierLayer
from ggl_lightning.clients.procedures import ClientProcedure, ClientState
from ggl_lightning.defenses import ClientSide, Defense
from ggl_lightning.errors import UserError
from ggl_lightning.problems import Problems
from ggl_lightning.seeding import seeded


def update_problems(
    model: nn.Module,
    classifier: ClassifierLayer,
    procedure: ClientProcedure,
    defenses: Mapping[str, Defense],
    images: Tensor,
    labels: Tensor,
    seed: int,
) -> list[str]:
    """Computes the update of one client and defends it in every way.

    What a defense raises other than `UserError` is left to its cases, which fail one by one.

    Args:
        model: The client model, in eval mode.
        classifier: Its last layer.
        procedure: How a client's images become an update.
        defenses: By name.
        images: The images of a client ``(N, 3, H, W)``, on the model's device.
        labels: Their labels ``(N,)``.
        seed: Seeds the client's order and the defenses.

    Returns:
        Texts for the user.
    """
    problems = Problems()
    with seeded(seed):
        order = procedure.order(len(images), client_generator(seed))
        try:
            computed = procedure.compute(ClientState.of(model), images, labels, order)
        except UserError as error:
            return list(error.problems)
        except Exception as error:  # noqa: BLE001 - whatever a model of the user's may raise
            return [
                f"The client model {type(model).__name__} cannot follow the procedure "
                f"{type(procedure).__name__} in mode {procedure.mode!r}: {_reason(error)}."
            ]
        update = list(computed.tensors.values())
        try:
            check_buffers(computed.buffers)
        except UnusableUpdateError as error:
            return [f"For the first private image {error}."]
        for name, defense in defenses.items():
            client = ClientSide(
                model=model,
                images=images,
                labels=labels,
                classifier=classifier,
                generator=torch.Generator().manual_seed(seed),
            )
            try:
                check_update(defense(update, client), name, update)
            except UserError as error:
                problems.extend(error.problems)
            except UnusableUpdateError as error:
                problems.add(f"For the first private image {error}.")
            except Exception:  # noqa: BLE001 - whatever a defense of the user's may raise
                continue
    return list(problems)


def _reason(error: Exception) -> str:
    """The first line of an error."""
    line = next(iter(str(error).splitlines()), "").strip().rstrip(".")
    return f"{type(error).__name__}: {line}" if line else type(error).__name__
