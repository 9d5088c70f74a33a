"""What names the things a user can configure in the keys of results, wherever their code stands."""

from __future__ import annotations

import functools
import hashlib
import inspect
import sys
import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ggl_lightning.tensor_hash import hash_tensors

FORMER_PATHS: dict[str, str] = {
    "ggl_lightning.clients.procedures.PlainGradient": "ggl_lightning.clients.GradientUpdate",
}
"""By the path that YAML names a class by now: the one that keys know it by.

A class that moves is entered here with the path it had first, so that results of before the move
keep their keys.
"""

FORMER_ARGUMENTS: dict[tuple[str, str], str] = {
    ("ggl_lightning.federated.FederatedTraining", "procedure"): "update_rule",
}
"""By a class's path and an argument's name by now: the name that keys know it by."""

_OF_EVERY_MODULE = frozenset(vars(nn.Module()))
"""Attributes of a module that say nothing of what it computes, or are looked at by themselves."""


def class_path(cls: type) -> str:
    """The path that YAML names a class by: through the outermost package that exports it."""
    parts = cls.__module__.split(".")
    for length in range(1, len(parts) + 1):
        package = ".".join(parts[:length])
        if getattr(sys.modules.get(package), cls.__name__, None) is cls:
            return f"{package}.{cls.__name__}"
    return f"{cls.__module__}.{cls.__qualname__}"


def class_identity(cls: type) -> dict[str, Any]:
    """What stands for a class in keys: its first public path and its version.

    A class says by ``result_version``, a number, that it computes something else than before under
    the same arguments, a changed default included; without one it is 1.
    """
    path = class_path(cls)
    found: dict[str, Any] = {"class": FORMER_PATHS.get(path, path)}
    version = getattr(cls, "result_version", 1)
    return found if version == 1 else {**found, "version": version}


def identity(component: object) -> Any:
    """What stands for a defense, attack, search or another component in keys, ready for JSON.

    These classes keep their parameters, and nothing else, in public attributes. Those equal to the
    default of their argument are left out: an argument that is added later, with the default that
    leaves everything as it was, changes no key.
    """
    if isinstance(component, Enum):
        return component.value
    if component is None or isinstance(component, bool | int | float | str):
        return component
    if isinstance(component, list | tuple):
        return [identity(item) for item in component]
    if isinstance(component, Mapping):
        return {str(key): identity(value) for key, value in component.items()}
    if is_function(component):
        return text_of(component)
    found = class_identity(type(component))
    if isinstance(component, nn.Module):  # whose tensors are no attributes
        return {**found, "module": module_hash(component)}
    defaults = _defaults(type(component))
    for name, argument, value in public_attributes(component):
        if not (argument in defaults and _same(value, defaults[argument])):
            found[name] = identity(value)
    return found


def public_attributes(component: object) -> list[tuple[str, str, object]]:
    """The public attributes of a component: the names keys know them by, their own, and values."""
    path = class_path(type(component))
    return sorted(
        (FORMER_ARGUMENTS.get((path, name), name), name, value)
        for name, value in vars(component).items()
        if not name.startswith("_")
    )


def is_function(component: object) -> bool:
    """Whether a component is a function, or one with some of its arguments, or a class."""
    kinds = (types.FunctionType, types.MethodType, functools.partial, type)
    return isinstance(component, kinds)


def text_of(component: object) -> str:
    """A text that is the same for equal settings, in every process: of functions and classes."""
    return _described(component, ())


def module_identity(module: nn.Module) -> str:
    """What stands for a network's structure and settings in keys, as opposed to its weights.

    For every module in it: its class, its text (``extra_repr``), which of its parameters are
    trained, and its attributes that are neither parameters, buffers nor modules: numbers, texts,
    functions such as the activation, tensors, and objects made of such. It is the network's as it
    was built: take it before the first forward pass, which may leave traces.
    """
    return _structure(module, ())


def module_hash(module: nn.Module, structure: str | None = None) -> str:
    """What stands for a network in keys: its structure, settings and whole state.

    Args:
        module: The network.
        structure: Its `module_identity` as it was built; None takes it now.
    """
    known = module_identity(module) if structure is None else structure
    return hashlib.sha256(f"{known} {hash_tensors(module.state_dict())}".encode()).hexdigest()


def _structure(module: nn.Module, seen: tuple[object, ...]) -> str:
    digest = hashlib.sha256()
    inside = (*seen, *module.modules())
    for name, part in module.named_modules():
        digest.update(f"{name} {class_identity(type(part))} {part.extra_repr()}\n".encode())
        for parameter, tensor in part.named_parameters(recurse=False):
            digest.update(f"  {parameter} {tensor.requires_grad}\n".encode())
        for attribute in sorted(vars(part).keys() - _OF_EVERY_MODULE):
            text = _described(vars(part)[attribute], inside)
            digest.update(f"  {attribute} {text}\n".encode())
    return digest.hexdigest()


def _defaults(cls: type) -> dict[str, Any]:
    try:
        parameters = inspect.signature(cls).parameters.values()
    except ValueError:  # of some classes written in C nothing is known
        return {}
    return {each.name: each.default for each in parameters if each.default is not each.empty}


def _same(value: object, default: object) -> bool:
    """Whether they would stand in a key alike: 1 and True would not."""
    plain = (bool, int, float, str, list, tuple, Enum, type(None))
    if not (isinstance(value, plain) and isinstance(default, plain)):
        return value is default
    ours, theirs = identity(value), identity(default)
    return type(ours) is type(theirs) and ours == theirs


def _described(value: object, seen: tuple[object, ...]) -> str:
    """A text that is the same for equal settings, in every process."""
    if any(value is each for each in seen):
        return "itself"
    inside = (*seen, value)
    if isinstance(value, Enum | torch.dtype | torch.device | type(None) | bool | int | float | str):
        return repr(value)
    if isinstance(value, Tensor):
        return hash_tensors({"": value})
    if isinstance(value, np.ndarray):
        return hash_tensors({"": torch.from_numpy(np.ascontiguousarray(value))})
    if isinstance(value, nn.Module):
        return f"{_structure(value, inside)} {hash_tensors(value.state_dict())}"
    if isinstance(value, Mapping):
        items = ((_described(k, inside), _described(v, inside)) for k, v in value.items())
        return f"{{{', '.join(f'{k}: {v}' for k, v in sorted(items))}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_described(each, inside) for each in value)}]"
    if isinstance(value, set | frozenset):
        return f"{{{', '.join(sorted(_described(each, inside) for each in value))}}}"
    if isinstance(value, functools.partial):
        parts = (value.func, value.args, value.keywords)
        return f"partial({', '.join(_described(each, inside) for each in parts)})"
    if inspect.isclass(value):
        return str(class_identity(value))
    if isinstance(value, types.MethodType):
        return value.__func__.__qualname__
    if isinstance(value, types.FunctionType):
        return _function(value, inside)
    if callable(value) and hasattr(value, "__qualname__"):  # one written in C
        return f"{getattr(value, '__module__', None)}.{value.__qualname__}"
    names = [f.name for f in fields(value)] if is_dataclass(value) else _attributes(value)
    own = [f"{name}={_described(getattr(value, name), inside)}" for name in names]
    return f"{class_path(type(value))}({', '.join(own)})"


def _attributes(value: object) -> list[str]:
    return sorted(name for name in getattr(value, "__dict__", {}) if not name.startswith("__"))


def _function(function: types.FunctionType, seen: tuple[object, ...]) -> str:
    """Its name; of one that has none of its own, what it is compiled to."""
    name = f"{function.__module__}.{function.__qualname__}"
    held = _described([*_closure(function), function.__defaults__], seen)
    if "<" not in name:
        return f"{name}({held})"
    code = function.__code__
    constants = [str(each) for each in code.co_consts if not isinstance(each, types.CodeType)]
    return f"{name}({held}) {code.co_code.hex()} {code.co_names} {constants}"


def _closure(function: types.FunctionType) -> list[object]:
    """What a function has taken along from where it was made."""
    found: list[object] = []
    for cell in function.__closure__ or ():
        try:
            found.append(cell.cell_contents)
        except ValueError:  # not filled yet
            found.append(None)
    return found
