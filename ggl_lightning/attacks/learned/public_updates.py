"""Examples for an attack: which way public images' updates are had."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ggl_lightning.attacks.learned.captured import capture, layer_of
from ggl_lightning.attacks.learned.closed_form import ClosedFormExamples
from ggl_lightning.attacks.learned.simulated import Simulate, SimulatedExamples
from ggl_lightning.attacks.matching.layer_rule import MatrixRule
from ggl_lightning.attacks.matching.rules import find_rules
from ggl_lightning.clients import ClassifierLayer, trainable_parameters
from ggl_lightning.clients.procedures import ClientProcedure, ClientState, PopulationUpdates
from ggl_lightning.clients.update import is_plain_gradient
from ggl_lightning.defenses import Adaptation
from ggl_lightning.seeding import torch_generator

_ORDERS = (0x0DE4, 1)
"""The stream of the orders that are simulated."""


def usable_tensors(model: nn.Module, classifier: ClassifierLayer) -> list[str]:
    """Names of the parameters that tell of more than the label: all but the last layer's."""
    return [
        name
        for name, each in trainable_parameters(model).items()
        if each is not classifier.layer.weight and each is not classifier.layer.bias
    ]


def matrix_rules(model: nn.Module) -> dict[str, MatrixRule]:
    """The layers that multiply by a weight that is trained, by the weight's name."""
    trained = {id(each) for each in trainable_parameters(model).values()}
    rules, _ = find_rules(model)
    return {
        f"{name}.weight" if name else "weight": rule
        for name, rule in rules.items()
        if isinstance(rule, MatrixRule) and id(rule.layer.weight) in trained
    }


def in_closed_form(procedure: ClientProcedure, adaptation: Adaptation | None) -> bool:
    """Whether updates are plain gradients, in all but scale."""
    return adaptation is None and is_plain_gradient(procedure)


def attackers_rules(model: nn.Module) -> tuple[nn.Module, dict[str, MatrixRule]]:
    """A copy of a client model to look into, and its layers with a matrix that is trained.

    Returns:
        The copy, whose activations are not overwritten and whose weights need no gradients; rules
        by the weights' names.
    """
    names = matrix_rules(model)  # by what is trained, which nothing is in the copy
    copied = copy.deepcopy(model).requires_grad_(False)
    for module in copied.modules():
        if hasattr(module, "inplace"):
            setattr(module, "inplace", False)  # noqa: B010 - of modules in general
    rules, _ = find_rules(copied)
    found = {name: rules[layer_of(name)] for name in names}
    return copied, {name: rule for name, rule in found.items() if isinstance(rule, MatrixRule)}


def closed_form(
    model: nn.Module, names: Sequence[str], images: Tensor, label: int, memory_bytes: int
) -> ClosedFormExamples:
    """Plain gradients of public images.

    Args:
        model: The client model.
        names: Tensors that may be used; weights of layers that multiply by them are.
        images: See `ClosedFormExamples`.
        label: As there.
        memory_bytes: As there.
    """
    copied, rules = attackers_rules(model)
    usable = {name: rule for name, rule in rules.items() if name in names}
    return ClosedFormExamples(copied, usable, images, label, memory_bytes)


def simulated(
    model: nn.Module,
    names: Sequence[str],
    images: Tensor,
    label: int,
    memory_bytes: int,
    procedure: ClientProcedure,
    adaptation: Adaptation | None,
    kept: Mapping[str, Tensor] | None = None,
) -> SimulatedExamples:
    """Updates under a procedure and an estimate of a defense.

    Args:
        model: The client model.
        names: Tensors that may be used.
        images: Public images.
        label: The label assumed for all.
        memory_bytes: Bound on what is kept.
        procedure: What the attacker believes that the client did.
        adaptation: What the attacker believes that the defense did.
        kept: See `SimulatedExamples`.
    """
    order = procedure.order(1, torch_generator(*_ORDERS))
    # Entries set to zero or rounded are no noise, though they look like it.
    ranks = None if adaptation is not None else _ranks(model, names, images, len(order))
    every = list(trainable_parameters(model))
    usable = [name if name in names else None for name in every]
    simulate = client_updates(model, procedure, adaptation, label)
    return SimulatedExamples(simulate, usable, images, memory_bytes, ranks, kept)


def client_updates(
    model: nn.Module, procedure: ClientProcedure, adaptation: Adaptation | None, label: int
) -> Simulate:
    """What a client would send of images, one image in each update, as it would be received.

    Args:
        model: The client model.
        procedure: What the attacker believes that the client did.
        adaptation: What it believes that the defense did.
        label: The label of all images.
    """
    silent = copy.copy(procedure)
    silent.send_buffers = False
    updates = PopulationUpdates(silent, ClientState.of(copy.deepcopy(model)))
    orders = torch_generator(*_ORDERS)

    def simulate(images: Tensor) -> list[Tensor]:
        labels = torch.tensor([label], device=images.device)
        order = silent.order(1, orders)  # whatever is random differs from part to part
        found = updates(images.unsqueeze(1), labels, order).update
        tensors = [tensor.detach() for tensor in found.tensors.values()]
        if adaptation is None:
            return tensors
        degraded = [adaptation(list(one)) for one in zip(*tensors, strict=True)]
        return [torch.stack(column) for column in zip(*degraded, strict=True)]

    return simulate


def _ranks(model: nn.Module, names: Sequence[str], images: Tensor, steps: int) -> dict[str, int]:
    """The most that an update's rank can be in each weight, after some steps of one image."""
    copied, rules = attackers_rules(model)
    layers = {layer_of(name): rule for name, rule in rules.items() if name in names}
    kept = capture(copied, layers, images[:1], 0)
    return {
        name: kept[layer_of(name)].positions * steps for name in rules if layer_of(name) in kept
    }
