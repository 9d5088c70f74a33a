"""Public images as if they were private: what tells how good an answer may be, without truth."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ggl_lightning.attacks.base import Target
from ggl_lightning.attacks.learned.fit import LearnedFit
from ggl_lightning.attacks.learned.public_updates import client_updates
from ggl_lightning.attacks.received import Received
from ggl_lightning.clients import trainable_parameters
from ggl_lightning.defenses import Adaptation
from ggl_lightning.seeding import torch_generator

_NOISE = (0x0DE7, 1)
"""The stream of the noise in rehearsed updates."""


@dataclass(frozen=True)
class Rehearsal:
    """A public image that an attacker takes for a private one.

    Attributes:
        image: ``(3, H, W)`` in ``[-1, 1]``, on the CPU.
        predicted: What the regression on all other public images makes of its update,
            ``(3, H, W)``, not clamped, on the CPU.
        received: Its update as it would be received, under the label that was assumed.
    """

    image: Tensor
    predicted: Tensor
    received: Received


def rehearsals(
    count: int,
    fit: LearnedFit,
    images: Tensor,
    received: Received,
    target: Target,
    label: int,
    adaptation: Adaptation | None,
    noise: float,
) -> list[Rehearsal]:
    """Some public images, evenly spread over all of them, in the place of the private one.

    Args:
        count: How many, at most.
        fit: The regression.
        images: The public images ``(M, 3, H, W)`` that it was fitted on.
        received: What was received, whose procedure and defense they share.
        target: What is attacked.
        label: The label assumed.
        adaptation: What the attacker believes that the defense did.
        noise: The standard deviation of the noise found in the received update, per entry, over
            its scale: public images' updates have theirs.
    """
    spread = torch.linspace(0, len(images) - 1, min(count, len(images)))
    places = sorted({round(float(place)) for place in spread})
    simulate = client_updates(target.model, received.procedure, adaptation, label)
    sent = simulate(images[places])
    names = list(trainable_parameters(target.model))
    generator = torch_generator(*_NOISE)
    updates, drawn = [], []
    for index in range(len(places)):
        tensors = {name: each[index] for name, each in zip(names, sent, strict=True)}
        added = {}
        if noise > 0:
            added = {
                name: noise * torch.randn(each.shape, generator=generator).to(each)
                for name, each in tensors.items()
            }
            tensors = {name: each + added[name] for name, each in tensors.items()}
        updates.append(tensors)
        drawn.append(added)
    predicted = fit.left_out(places, noise, drawn).float()
    assumed = torch.tensor([label])
    return [
        Rehearsal(
            images[place].cpu(),
            image,
            replace(
                received,
                record=replace(received.record, tensors=tensors, buffers={}),
                labels=assumed,
            ),
        )
        for place, image, tensors in zip(places, predicted, updates, strict=True)
    ]
