"""A command line with its configuration files, and what it asks for."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.fuzz.yaml_tree import Node, Path, Scalar, leaves, means

# What --defense and --d_param say.
DEFENSES = {
    "none": ("NoDefense", None),
    "noise": ("Noise", "std"),
    "clipping": ("Clipping", "bound"),
    "compression": ("Compression", "percentage"),
    "representation": ("Representation", "pruning_rate"),
}
SHORTCUTS: dict[str, Path] = {
    "out_dir": ("model", "out_dir"),
    "exp_name": ("model", "exp_name"),
    "trained_model": ("model", "trained_model"),
    "idx": ("data", "idx"),
    "seed": ("data", "seeds"),
    "gpu": ("trainer", "devices"),
}
FOR_EVERY_ATTACK = ("budget", "n_trials", "adaptive", "use_weight")

# Mappings from names of the user's choice: a later file may give them anew as a whole.
_NAMED = (("data", "defenses"), ("data", "attacks"), ("model", "attribute_classifiers"))


@dataclass
class Call:
    """What is typed, and which files lie in the current folder.

    Attributes:
        script: The command.
        words: Its arguments.
        files: Files in the current folder, by name.
        given: What files and options say, by path, in the order in which they are read.
        changes: What was changed in a shipped configuration, for people.
        mentions: Names and values of the changes, one of which a refusal has to tell.
        refused: Whether there is no other right answer than to refuse.
    """

    script: str
    words: list[str]
    files: dict[str, bytes]
    given: list[tuple[Path, Node]]
    changes: list[str] = field(default_factory=list)
    mentions: set[str] = field(default_factory=set)
    refused: bool = False

    def __repr__(self) -> str:
        return f"<{self.script} {shlex.join(self.words)}: {'; '.join(self.changes)}>"

    def neglected(self, config: dict[str, Any]) -> list[str]:
        """What the command line and its files say, and a resolved configuration does not.

        What is said later takes the place of what was said before, for the same setting or for
        one around it. A class that takes another's place need not have the other's arguments.
        """
        given = [entry for path, node in self.given for entry in _spelled_out(path, node, config)]
        found = []
        for position, (path, node) in enumerate(given):
            later = given[position + 1 :]
            if node is None or any(_same_setting(path, other) for other, _ in later):
                continue
            try:
                value = _lookup(config, path)
            except KeyError:
                replaced = any(
                    other[-1:] == ("class_path",) and path[: len(other) - 1] == other[:-1]
                    for other, _ in later
                ) or any(
                    path[:2] == named and any(other[:2] == named for other, _ in later)
                    for named in _NAMED
                )
                if not replaced and not means(node, None):
                    found.append(f"{'.'.join(path)} was given as {_text(node)} and is gone")
                continue
            if not means(node, value):
                found.append(f"{'.'.join(path)} was given as {_text(node)} and became {value!r}")
        return found


def _same_setting(path: Path, other: Path) -> bool:
    shorter = min(len(path), len(other))
    return path[:shorter] == other[:shorter]


def _lookup(config: Any, path: Path) -> Any:
    for step in path:
        if isinstance(config, dict) and step not in config and "init_args" in config:
            config = config["init_args"]  # ``--data.root`` for ``--data.init_args.root``
        if not isinstance(config, dict) or step not in config:
            raise KeyError(step)
        config = config[step]
    return config


def _text(node: Node) -> str:
    return repr(node.text) if isinstance(node, Scalar) else repr(node)


def _spelled_out(
    path: Path, node: Node, config: dict[str, Any]
) -> Iterator[tuple[Path, Node | None]]:
    """An option's setting in the nested configuration; several for one that is for all attacks.

    None in the place of what it is set to: anything will do.
    """
    name = path[0]
    if len(path) > 1 or name in {"model", "data", "trainer"}:
        yield from leaves(node, path)
        return
    is_name = name in {"ckpt_path", "defense"}  # there is a defense that is called none
    if not is_name and isinstance(node, Scalar) and means(node, None):
        if name in {"seed_everything", "weights_only"}:
            yield path, None  # left to its default, whatever was said before
        return  # a shortcut that is not used
    if name == "seed_everything" and isinstance(node, Scalar) and means(node, True):
        yield path, None  # any seed
        return
    attacks = (config.get("data") or {}).get("attacks") or {}
    if name in SHORTCUTS:
        yield SHORTCUTS[name], node
        if name == "gpu":
            yield ("trainer", "accelerator"), Scalar("gpu")
    elif name in FOR_EVERY_ATTACK:
        for attack in attacks:
            yield ("data", "attacks", attack, "init_args", name), node
    elif name == "ng_method" and isinstance(node, Scalar):
        for attack in attacks:
            search = ("data", "attacks", attack, "init_args", "search")
            own = {"adam": "AdamSearch", "BO": "TuRBOSearch"}.get(node.content)
            yield (*search, "class_path"), Scalar(f"_.{own or 'NevergradSearch'}")
            if own is None:
                yield (*search, "init_args", "method"), node
    elif name == "client" and isinstance(node, Scalar):
        client = ("model", "client_model")
        own_name = node.content in {"ResNet18", "ConvNet", "LeNet", "MLP"}
        class_name = node.content if own_name else "TorchvisionClassifier"
        yield (*client, "class_path"), Scalar(f"_.{class_name}")
        if not own_name:
            yield (*client, "init_args", "name"), node
    elif name == "defense" and isinstance(node, Scalar) and node.content in DEFENSES:
        where = ("data", "defenses", node.content)
        yield (*where, "class_path"), Scalar(f"_.{DEFENSES[node.content][0]}")
    elif name == "d_param":
        defenses = (config.get("data") or {}).get("defenses") or {}
        for defense in defenses:
            if DEFENSES.get(defense, (None, None))[1] is not None:
                yield ("data", "defenses", defense, "init_args", DEFENSES[defense][1]), node
    elif name not in {"dry_run", "print_config"}:
        yield path, node
