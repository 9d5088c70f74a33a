"""What a procedure computes: an update that gradients can flow through."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

Kind = Literal["gradient", "difference"]
"""A *gradient* points uphill; a *difference* is the weights after training minus those before."""


@dataclass(frozen=True, eq=False)
class ClientUpdate:
    """What a client sends after its procedure.

    Attributes:
        tensors: One per trainable parameter, by name, in ``model.parameters()`` order; zeros for
            those that no loss depends on.
        kind: What they are.
        buffers: The client model's buffers afterwards, by name; empty if they are not sent.
        count: Private images behind it.
        steps: Steps of the client's optimiser; 1 for a plain gradient.
        learning_rate: Of the steps, if all have the same.
        mode: Of batch-norm: ``train`` with the batch's statistics, ``eval`` with the running ones.
    """

    tensors: dict[str, Tensor]
    kind: Kind
    buffers: dict[str, Tensor]
    count: int
    steps: int
    learning_rate: float | None
    mode: Literal["train", "eval"]
