"""One forward and one backward pass for a whole population."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.hooks import RemovableHandle

from ggl_lightning.attacks.per_candidate.comparison import Comparison, Received
from ggl_lightning.attacks.per_candidate.linear import LinearRule
from ggl_lightning.attacks.per_candidate.rules import find_rules
from ggl_lightning.clients import Update
from ggl_lightning.defenses.representation import KeepColumns


class CannotBatchError(Exception):
    """The client model does something that no layer rule describes; the message says what."""


class PopulationPass:
    """Compares the gradients of a population's candidates with the received update.

    A candidate's update is the gradient of its mean cross-entropy. Layers' inputs are caught by
    forward hooks and the gradients of their outputs by tensor hooks, which see an output as the
    layer returned it even if a later layer overwrites it.

    Args:
        model: The client model, in eval mode. It is copied.
        received: The received update.
        kept: Columns of linear layers' weight gradients to keep; the others count as zero.

    Attributes:
        caught_bytes_per_candidate: Size of all layers' inputs and outputs in the last pass.

    Raises:
        CannotBatchError: If a parameter has no rule.
    """

    caught_bytes_per_candidate: int

    def __init__(self, model: nn.Module, received: Update, kept: list[KeepColumns]) -> None:
        on_cpu = received[0].device.type == "cpu"
        self._memory_format = torch.channels_last if on_cpu else torch.preserve_format
        self._model = copy.deepcopy(model).requires_grad_(False)
        # The format that oneDNN's convolutions prefer. (Missing from the annotations of torch.)
        self._model.to(memory_format=self._memory_format)  # type: ignore[call-overload]
        self._rules, without = find_rules(self._model)
        if without:
            raise CannotBatchError(f"no layer rule covers its parameters {', '.join(without)}")
        self._names = [name for name, _ in model.named_parameters()]
        self._received: dict[str, dict[str, Received]] = {name: {} for name in self._rules}
        for name, tensor in zip(self._names, received, strict=True):
            layer, _, parameter = name.rpartition(".")
            self._received[layer][parameter] = Received(tensor)
        self._kept: dict[str, Tensor] = {}
        for columns in kept:
            layer, _, parameter = self._names[columns.weight_index].rpartition(".")
            if not isinstance(self._rules[layer], LinearRule) or parameter != "weight":
                raise CannotBatchError(
                    f"columns of {self._names[columns.weight_index]} are left out"
                )
            self._kept[layer] = self._kept.get(layer, 1) * columns.keep

    def twin(self) -> PopulationPass:
        """Another pass with the same tensors, which may run at the same time in another thread."""
        tensors = [*self._model.parameters(), *self._model.buffers()]
        memo: dict[int, object] = {id(tensor): tensor for tensor in tensors}
        twin = copy.copy(self)
        twin._model = copy.deepcopy(self._model, memo)
        return twin

    def __call__(self, images: Tensor, labels: Tensor) -> list[Comparison]:
        """Evaluates a population.

        Args:
            images: ``(C, N, 3, H, W)`` in ``[-1, 1]``.
            labels: ``(N,)``.

        Returns:
            One comparison per parameter tensor, in ``model.parameters()`` order; differentiable
            with respect to ``images`` if they require gradients.

        Raises:
            CannotBatchError: If a layer is not called exactly once with all images.
        """
        differentiable = images.requires_grad
        flat = images.flatten(0, 1).clone(memory_format=self._memory_format)
        if not differentiable:
            flat = flat.detach().requires_grad_()
        found: dict[str, dict[str, Comparison]] = {}
        hooks: list[RemovableHandle] = []
        with torch.enable_grad():
            logits = self._run(flat, images.shape[:2], found, hooks)
            losses = F.cross_entropy(logits, labels.repeat(len(images)), reduction="sum")
            torch.autograd.grad(losses / len(labels), flat, create_graph=differentiable)
        for hook in hooks:  # else they would run again when the caller differentiates the result
            hook.remove()
        silent = self._rules.keys() - found.keys()
        if silent:
            raise CannotBatchError(f"no gradient reaches its layers {', '.join(sorted(silent))}")
        return [found[layer][name] for layer, _, name in (n.rpartition(".") for n in self._names)]

    def _run(
        self,
        images: Tensor,
        counts: torch.Size,
        found: dict[str, dict[str, Comparison]],
        hooks: list[RemovableHandle],
    ) -> Tensor:
        """The model's logits; ``hooks`` put comparisons in ``found`` during the backward pass."""
        called: set[str] = set()
        caught = 0

        def catch(name: str, arguments: tuple[object, ...], output: object) -> None:
            nonlocal caught
            if name in called:
                raise CannotBatchError(f"its layer {name} is called more than once")
            called.add(name)
            if len(arguments) != 1 or not (
                _one_row_per_image(arguments[0], len(images))
                and _one_row_per_image(output, len(images))
            ):
                raise CannotBatchError(f"its layer {name} is not called with one row per image")
            caught += arguments[0].nbytes + output.nbytes
            compare = self._comparing(name, arguments[0], counts, found)
            hooks.append(output.register_hook(compare))

        handles = [
            self._model.get_submodule(name).register_forward_hook(
                lambda _layer, arguments, output, name=name: catch(name, arguments, output)
            )
            for name in self._rules
        ]
        try:
            logits = self._model(images)
        finally:
            for handle in handles:
                handle.remove()
        self.caught_bytes_per_candidate = caught // counts[0]
        return logits

    def _comparing(
        self,
        name: str,
        given: Tensor,
        counts: torch.Size,
        found: dict[str, dict[str, Comparison]],
    ) -> Callable[[Tensor], None]:
        def compare(gradient: Tensor) -> None:
            a, b = given.unflatten(0, counts), gradient.unflatten(0, counts)
            if name in self._kept:
                a = a * self._kept[name]
            found[name] = self._rules[name].compare(a, b, self._received[name])

        return compare


def _one_row_per_image(value: object, count: int) -> TypeGuard[Tensor]:
    return isinstance(value, Tensor) and value.dim() > 1 and len(value) == count
