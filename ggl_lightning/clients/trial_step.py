"""One training step of a copy: what it raises, the training would raise later."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import Any

import torch
from pytorch_lightning.utilities.seed import isolate_rng
from torch import Tensor, nn
from torch.nn import functional as F

from ggl_lightning.clients.trained import class_path
from ggl_lightning.errors import UserError
from ggl_lightning.weight_files import some


def trial_step_problems(
    model: nn.Module,
    optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer],
    lr_scheduler: Callable[[torch.optim.Optimizer], Any] | None,
    batch: Tensor,
    labels: Tensor,
    all_must_get_gradients: bool,
) -> list[str]:
    """Takes one step with a copy of a client model, and says what is wrong.

    Args:
        model: The client model; unchanged.
        optimizer: Builds its optimiser.
        lr_scheduler: Builds the schedule; None for none.
        batch: Images ``(N, 3, H, W)`` as the training will read them, of its smallest batch.
        labels: The lowest and the highest label of all images.
        all_must_get_gradients: Whether several devices wait for the gradient of every parameter.

    Returns:
        Texts for the user.
    """
    name = class_path(model)
    shape = tuple(batch.shape)
    with isolate_rng():
        try:
            copy = deepcopy(model).cpu().float().train()
            logits = copy(batch)
        except UserError as error:
            return list(error.problems)
        except Exception as error:  # noqa: BLE001 - code of the user's, which may raise anything
            return [
                f"The client model {name} cannot be trained on batches of shape {shape}: "
                f"{_first_line(error)}. Check its settings, image_size and batch_size."
            ]
        try:
            check_logits(logits, len(batch), labels)
        except UserError as error:
            return list(error.problems)
        if not logits.requires_grad:
            return [
                f"The client model {name} has nothing to train: no parameter that its logits "
                "depend on requires a gradient."
            ]
        try:
            chosen = optimizer(copy.parameters())
            if lr_scheduler is not None:
                lr_scheduler(chosen)
            targets = labels[:1].expand(len(batch))

            def closure() -> float:
                chosen.zero_grad()
                loss = F.cross_entropy(copy(batch), targets)
                loss.backward()
                return loss.item()

            chosen.step(closure)
        except (RuntimeError, ValueError, TypeError) as error:
            return [f"The optimiser or its schedule cannot be used: {_first_line(error)}."]
        idle = [n for n, p in copy.named_parameters() if p.requires_grad and p.grad is None]
    if idle and all_must_get_gradients:
        return [
            f"The client model {name} does not use all of its parameters ({some(idle)}), which "
            "strategy ddp waits for: set trainer.strategy to ddp_find_unused_parameters_true."
        ]
    return []


def check_logits(logits: object, images: int, labels: Tensor) -> None:
    """Refuses what a client model returns if it is not the logits of all classes.

    Args:
        logits: What it returned.
        images: For how many images.
        labels: Labels that must be among the classes.

    Raises:
        UserError: If shape or classes do not fit.
    """
    if not isinstance(logits, Tensor):
        raise UserError(
            f"The client model returned a {type(logits).__name__}: it must return the logits "
            "alone, a tensor (images, classes)."
        )
    if logits.dim() != 2 or len(logits) != images:
        raise UserError(
            f"The client model returned logits of shape {tuple(logits.shape)} for {images} "
            "images: they must be (images, classes)."
        )
    lowest, highest = int(labels.min()), int(labels.max())
    if lowest < 0 or highest >= logits.shape[1]:
        raise UserError(
            f"The images have labels from {lowest} to {highest}, and the client model has "
            f"{logits.shape[1]} classes: set num_classes to at least {highest + 1}."
        )


def _first_line(error: Exception) -> str:
    line = next(iter(str(error).strip().splitlines()), "").rstrip(".")
    return line or type(error).__name__
