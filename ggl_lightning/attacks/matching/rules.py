"""Which layer types have a rule.

To support another type: write its `LayerRule` and name it here.
"""

from __future__ import annotations

from torch import nn

from ggl_lightning.attacks.matching.convolution import ConvolutionRule, ConvTransposeRule
from ggl_lightning.attacks.matching.layer_rule import LayerRule
from ggl_lightning.attacks.matching.linear import LinearRule
from ggl_lightning.attacks.matching.normalisation import (
    BatchNormRule,
    GroupNormRule,
    LayerNormRule,
)

_RULES: dict[type[nn.Module], type[LayerRule]] = {
    nn.Conv2d: ConvolutionRule,
    nn.ConvTranspose2d: ConvTransposeRule,
    nn.Linear: LinearRule,
    nn.BatchNorm1d: BatchNormRule,
    nn.BatchNorm2d: BatchNormRule,
    nn.GroupNorm: GroupNormRule,
    nn.LayerNorm: LayerNormRule,
}


def find_rules(model: nn.Module) -> tuple[dict[str, LayerRule], list[str]]:
    """Finds the rule of every layer that has parameters, by its exact type.

    A subclass may compute something else, so it has no rule; nor has a layer that shares a
    parameter with another one, or has others than its type usually has.

    Args:
        model: The client model.

    Returns:
        Rules by the layers' names, and the names of the parameters that no rule covers.
    """
    holders: dict[int, int] = {}
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            holders[id(parameter)] = holders.get(id(parameter), 0) + 1
    rules: dict[str, LayerRule] = {}
    without: list[str] = []
    for name, module in model.named_modules():
        own = dict(module.named_parameters(recurse=False))
        if not own:
            continue
        rule = _RULES.get(type(module))
        shared = any(holders[id(parameter)] > 1 for parameter in own.values())
        unusual = not own.keys() <= {"weight", "bias"} or _uses_batch_statistics(module)
        if rule is None or shared or unusual:
            without += [f"{name}.{parameter}" if name else parameter for parameter in own]
        else:
            rules[name] = rule(module)
    return rules, without


def _uses_batch_statistics(module: nn.Module) -> bool:
    return isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) and module.running_mean is None
