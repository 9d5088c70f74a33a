"""YAML as its writer means it: names are the text as written, and nothing is said twice.

YAML 1.1 reads ``010`` as 8, ``1:30`` as 90, ``2024_01_01`` as 20240101 and ``off`` as false, and
lets the last of two equal keys win.
"""

from __future__ import annotations

import re
from typing import Any

import yaml
from jsonargparse import _loaders_dumpers, set_dumper, set_loader
from yaml.representer import RepresenterError

from ggl_lightning.command_line.refusal import Refusal
from ggl_lightning.errors import UserError

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULL = re.compile(r"(?:~|null|Null|NULL|)$")
_TRUTH = re.compile(r"(?:true|True|TRUE|false|False|FALSE)$")
_FLOAT = re.compile(
    r"""(?:[-+]?[0-9]+\.[0-9]*(?:[eE][-+]?[0-9]+)?
    |[-+]?\.[0-9]+(?:[eE][-+]?[0-9]+)?
    |[-+]?[0-9]+[eE][-+]?[0-9]+
    |[-+]?\.(?:inf|Inf|INF)
    |\.(?:nan|NaN|NAN))$""",
    re.VERBOSE,
)
_MERGE = "tag:yaml.org,2002:merge"


class _Loader(_Base):
    """Resolves nothing but what its subclasses list."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._seen: set[int] = set()

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Makes keys the text as written, before ``<<`` is resolved.

        Raises:
            Refusal: With a `UserError`, if a key is there twice or is not plain text.
        """
        if id(node) not in self._seen:  # once it is flattened, keys may override merged ones
            self._seen.add(id(node))
            _name_keys(node)
        super().flatten_mapping(node)


def _name_keys(node: yaml.MappingNode) -> None:
    lines: dict[str, int] = {}
    for key, _ in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise Refusal(UserError(f"line {line} of the YAML has a key that is not a name."))
        name = key.value
        if name in lines:
            where = f"lines {lines[name]} and {line}" if lines[name] != line else f"line {line}"
            raise Refusal(
                UserError(
                    f"{name!r} stands twice in one mapping of the YAML ({where}): one of the two "
                    "would be lost. Rename or remove one."
                )
            )
        lines[name] = line
        if key.tag != _MERGE:
            key.tag = "tag:yaml.org,2002:str"


class WrittenLoader(_Loader):
    """Reads files: only what looks the same in every reading is more than text.

    Where a setting is a number after all, its type makes one of the text.
    """


class ValueLoader(_Loader):
    """Makes numbers and truth values of texts, where a setting's type asks for them."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._text = stream

    def get_single_data(self) -> Any:
        """The value; a text that is nothing but a comment is that text, and no null."""
        value = super().get_single_data()
        return self._text if value is None and _is_comment(self._text) else value

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """A whole number in base 10, also with a leading zero."""
        return int(self.construct_scalar(node))


ValueLoader.add_constructor("tag:yaml.org,2002:int", ValueLoader.construct_yaml_int)

for _loader in (WrittenLoader, ValueLoader):
    _loader.add_implicit_resolver("tag:yaml.org,2002:null", _NULL, ["~", "n", "N", ""])
    _loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))
    _loader.add_implicit_resolver(_MERGE, re.compile(r"<<$"), ["<"])
WrittenLoader.add_implicit_resolver("tag:yaml.org,2002:bool", _TRUTH, list("tTfF"))
WrittenLoader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"-?(?:0|[1-9][0-9]*)$"), list("-0123456789")
)
ValueLoader.add_implicit_resolver(
    "tag:yaml.org,2002:bool",
    re.compile(r"(?:true|false|yes|no|on|off)$", re.IGNORECASE),
    list("tTfFyYnNoO"),
)
ValueLoader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"[-+]?[0-9]+(?:_[0-9]+)*$"), list("-+0123456789")
)


class _Dumper(yaml.SafeDumper):
    """Writes what is a text or a number with more to it, such as an enumeration's, as that."""


_Dumper.add_multi_representer(str, lambda dumper, text: dumper.represent_str(str.__str__(text)))
_Dumper.add_multi_representer(int, lambda dumper, number: dumper.represent_int(int(number)))
_Dumper.add_multi_representer(float, lambda dumper, number: dumper.represent_float(float(number)))


def _is_comment(text: str) -> bool:
    return text.lstrip().startswith("#")


def read_yaml(text: str, path: str | None = None) -> Any:
    """Reads a value or a whole configuration.

    Args:
        text: YAML.
        path: Name of the file it is from, if it is a whole configuration; ``""`` if that was given
            on the command line.

    Returns:
        What it says.

    Raises:
        yaml.YAMLError: If a value is not YAML.
        Refusal: With a `UserError`, if a key is there twice or a configuration is no mapping.
    """
    try:
        value = yaml.load(text, Loader=WrittenLoader)
    except yaml.YAMLError as error:
        if not path:
            raise
        raise Refusal(UserError(f"{_file(path)} is not YAML: {_place(error)}.")) from error
    except Refusal as refusal:
        if not path or not isinstance(refusal.error, UserError):
            raise
        raise Refusal(UserError(f"{_file(path)}: {refusal.error}")) from None
    if path is None and value is None and _is_comment(text):
        return text
    if path is not None and not isinstance(value, dict):
        problem = "is empty" if value is None else f"holds {value!r}"
        raise Refusal(
            UserError(
                f"{_file(path)} {problem}: it must hold settings by name, as in 'model:' and "
                "'data:'."
            )
        )
    return value


def write_yaml(value: Any) -> str:
    """Writes a configuration, keys in their order.

    Raises:
        Refusal: With a `UserError`, if there is something in it that YAML has no words for.
    """
    try:
        return yaml.dump(
            value, Dumper=_Dumper, default_flow_style=False, allow_unicode=True, sort_keys=False
        )
    except RepresenterError as error:
        raise Refusal(
            UserError(
                f"A setting is {error.args[-1]}, which a configuration file cannot hold: give the "
                "argument that has this as its default, as text or a number."
            )
        ) from error


def use_for_configurations() -> None:
    """Has jsonargparse read and write YAML in this way, in files and on the command line."""
    set_loader("yaml", read_yaml, (yaml.YAMLError,))
    set_dumper("yaml", write_yaml)
    # No option says how a text becomes the number that a type asks for.
    internals: Any = _loaders_dumpers
    internals.yaml_default_loader = ValueLoader


def _file(path: str) -> str:
    return f"The configuration file {path!r}" if path else "The configuration after --config"


def _place(error: yaml.YAMLError) -> str:
    """What is wrong where, in one line."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or next(iter(str(error).splitlines()), "unreadable")
    return f"{problem} (line {mark.line + 1}, column {mark.column + 1})" if mark else problem
