"""Short command-line options for settings that lie deep in an audit's configuration.

Each is only another way to say what can be said in the nested configuration. They start out as
None, which leaves the configuration alone, and are cleared once applied, so that the resolved
configuration says everything in one place. Names and meaning are those of the published code.

What a shortcut does not replace stays as the configuration has it, and what is said twice on one
command line, by a shortcut and in full, is refused.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import nevergrad as ng
import torchvision
from jsonargparse import Namespace
from pytorch_lightning.cli import LightningArgumentParser
from torchvision.models import list_models

from ggl_lightning.command_line.arguments import Option
from ggl_lightning.command_line.messages import arguments_of
from ggl_lightning.command_line.value_text import as_written
from ggl_lightning.errors import UserError, check_choice

_SEARCHES = "ggl_lightning.attacks.searches"
_OWN_CLIENTS = ("ResNet18", "ConvNet", "LeNet", "MLP")

# The defenses of the published code: class and the parameter that --d_param sets.
_DEFENSES: dict[str, tuple[str, str | None]] = {
    "none": ("ggl_lightning.defenses.NoDefense", None),
    "noise": ("ggl_lightning.defenses.Noise", "std"),
    "clipping": ("ggl_lightning.defenses.Clipping", "bound"),
    "compression": ("ggl_lightning.defenses.Compression", "percentage"),
    "representation": ("ggl_lightning.defenses.Representation", "pruning_rate"),
}

_ATTACKS = {
    "standard": "ggl_lightning.attacks.StandardAttack",
    "learned": "ggl_lightning.attacks.LearnedInversion",
    "warm": "ggl_lightning.attacks.WarmStartedGGL",
    "matching": "ggl_lightning.attacks.UpdateMatching",
    "linear": "ggl_lightning.attacks.FirstLinearInversion",
}

_OPTIONS: dict[str, tuple[Any, str]] = {
    "out_dir": (str | None, "folder of all runs (model.out_dir)"),
    "exp_name": (str | None, "this run's folder in it (model.exp_name)"),
    "idx": (
        int | str | list[int | str] | None,
        "private images: an index, a range as 0-99, or a [list] (data.idx)",
    ),
    "seed": (int | None, "seed of the cases (data.seeds)"),
    "defense": (str | None, f"the only defense (data.defenses): {', '.join(_DEFENSES)}"),
    "d_param": (float | None, "the parameter of --defense"),
    "attack": (
        str | None,
        f"the only attack, as it is by default (data.attacks): {', '.join(_ATTACKS)}",
    ),
    "budget": (int | None, "for every attack that has one (data.attacks.*.init_args.budget)"),
    "n_trials": (int | None, "likewise (data.attacks.*.init_args.n_trials)"),
    "adaptive": (bool | None, "likewise (data.attacks.*.init_args.adaptive)"),
    "use_weight": (bool | None, "likewise (data.attacks.*.init_args.use_weight)"),
    "public_images": (
        int | None,
        "how many attackers have at most (data.public_images)",
    ),
    "ng_method": (str | None, "search of every attack that has one: nevergrad's, adam or BO"),
    "client": (str | None, "client model by name; --model NAME is the same (model.client_model)"),
    "trained_model": (str | None, "a trained client model's file (model.trained_model)"),
    "gpu": (int | None, "which GPU to use (trainer.accelerator, trainer.devices)"),
}
DRY_RUN = "dry_run"
_FLAGS = ("adaptive", "use_weight", DRY_RUN)  # may stand alone, as in the published code
_OF_ATTACKS = ("budget", "n_trials", "adaptive", "use_weight")
_DEFAULT_ATTACK = "ggl_lightning.attacks.GenerativeGradientLeakage"
_NULL = ("null", "Null", "NULL", "~", "")
_MAY_BE_NULL = ("exp_name", "trained_model")
_CONFIGURATION = (".yaml", ".yml", ".json")

_ATTACK = r"data\.attacks\.[^.]+(\.init_args)?"
# What says the same in full.
_IN_FULL: dict[str, str] = {
    "out_dir": r"model\.out_dir",
    "exp_name": r"model\.exp_name",
    "idx": r"data\.idx(\..+)?",
    "seed": r"data\.seeds",
    "public_images": r"data\.public_images",
    "defense": r"data\.defenses(\..+)?",
    "d_param": r"data\.defenses(\..+)?",
    "attack": r"data\.attacks(\..+)?",
    **{name: rf"{_ATTACK}\.{name}" for name in _OF_ATTACKS},
    "ng_method": rf"{_ATTACK}\.search(\.class_path|(\.init_args)?\.method)?",
    "client": r"model\.client_model(\.class_path|(\.init_args)?\.name)?",
    "trained_model": r"model\.trained_model",
    "gpu": r"trainer\.(accelerator|devices)",
}
# What belongs to the object that a shortcut chooses, and so waits until that is chosen.
_PARTS = {"ng_method": rf"{_ATTACK}\.search\..+", "client": r"model\.client_model\..+"}


def add_shortcuts(parser: LightningArgumentParser) -> None:
    """Adds every shortcut to the parser."""
    for name, (type_, description) in _OPTIONS.items():
        parser.add_argument(f"--{name}", type=type_, default=None, help=f"shortcut: {description}")
    parser.add_argument(
        f"--{DRY_RUN}",
        type=bool | None,
        default=None,
        help="list the cases and estimate their time; run and write nothing",
    )


def spell_out(options: Sequence[Option]) -> list[Option]:
    """Rewrites the published code's spellings that the parser would read otherwise.

    ``--adaptive`` and ``--use_weight`` may stand without a value; ``--model NAME`` names a client
    model (for the parser ``--model FILE`` is a configuration file of the ``model`` section, and
    still is when there is such a file).

    Args:
        options: As given.

    Raises:
        UserError: If ``--model`` names a configuration file that does not exist.
    """
    return [_spelled(option) for option in options]


def _spelled(option: Option) -> Option:
    if option.name in _OPTIONS and option.value in _NULL:
        if option.name not in _MAY_BE_NULL:
            raise UserError(f"--{option.name} is {option.value!r}: give a value, or leave it out.")
        full = f"model.{option.name}"
        value: str | None = "null"
        if option.name == "exp_name":  # a name is text as written
            value = option.value
        return replace(option, name=full, tokens=(f"--{full}={value}", *option.tokens[2:]))
    if option.name in _FLAGS and option.value is None:
        return replace(option, value="true", tokens=(f"--{option.name}=true",))
    value = option.value
    if option.name != "model" or value is None or value.startswith("{") or Path(value).is_file():
        return option
    if os.sep in value or value.endswith(_CONFIGURATION):
        raise UserError(
            f"--model is {value!r}, and there is no such file. Give an existing configuration file "
            "of the model section, or the name of a client model, such as ResNet18."
        )
    return replace(option, name="client", tokens=(f"--client={value}", *option.tokens[2:]))


def check_said_once(options: Sequence[Option]) -> None:
    """Refuses a shortcut beside an option that says the same in full.

    Args:
        options: As spelled out.

    Raises:
        UserError: If the two differ: one of them would be lost.
    """
    for shortcut in options:
        in_full = re.compile(_IN_FULL.get(shortcut.name, "(?!)"))
        for other in options:
            if in_full.fullmatch(other.name) and other.value != shortcut.value:
                raise UserError(
                    f"--{shortcut.name} {shortcut.value} and --{other.name} {other.value} set the "
                    "same: leave one out."
                )


def parts_of_chosen(options: Sequence[Option]) -> tuple[list[Option], list[Option]]:
    """Parts options into those to read at once and those that wait for a shortcut's choice.

    Args:
        options: As spelled out.

    Returns:
        The first and the second, e.g. ``--model.client_model.init_args.width`` beside ``--client``.
    """
    given = [_PARTS[option.name] for option in options if option.name in _PARTS]
    waiting = re.compile("|".join(given) if given else "(?!)")
    later = [option for option in options if waiting.fullmatch(option.name)]
    return [option for option in options if option not in later], later


def apply_shortcuts(config: Namespace) -> Namespace:
    """Writes the shortcuts that were given into the nested configuration.

    Args:
        config: What was given, without defaults; it may be incomplete.

    Returns:
        The same without shortcuts.

    Raises:
        UserError: If a shortcut's value is not known, or ``d_param`` has no defense to go to.
    """
    config = config.clone()
    given = {name: config.get(name) for name in _OPTIONS}
    for name in _OPTIONS:
        config[name] = None
    for name in ("out_dir", "exp_name", "trained_model"):
        if given[name] is not None:
            config[f"model.{name}"] = given[name]
    if given["idx"] is not None:
        config["data.idx"] = given["idx"]
    if given["seed"] is not None:
        config["data.seeds"] = given["seed"]
    if given["public_images"] is not None:
        config["data.public_images"] = given["public_images"]
    if given["gpu"] is not None:
        config["trainer.accelerator"], config["trainer.devices"] = "gpu", [given["gpu"]]
    if given["client"] is not None:
        config["model.client_model"] = _client(given["client"], config.get("model.client_model"))
    if given["defense"] is not None or given["d_param"] is not None:
        config["data.defenses"] = _defense(given["defense"], given["d_param"])
    if given["attack"] is not None:
        check_choice("--attack", given["attack"], _ATTACKS)
        config["data.attacks"] = {given["attack"]: _component(_ATTACKS[given["attack"]])}
    attacks = config.get("data.attacks") or {}
    for name in _OF_ATTACKS:
        if given[name] is not None:
            for attack in _that_have(name, name, attacks):
                attack[f"init_args.{name}"] = given[name]
    if given["ng_method"] is not None:
        for attack in _that_have("search", "ng_method", attacks):
            attack["init_args.search"] = _search(given["ng_method"], attack.get("init_args.search"))
    return config


def _that_have(argument: str, option: str, attacks: Mapping[str, Namespace]) -> list[Namespace]:
    """The attacks that have an argument; says which have not.

    Raises:
        UserError: If none has.
    """
    having, others = [], []
    for name, attack in attacks.items():
        known = arguments_of(attack.get("class_path") or _DEFAULT_ATTACK)
        # Of a class that cannot be found the parser has more to say.
        if argument in known or not known:
            having.append(attack)
        else:
            others.append(name)
    if attacks and not having:
        raise UserError(
            f"--{option} is given, but no attack has such a setting: {', '.join(others)}."
        )
    if others:
        print(f"--{option} says nothing of {', '.join(others)}.", file=sys.stderr)
    return having


def _component(class_path: str, **init_args: Any) -> Namespace:
    return Namespace(class_path=class_path, init_args=Namespace(**init_args))


def _defense(name: str | None, parameter: float | None) -> dict[str, Namespace]:
    if name is None:
        raise UserError(f"--d_param {parameter:g} needs --defense to say which defense it is for.")
    check_choice("--defense", name, _DEFENSES)
    class_path, parameter_name = _DEFENSES[name]
    if parameter is None:
        return {name: _component(class_path)}
    if parameter_name is None:
        raise UserError(f"--d_param {parameter:g} has no meaning for --defense {name}.")
    return {name: _component(class_path, **{parameter_name: parameter})}


def _search(method: str, current: Namespace | None) -> Namespace:
    if method == "adam":
        return _chosen("--ng_method adam", f"{_SEARCHES}.AdamSearch", current)
    if method == "BO":
        return _chosen("--ng_method BO", f"{_SEARCHES}.turbo.TuRBOSearch", current)
    check_choice("--ng_method", method, ["adam", "BO", *ng.optimizers.registry])
    option = f"--ng_method {method}"
    return _chosen(option, f"{_SEARCHES}.NevergradSearch", current, method=method)


def _client(name: str, current: Namespace | None) -> Namespace:
    option = f"--client {name}"
    if "." in name:
        return _chosen(option, name, current)
    check_choice("--client", name, [*_OWN_CLIENTS, *list_models(module=torchvision.models)])
    if name in _OWN_CLIENTS:
        return _chosen(option, f"ggl_lightning.clients.{name}", current)
    return _chosen(option, "ggl_lightning.clients.TorchvisionClassifier", current, name=name)


def _chosen(option: str, class_path: str, current: Namespace | None, **own: Any) -> Namespace:
    """An object of a class, with the arguments the configuration has for it as far as they apply.

    Says what becomes of them if they were meant for another class.
    """
    configured = current.get("init_args") if isinstance(current, Namespace) else None
    if current is None or not configured:
        return _component(class_path, **own)
    arguments = dict(configured.items(branches=True, nested=False))
    if current.class_path == class_path:
        return _component(class_path, **{**arguments, **own})
    known = set(arguments_of(class_path))
    kept = {name: value for name, value in arguments.items() if name in known - set(own)}
    lost = {name: value for name, value in arguments.items() if name not in known}
    said = [
        f"{verb} {', '.join(f'{name} {as_written(str(value))}' for name, value in some.items())}"
        for verb, some in (("keeps", kept), ("leaves out", lost))
        if some
    ]
    if said:
        before = current.class_path.rpartition(".")[2]
        print(f"{option}: {' and '.join(said)} of the configured {before}.", file=sys.stderr)
    return _component(class_path, **{**kept, **own})
