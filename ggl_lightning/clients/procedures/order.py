"""All that is random in a client's training, drawn beforehand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ggl_lightning.clients.procedures.augmentation import Augmentation


@dataclass(frozen=True, eq=False)
class LocalStep:
    """One step of local training.

    Attributes:
        indices: Which of the client's images it takes, ``(B,)``, int64.
        choices: For each augmentation its random choices for these images, ``(B, ...)``.
    """

    indices: Tensor
    choices: tuple[Tensor, ...] = ()


@dataclass(frozen=True, eq=False)
class Order:
    """In which order a client takes its images, and every other random choice of its training.

    Given the order, a procedure is a pure function. The client knows its own; an attacker who does
    not know it draws orders from the same procedure.

    Attributes:
        steps: The steps, at least one.
        seed: Seeds torch's global generator before the first step: dropout draws its masks there,
            as in any training loop.
    """

    steps: tuple[LocalStep, ...]
    seed: int

    def __len__(self) -> int:
        return len(self.steps)


def epochs_of(
    count: int,
    batch_size: int | None,
    drop_last: bool,
    shuffle: bool,
    steps: int,
    generator: torch.Generator,
) -> list[Tensor]:
    """Which images each step takes, as a ``DataLoader`` with ``shuffle`` and ``drop_last`` deals.

    Args:
        count: Number of the client's images.
        batch_size: Images per step; None takes all of them.
        drop_last: Whether an epoch's last batch is left out if it is smaller.
        shuffle: Whether every epoch takes the images in a new random order.
        steps: How many steps; epochs follow each other until there are as many.
        generator: The only source of randomness; left alone without ``shuffle``.

    Returns:
        Indices ``(B,)`` per step.
    """
    batches: list[Tensor] = []
    while len(batches) < steps:
        images = torch.randperm(count, generator=generator) if shuffle else torch.arange(count)
        dealt = images.split(batch_size or count)
        batches += dealt[:-1] if drop_last and len(dealt[-1]) < (batch_size or count) else dealt
    return batches[:steps]


def complete(
    batches: Sequence[Tensor], augmentations: Sequence[Augmentation], generator: torch.Generator
) -> Order:
    """The order of these batches, with the augmentations' choices and a seed drawn for it.

    Args:
        batches: Indices ``(B,)`` per step.
        augmentations: What is done to the images of each step.
        generator: The only source of randomness.
    """
    steps = tuple(
        LocalStep(batch, tuple(each.choices(len(batch), generator) for each in augmentations))
        for batch in batches
    )
    return Order(steps, int(torch.randint(2**31, (), generator=generator)))
