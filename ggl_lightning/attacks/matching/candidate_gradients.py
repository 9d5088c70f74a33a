"""Candidates' gradients of every parameter, each by the cheapest way that is right for it."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ggl_lightning.attacks.matching.comparison import (
    Comparison,
    ReceivedTensor,
    compare,
    concatenate,
)
from ggl_lightning.attacks.matching.errors import CannotBatchError, UnusualLayersError
from ggl_lightning.attacks.matching.general_path import GeneralGradients, Gradients
from ggl_lightning.attacks.matching.linear import LinearRule
from ggl_lightning.attacks.matching.population_pass import PopulationPass
from ggl_lightning.attacks.matching.rules import find_rules
from ggl_lightning.clients import GradientUpdate, Update, trainable_parameters
from ggl_lightning.memory import footprint

_TOLERANCE = 1e-2
"""Relative difference from the procedure above which a gradient is taken for wrong. Rounding
stays far below; images that influence each other, or a weight that is used twice, go far beyond."""

_PASS_BYTES = 2
"""Peak bytes of a pass per byte of its layers' inputs and outputs, at most: one layer's output is
often the next one's input, and a gradient is dropped once it has been compared."""

_GENERAL_BYTES = 4
"""Peak bytes of the general path per byte of its innermost modules' inputs and outputs."""

_GRAPH_BYTES = 2
"""How many times more is kept of these if the result must be differentiable."""

_FULL_COPIES = {False: 2, True: 5}
"""Copies of a candidate's update when it is had in full, by whether it must be differentiable."""

_Received = dict[str, ReceivedTensor]

Reduction = Callable[[Tensor, int], Tensor]
"""Reduces some candidates' gradients of one tensor to a number each."""


class CandidateGradients:
    """Gradients of the mean cross-entropy by every trainable parameter, for a population.

    Layers with a rule that are used as it assumes take one forward and one backward pass for the
    whole population together. All other parameters (no rule, shared, of a layer that is called
    twice) take the general path, and only they. `check` finds out which is which, by comparison
    with the procedure itself; so which path a parameter takes never decides what comes out.

    Args:
        model: The client model, in eval mode. It is copied.
        received: The received update.

    Attributes:
        general: Why parameters take the general path, by name.
    """

    def __init__(self, model: nn.Module, received: Update) -> None:
        self._original = model
        self._names = list(trainable_parameters(model))
        self._received = {
            name: ReceivedTensor(tensor) for name, tensor in zip(self._names, received, strict=True)
        }
        self._model = copy.deepcopy(model).requires_grad_(False)
        if received[0].device.type == "cpu":
            # The format that oneDNN's convolutions prefer. (Missing from the annotations of torch.)
            self._model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        rules, _ = find_rules(self._model)
        self._rules = {}
        self._pass = PopulationPass(self._model)
        self.general = dict.fromkeys(self._names, "without a layer rule")
        for layer, rule in rules.items():
            own = self._parameters(layer).keys()
            trained = [name for name in own if name in self.general]
            if len(trained) == len(own):
                self._rules[layer] = rule
                for name in own:
                    del self.general[name]
            else:
                self.general |= dict.fromkeys(trained, "of a layer that is frozen in part")
        self._general = self._general_gradients()
        self._parameter_bytes = sum(tensor.nbytes for tensor in received)
        self._activation_bytes = 0
        self._checked: set[tuple[torch.Size, bool]] = set()

    def twin(self) -> CandidateGradients:
        """The same on the same tensors, for use at the same time in another thread; after `check`.

        Only for models without parameters on the general path.
        """
        tensors = [*self._model.parameters(), *self._model.buffers()]
        memo: dict[int, object] = {id(tensor): tensor for tensor in tensors}
        twin = copy.copy(self)
        twin._model = copy.deepcopy(self._model, memo)
        rules, _ = find_rules(twin._model)
        twin._rules = {name: rules[name] for name in self._rules}
        twin._pass = PopulationPass(twin._model)
        twin.general = dict(self.general)
        return twin

    def is_linear_weight(self, index: int) -> bool:
        """Whether a parameter tensor is the weight of a linear layer, whatever path it takes."""
        layer, _, parameter = self._names[index].rpartition(".")
        return parameter == "weight" and isinstance(self._model.get_submodule(layer), nn.Linear)

    def bytes_per_candidate(self, in_full: bool, differentiable: bool) -> int:
        """What a candidate is estimated to take, after `check`.

        Args:
            in_full: Whether for `gradients`; else for `compare`.
            differentiable: Whether with respect to the images.
        """
        fast = _PASS_BYTES * self._pass.caught_bytes_per_candidate if self._rules else 0
        general = _GENERAL_BYTES * self._activation_bytes if self.general else 0
        activations = max(fast, general) * (_GRAPH_BYTES if differentiable else 1)
        # Of explicit gradients that are only compared, the graph keeps one copy.
        copies = _FULL_COPIES[differentiable] if in_full else int(differentiable)
        return activations + copies * self._parameter_bytes

    def compare(
        self, images: Tensor, labels: Tensor, masks: list[tuple[int, Tensor]]
    ) -> tuple[list[Comparison], list[Comparison]]:
        """Compares the candidates' gradients with the received ones.

        Args:
            images: ``(C, N, 3, H, W)`` in ``[-1, 1]``.
            labels: ``(N,)``.
            masks: Columns to keep of linear layers' weights, ``(index, keep)``.

        Returns:
            One comparison per parameter tensor, and one per mask, of only the columns it keeps;
            differentiable with respect to ``images`` if they require gradients.
        """
        named = [(self._names[index], keep) for index, keep in masks]
        whole, masked = self._compare(images, labels, self._received, named)
        return [whole[name] for name in self._names], masked

    def gradients(self, images: Tensor, labels: Tensor) -> Update:
        """The candidates' gradients in full: ``(C, *shape)`` per parameter tensor."""
        found: Gradients = {}

        def visit(layer: str, a: Tensor, b: Tensor) -> None:
            rule = self._rules[layer]
            size = rule.at_once(a, b)
            pairs = zip(a.split(size), b.split(size), strict=True)
            parts = [rule.gradients(some_a, some_b) for some_a, some_b in pairs]
            found.update(self._joined(parts, layer))

        self._visit(images, labels, visit)
        if self.general:
            found |= self._joined(list(self._general.parts(images, labels)))
        return [found[name] for name in self._names]

    def reduce(self, images: Tensor, labels: Tensor, reduction: Reduction) -> list[Tensor]:
        """Reduces the candidates' gradients to numbers, a few of one tensor at a time.

        Args:
            images: ``(C, N, 3, H, W)``.
            labels: ``(N,)``.
            reduction: Called as ``reduction(gradients, index)`` with some candidates' gradients
                ``(c, *shape)`` of the parameter tensor ``index``; returns ``(c,)``.

        Returns:
            What it returned for all candidates, ``(C,)`` per parameter tensor.
        """
        indices = {name: index for index, name in enumerate(self._names)}
        found: dict[str, Tensor] = {}

        def visit(layer: str, a: Tensor, b: Tensor) -> None:
            own = self._parameters(layer)
            size = self._rules[layer].at_once(a, b)
            parts: dict[str, list[Tensor]] = {name: [] for name in own}
            for some_a, some_b in zip(a.split(size), b.split(size), strict=True):
                gradients = self._rules[layer].gradients(some_a, some_b)
                for name, parameter in own.items():
                    parts[name].append(reduction(gradients[parameter], indices[name]))
            found.update({name: torch.cat(part) for name, part in parts.items()})

        self._visit(images, labels, visit)
        if self.general:
            parts: dict[str, list[Tensor]] = {name: [] for name in self.general}
            for gradients in self._general.parts(images, labels):
                for name, part in parts.items():
                    part.append(reduction(gradients[name], indices[name]))
            found |= {name: torch.cat(part) for name, part in parts.items()}
        return [found[name] for name in self._names]

    def check(self, shape: torch.Size, differentiable: bool) -> None:
        """Finds out which path each parameter must take, unless that is known.

        The gradients of two candidates of random pixels are compared with what the procedure
        says. Their label is the one the model finds least likely, so that no gradient vanishes; the
        received update plays no part. Hence a resumed run comes to the same result.

        Args:
            shape: Shape of one candidate's images, ``(N, 3, H, W)``.
            differentiable: Whether gradients with respect to the images will be needed: then the
                general path's are compared as well.

        Raises:
            CannotBatchError: If the model's gradients are not the same each time.
        """
        if (shape, differentiable) in self._checked:
            return
        images, labels = random_candidates(self._original, shape)
        if (shape, False) not in self._checked:
            self._check_gradients(images, labels)
        if differentiable and self.general and self._general.vectorised:
            with torch.enable_grad():
                self._general.vectorised_twice = self._right_twice(images, labels)
        self._checked |= {(shape, False), (shape, differentiable)}

    def _check_gradients(self, images: Tensor, labels: Tensor) -> None:
        self._activation_bytes = footprint(self._original, lambda: self._original(images[0])).total
        updates = [GradientUpdate()(self._original, each, labels) for each in images]
        columns = zip(*updates, strict=True)
        stacked = {
            name: torch.stack(column) for name, column in zip(self._names, columns, strict=True)
        }
        # With one candidate's own gradient for the received one, equal means equal entries.
        received = {name: ReceivedTensor(gradients[0]) for name, gradients in stacked.items()}
        expected = {name: _compare_full(stacked[name], received[name]) for name in self._names}

        def wrong(count: int) -> set[str]:
            found, _ = self._compare(images[:count], labels, received, [])
            return _different(found, expected, count)

        while together := wrong(len(images)):
            alone = wrong(1) - self.general.keys()
            if together & self.general.keys():
                if not self._general.vectorised:
                    raise CannotBatchError("its gradients are not the same each time")
                self._general.vectorised = False
            elif alone:
                layers = {name.rpartition(".")[0] for name in alone}
                self._move_to_general(layers, "of a layer with a second effect")
            else:
                self._move_to_general(set(self._rules), "of images that influence each other")

    def _right_twice(self, images: Tensor, labels: Tensor) -> bool:
        """Whether the vectorised general path passes gradients to the images as a loop does."""
        loop = self._general_gradients(vectorised=False)
        slopes: list[list[Tensor]] = []
        for path in (self._general, loop):
            given = images.clone().requires_grad_()
            joined = self._joined(list(path.parts(given, labels)))
            generator = torch.Generator().manual_seed(1)
            slopes.append([])
            for name in self.general:
                direction = torch.randn(joined[name].shape, generator=generator).to(joined[name])
                if not joined[name].requires_grad:  # of no effect, whatever the images are
                    slopes[-1].append(torch.zeros_like(given))
                    continue
                (slope,) = torch.autograd.grad(
                    (joined[name] * direction).sum(), given, retain_graph=True, allow_unused=True
                )
                slopes[-1].append(torch.zeros_like(given) if slope is None else slope)
        return all(
            bool((ours - theirs).norm() <= _TOLERANCE * theirs.norm())
            for ours, theirs in zip(*slopes, strict=True)
        )

    def _compare(
        self,
        images: Tensor,
        labels: Tensor,
        received: _Received,
        masks: list[tuple[str, Tensor]],
    ) -> tuple[dict[str, Comparison], list[Comparison]]:
        whole: dict[str, Comparison] = {}
        masked: dict[int, Comparison] = {}

        def visit(layer: str, a: Tensor, b: Tensor) -> None:
            rule = self._rules[layer]
            own = self._parameters(layer)
            theirs = {parameter: received[name] for name, parameter in own.items()}
            found = rule.compare(a, b, theirs)
            whole.update({name: found[parameter] for name, parameter in own.items()})
            for position, (name, keep) in enumerate(masks):
                if name in own:
                    assert isinstance(rule, LinearRule)
                    masked[position] = rule.compare(a * keep, b, theirs)["weight"]

        self._visit(images, labels, visit)
        if self.general:
            parts: dict[str, list[Comparison]] = {name: [] for name in self.general}
            masked_parts: dict[int, list[Comparison]] = {
                position: [] for position, (name, _) in enumerate(masks) if name in self.general
            }
            for gradients in self._general.parts(images, labels):
                for name, part in parts.items():
                    part.append(_compare_full(gradients[name], received[name]))
                for position, part in masked_parts.items():
                    name, keep = masks[position]
                    part.append(compare(gradients[name] * keep, received[name]))
            whole |= {name: concatenate(part) for name, part in parts.items()}
            masked |= {position: concatenate(part) for position, part in masked_parts.items()}
        return whole, [masked[position] for position in range(len(masks))]

    def _visit(
        self, images: Tensor, labels: Tensor, visit: Callable[[str, Tensor, Tensor], None]
    ) -> None:
        """Visits the layers with a rule; those that turn out to be unusual lose it."""
        while self._rules:
            try:
                self._pass(set(self._rules), images, labels, visit)
            except UnusualLayersError as error:
                self._move_to_general(error.layers, f"of a layer {error.reason}")
            else:
                return

    def _move_to_general(self, layers: set[str], reason: str) -> None:
        for layer in layers:
            self.general |= dict.fromkeys(self._parameters(layer), reason)
            del self._rules[layer]
        twice = self._general.vectorised_twice
        self._general = self._general_gradients(self._general.vectorised)
        self._general.vectorised_twice = twice

    def _general_gradients(self, vectorised: bool = True) -> GeneralGradients:
        gradients = GeneralGradients(self._model, list(self.general))
        gradients.vectorised = vectorised
        return gradients

    def _parameters(self, layer: str) -> dict[str, str]:
        """The names of a layer's parameters in the layer, by their names in the model."""
        own = self._model.get_submodule(layer).named_parameters(recurse=False)
        return {f"{layer}.{name}" if layer else name: name for name, _ in own}

    def _joined(self, parts: list[Gradients], layer: str | None = None) -> Gradients:
        joined = {
            name: torch.cat([part[name] for part in parts]) if len(parts) > 1 else parts[0][name]
            for name in parts[0]
        }
        if layer is None:
            return joined
        return {name: joined[own] for name, own in self._parameters(layer).items()}


def random_candidates(model: nn.Module, shape: torch.Size) -> tuple[Tensor, Tensor]:
    """Two candidates of random pixels, always the same, and labels that suit neither.

    Args:
        model: The client model.
        shape: Shape of one candidate's images, ``(N, 3, H, W)``.

    Returns:
        Images ``(2, N, 3, H, W)`` in ``[-1, 1]`` and labels ``(N,)``.
    """
    pixels = torch.rand((2, *shape), generator=torch.Generator().manual_seed(0))
    images = (2 * pixels - 1).to(next(model.parameters()))
    with torch.no_grad():
        return images, model(images[0]).argmin(dim=1)


def _compare_full(gradients: Tensor, received: ReceivedTensor) -> Comparison:
    # A parameter may be a scalar, whose gradients have no dimension but the candidates'.
    return compare(gradients.unsqueeze(1) if gradients.dim() == 1 else gradients, received)


def _different(ours: dict[str, Comparison], theirs: dict[str, Comparison], count: int) -> set[str]:
    """Names of the tensors in which the first ``count`` candidates differ by more than rounding."""
    largest = max(float(each.norm_square.max()) for each in theirs.values())
    different = set()
    for name, found in ours.items():
        expected = Comparison(
            theirs[name].alpha[:count], theirs[name].residual[:count], theirs[name].square
        )
        scale = expected.norm_square + 1e-10 * largest
        along = (found.alpha - expected.alpha).square() * found.square
        across = (found.residual.clamp(min=0).sqrt() - expected.residual.sqrt()).square()
        if bool((along + across > _TOLERANCE**2 * scale).any()):
            different.add(name)
    return different
