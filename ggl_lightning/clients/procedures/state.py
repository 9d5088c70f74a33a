"""The state of a client model that a procedure starts from."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

Mode = Literal["train", "frozen", "eval"]
"""How the client model runs while its client computes the update.

``train``: in training mode, so that batch-norm takes the statistics of the batch and dropout is on.
``frozen``: the same, but batch-norm keeps to its running statistics. ``eval``: in eval mode.
"""


@dataclass(frozen=True, eq=False)
class ClientState:
    """A client model with the weights and buffers at which training begins; nothing changes it.

    Attributes:
        model: The client model: its structure is used, and its weights and buffers only where
            ``weights`` and ``buffers`` say nothing of them.
        weights: Trainable parameters by name, each once however often the model uses it, in
            ``model.parameters()`` order.
        fixed: Parameters that are not trained, by name.
        buffers: Buffers by name.
    """

    model: nn.Module
    weights: Mapping[str, Tensor]
    fixed: Mapping[str, Tensor]
    buffers: Mapping[str, Tensor]
    _in_mode: dict[Mode, nn.Module] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def of(cls, model: nn.Module) -> ClientState:
        """The state that a model is in; parameters are trained if they require gradients.

        The tensors are the model's own, not copies: if they change, the state does.
        """
        weights = {name: each.detach() for name, each in model.named_parameters()}
        trained = {name for name, each in model.named_parameters() if each.requires_grad}
        return cls(
            model,
            weights={name: each for name, each in weights.items() if name in trained},
            fixed={name: each for name, each in weights.items() if name not in trained},
            buffers={name: each.detach() for name, each in model.named_buffers()},
        )

    def to(self, target: torch.dtype | torch.device) -> ClientState:
        """The same with all floating-point tensors of another type, or all on another device."""

        def moved(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
            keep = isinstance(target, torch.dtype)
            return {
                name: each if keep and not each.is_floating_point() else each.to(target)
                for name, each in tensors.items()
            }

        return replace(
            self,
            weights=moved(self.weights),
            fixed=moved(self.fixed),
            buffers=moved(self.buffers),
        )

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return next(iter({**self.weights, **self.fixed}.values())).device

    def in_mode(self, mode: Mode) -> nn.Module:
        """The client model in a mode, always the same object: to be called, not changed."""
        if mode not in self._in_mode:
            self._in_mode[mode] = self.copy_in_mode(mode)
        return self._in_mode[mode]

    def copy_in_mode(self, mode: Mode) -> nn.Module:
        """A copy of the client model's structure in a mode; its tensors are the model's."""
        tensors = [*self.model.parameters(), *self.model.buffers()]
        model = copy.deepcopy(self.model, {id(tensor): tensor for tensor in tensors})
        model.train(mode != "eval")
        for module in model.modules() if mode == "frozen" else ():
            if isinstance(module, _BatchNorm):
                module.eval()
        return model

    def logits(self, images: Tensor) -> Tensor:
        """The client model's logits ``(N, classes)`` in eval mode."""
        return self.run(self.in_mode("eval"), images)

    def run(self, model: nn.Module, images: Tensor) -> Tensor:
        """What a copy of the client model makes of images with this state's tensors."""
        buffers = {name: buffer.clone() for name, buffer in self.buffers.items()}
        return functional_call(model, {**self.weights, **self.fixed, **buffers}, (images,))
