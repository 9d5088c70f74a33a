"""Short command-line options for settings that lie deep in an audit's configuration.

Each is only another way to say what can be said in the nested configuration. They start out as
None, which leaves the configuration alone, and are cleared once applied, so that the resolved
configuration says everything in one place. Names and meaning are those of the published code.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from pytorch_lightning.cli import LightningArgumentParser

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
    "budget": (int | None, "for every attack (data.attacks.*.init_args.budget)"),
    "n_trials": (int | None, "for every attack (data.attacks.*.init_args.n_trials)"),
    "adaptive": (bool | None, "for every attack (data.attacks.*.init_args.adaptive)"),
    "use_weight": (bool | None, "for every attack (data.attacks.*.init_args.use_weight)"),
    "ng_method": (str | None, "search of every attack: a nevergrad optimiser, adam or BO"),
    "client": (str | None, "client model by name; --model NAME is the same (model.client_model)"),
    "trained_model": (str | None, "a trained client model's file (model.trained_model)"),
    "gpu": (int | None, "which GPU to use (trainer.accelerator, trainer.devices)"),
}
DRY_RUN = "dry_run"
_FLAGS = ("adaptive", "use_weight", DRY_RUN)  # may stand alone, as in the published code


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


def spell_out(arguments: list[str]) -> list[str]:
    """Rewrites the published code's spellings that the parser would read otherwise.

    ``--adaptive`` and ``--use_weight`` may stand without a value; ``--model NAME`` names a client
    model (for the parser ``--model FILE`` is a configuration file of the ``model`` section, and
    still is when there is such a file).
    """
    spelled: list[str] = []
    for position, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        following = arguments[position + 1] if position + 1 < len(arguments) else "--"
        if name == "--model" and not Path(value if equals else following).is_file():
            spelled.append(f"--client{equals}{value}")
        elif name.removeprefix("--") in _FLAGS and not equals and following.startswith("-"):
            spelled.append(f"{name}=true")
        else:
            spelled.append(argument)
    return spelled


def apply_shortcuts(parser: LightningArgumentParser, config: Namespace) -> Namespace:
    """Writes the shortcuts that were given into the nested configuration.

    Args:
        parser: The parser, which validates the outcome and fills in defaults.
        config: The parsed configuration.

    Returns:
        A configuration without shortcuts.

    Raises:
        UserError: If a shortcut's value is not known, or ``d_param`` has no defense to go to.
    """
    config = config.clone()
    given = {name: config[name] for name in _OPTIONS}
    for name in _OPTIONS:
        config[name] = None
    for name in ("out_dir", "exp_name", "trained_model"):
        if given[name] is not None:
            config.model[name] = given[name]
    if given["idx"] is not None:
        config.data.idx = given["idx"]
    if given["seed"] is not None:
        config.data.seeds = given["seed"]
    if given["gpu"] is not None:
        config.trainer.accelerator, config.trainer.devices = "gpu", [given["gpu"]]
    if given["client"] is not None:
        config.model.client_model = _client(given["client"], config.model.client_model)
    if given["defense"] is not None or given["d_param"] is not None:
        config.data.defenses = _defense(given["defense"], given["d_param"])
    for attack in config.data.attacks.values():
        for name in ("budget", "n_trials", "adaptive", "use_weight"):
            if given[name] is not None:
                attack.init_args[name] = given[name]
        if given["ng_method"] is not None:
            attack.init_args.search = _search(given["ng_method"], attack.init_args.search)
    return parser.parse_object(config)


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


def _search(method: str, current: Namespace) -> Namespace:
    if method == "adam":
        return _component(f"{_SEARCHES}.AdamSearch")
    if method == "BO":
        return _component(f"{_SEARCHES}.turbo.TuRBOSearch")
    if "population" in current.init_args:
        return _component(
            f"{_SEARCHES}.NevergradSearch", method=method, population=current.init_args.population
        )
    return _component(f"{_SEARCHES}.NevergradSearch", method=method)


def _client(name: str, current: Namespace) -> Namespace:
    init_args: dict[str, Any] = {}
    if "num_classes" in current.init_args:
        init_args["num_classes"] = current.init_args.num_classes
    if name in _OWN_CLIENTS:
        return _component(f"ggl_lightning.clients.{name}", **init_args)
    return _component("ggl_lightning.clients.TorchvisionClassifier", name=name, **init_args)
