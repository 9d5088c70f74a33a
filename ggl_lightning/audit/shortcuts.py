"""Short command-line options for settings that lie deep in an audit's configuration.

Each is only another way to say what can be said in YAML. They start out as None, which leaves the
configuration alone, and are cleared once applied, so that the resolved configuration says
everything in one place.
"""

from __future__ import annotations

from jsonargparse import Namespace
from pytorch_lightning.cli import LightningArgumentParser

from ggl_lightning.errors import UserError

_HELP = {
    "out_dir": "folder of all runs (model.out_dir)",
    "exp_name": "this run's folder in it (model.exp_name)",
    "idx": "index or [list] of the private images (data.idx)",
    "seed": "seed of the cases (data.seeds)",
    "budget": "rounds per trial, for every attack (data.attacks.*.init_args.budget)",
    "n_trials": "trials, for every attack (data.attacks.*.init_args.n_trials)",
    "ng_method": "nevergrad optimiser, for every attack (...search.init_args.method)",
}
_TYPES = {
    "out_dir": str | None,
    "exp_name": str | None,
    "idx": int | list[int] | None,
    "seed": int | None,
    "budget": int | None,
    "n_trials": int | None,
    "ng_method": str | None,
}


def add_shortcuts(parser: LightningArgumentParser) -> None:
    """Adds every shortcut to the parser."""
    for name, type_ in _TYPES.items():
        parser.add_argument(f"--{name}", type=type_, default=None, help=f"shortcut: {_HELP[name]}")


def apply_shortcuts(parser: LightningArgumentParser, config: Namespace) -> Namespace:
    """Writes the shortcuts that were given into the nested configuration.

    Args:
        parser: The parser, which validates the outcome.
        config: The parsed configuration.

    Returns:
        A configuration without shortcuts.

    Raises:
        UserError: If a shortcut has no setting to write to.
    """
    config = config.clone()
    given = {name: config[name] for name in _TYPES if config[name] is not None}
    for name in _TYPES:
        config[name] = None
    for name, value in given.items():
        match name:
            case "out_dir" | "exp_name":
                config.model[name] = value
            case "idx":
                config.data.idx = value
            case "seed":
                config.data.seeds = value
            case "budget" | "n_trials":
                for attack in config.data.attacks.values():
                    attack.init_args[name] = value
            case "ng_method":
                _set_method(config, value)
    parser.validate(config)
    return config


def _set_method(config: Namespace, method: str) -> None:
    for name, attack in config.data.attacks.items():
        search = attack.init_args.search
        if "method" not in search.init_args:
            raise UserError(
                f"--ng_method {method} does not apply to the attack {name!r}: its search is "
                f"{search.class_path}, not NevergradSearch."
            )
        search.init_args.method = method
