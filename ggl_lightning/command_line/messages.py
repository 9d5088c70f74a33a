"""Makes one sentence of jsonargparse's reports, which list every type a value was tried with."""

from __future__ import annotations

import argparse
import difflib
import re
import sys
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jsonargparse

from ggl_lightning.command_line.value_text import as_written

_KEY = re.compile(r'Parser key "(?P<key>[^"]+)"(?: element \d+)?:(?P<rest>.*)', re.DOTALL)
_CLASS = re.compile(r"Problem with given class_path '(?P<path>[^']*)':\n(?P<rest>.*)", re.DOTALL)
_CALLABLE = re.compile(
    r"Type .*? expects a function or a callable class: (?P<rest>.*)\. Got value: (?P<value>.*)",
    re.DOTALL,
)
_CALLABLE_OF_UNION = re.compile(
    r"Type .*? expects a function or a callable class: (?P<rest>.*)", re.DOTALL
)
_UNION = re.compile(
    r"Does not validate against any of the Union subtypes\nSubtypes: .*?\nErrors:\n(?P<errors>.*)\n"
    r"Given value type: (?P<type>[^\n]*)\nGiven value: (?P<value>.*)",
    re.DOTALL,
)
_EXPECTED = re.compile(r"Expected an? (?P<type>.*?)(?:\. Got value: (?P<value>.*))?$", re.DOTALL)
_NOT_SUBCLASS = re.compile(
    r"Not a valid subclass of (?P<type>\w+)(?:\. Got value: (?P<value>.*?))?(?:\n|$)"
)
_UNKNOWN = re.compile(
    r"(?:Group '(?P<group>[^']*)' does not accept option|"
    r"Subcommand '(?P<command>[^']*)' does not accept option|Option) '(?P<option>[^']*)'"
)
_NO_NAME = re.compile(r'(?:Spaces not allowed in keys|Empty nested key): "(?P<option>[^"]*)"')
_UNRECOGNISED = re.compile(r"unrecognized arguments: (?P<rest>.*)", re.DOTALL)
_REQUIRED = re.compile(r"the following arguments are required: (?P<names>.*)")
_NO_ATTRIBUTE = re.compile(
    r"(?:module|type object) '(?P<module>[^']*)' has no attribute '(?P<name>\w+)'"
)
_NO_MODULE = re.compile(r"No module named '(?P<module>[^']*)'")
_NO_PATH = re.compile(r"Expected a dot import path string: (?P<name>.*)")
_OTHER_CLASS = re.compile(
    r"(?:Import path (?P<path>\S+) does not correspond to a subclass of|"
    r"Expected '(?P<path2>\S+)' to be a (?:subclass of|function that returns)) "
    r"(?:<class ')?(?P<type>[\w.]+)"
)
_ABSTRACT = re.compile(r"Expected an instantiatable class, but (?P<type>[\w.]+) is abstract")
_NO_OBJECT = re.compile(
    r"(?:Unexpected import object|Not possible to determine the import path for object) "
    r"(?P<what>.*?)\.?$"
)
_NO_CLASS_PATH = re.compile(
    r"unhashable type: |argument of type '\w+' is not iterable|Expected an import path or a sub"
)
_OF_ANOTHER_CLASS = re.compile(r"Import path does not correspond to a subclass of \w+$")
_NO_FILE_PATH = re.compile(r"Not of type Path: ")
_LOADING = re.compile(r"Unable to load config (?P<value>.*?)\n+\s*- (?P<rest>.*)", re.DOTALL)
_NO_CONFIG = re.compile(r"Unable to load config [\"'](?P<value>.*)[\"']$")
_TRIED_PATH = re.compile(
    r"-? ?Expected a path but .*? either not accessible or invalid\n- (?P<rest>.*)", re.DOTALL
)
_FILE = re.compile(
    r"(?P<what>File does not exist|Path is not a file|File is not readable): '(?P<path>.*)'"
)
_CLASS_PATH_OF_VALUE = re.compile(r"class_path='(?P<path>[^']*)'")

_TYPES = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
    "list": "a list",
    "dict": "settings by name",
    "Iterable": "a list",
    "NoneType": "null",
}
_PACKAGES = ("ggl_lightning", "pytorch_lightning", "torch.optim")
_LONGEST = 400  # characters of a value or a text of others


@dataclass(frozen=True)
class _Reason:
    """One reason for which a configuration is refused.

    Attributes:
        text: A sentence if `expected` is empty.
        keys: Names of the settings around it, outermost first.
        owner: The class whose argument is wrong, if any.
        expected: What the value of the innermost key should be, if that is all that is wrong.
        value: That value, as text.
        unknown: The option that is not known; `owner` or a group has others.
        group: The group that it is not in.
        is_weak: Whether it only says that a text is no class.
    """

    text: str = ""
    keys: tuple[str, ...] = ()
    owner: str = ""
    expected: tuple[str, ...] = ()
    value: str = ""
    unknown: str = ""
    group: str = ""
    is_weak: bool = False

    @property
    def is_specific(self) -> bool:
        """Whether it says more than that a value has another type."""
        return not self.is_weak and (not self.expected or bool(self.owner))


def explain(parser: jsonargparse.ArgumentParser, message: str) -> str:
    """What is wrong, in one sentence or two.

    Args:
        parser: What refused; it knows the options that there are.
        message: Its report.

    Returns:
        Which setting is wrong, what was expected and, for names, the nearest known ones.
    """
    return _sentence(_reason(message.strip()), parser)


def one_line(text: str) -> str:
    """A text of several lines in one, cut where it is very long."""
    joined = " ".join(text.split())
    return joined if len(joined) <= _LONGEST else f"{joined[:_LONGEST]} ..."


def nearest(name: str, known: Iterable[str], cutoff: float = 0.6) -> list[str]:
    """Known names close to one that is not known, the closest first.

    Args:
        name: What was written.
        known: All names there are.
        cutoff: How alike they must be, in [0, 1].

    Returns:
        At most three.
    """
    spelled: dict[str, str] = {}
    for each in known:
        spelled.setdefault(each.lower(), each)  # case is the commonest slip
    return [spelled[each] for each in difflib.get_close_matches(name.lower(), spelled, 3, cutoff)]


def suggestion(found: Sequence[str]) -> str:
    """A question with names to choose from, after a blank; nothing if there are none."""
    return f" Did you mean {' or '.join(found)}?" if found else ""


def _reason(report: str) -> _Reason:
    """The innermost reason in a report."""
    report = textwrap.dedent(report.strip("\n")).strip()
    if found := _KEY.match(report):
        inner = _reason(found["rest"])
        keys = inner.keys if inner.keys[:1] == (found["key"],) else (found["key"], *inner.keys)
        return replace(inner, keys=keys)
    if found := _TRIED_PATH.match(report):
        return _reason(found["rest"])
    if found := _LOADING.match(report):
        return _reason(found["rest"])
    if found := _CLASS.match(report):
        return _within(found["path"], _reason(found["rest"]))
    if found := _CALLABLE.match(report):
        path = _CLASS_PATH_OF_VALUE.search(found["value"])
        return _within(path["path"] if path else found["value"], _reason(found["rest"]))
    if found := _CALLABLE_OF_UNION.match(report):
        inner = _reason(found["rest"])
        # The other types of the union say of which class.
        says_less = _NO_MODULE.match(inner.text) or _NO_ATTRIBUTE.match(inner.text)
        return replace(inner, is_weak=True) if says_less else inner
    if found := _UNION.match(report):
        value = "null" if "NoneType" in found["type"] else found["value"]
        return _of_union(found["errors"], value)
    return _leaf(report)


def _of_union(errors: str, value: str) -> _Reason:
    """The attempt that got furthest; if none did, all that was expected."""
    attempts = re.split(r"^- ", textwrap.dedent(errors), flags=re.MULTILINE)[1:]
    reasons = [_reason(_undent(attempt)) for attempt in attempts]
    specific = [reason for reason in reasons if reason.is_specific]
    if specific:
        return max(specific, key=lambda reason: (bool(reason.unknown), len(reason.keys)))
    expected = dict.fromkeys(each for reason in reasons for each in reason.expected)
    weak = [reason for reason in reasons if reason.is_weak]
    if weak and not expected.keys() - {"null"}:
        return weak[0]
    return _Reason(expected=tuple(expected), value=value)


def _undent(attempt: str) -> str:
    first, _, rest = attempt.partition("\n")
    return f"{first}\n{textwrap.dedent(rest)}" if rest else first


def _within(class_path: str, inner: _Reason) -> _Reason:
    """A reason inside a class's arguments, or one for which there is no such class."""
    if found := _NO_MODULE.match(inner.text):
        return _Reason(text=_no_module(class_path, found["module"]))
    if found := _NO_ATTRIBUTE.match(inner.text):
        return _Reason(text=_no_class(class_path))
    return inner if inner.owner else replace(inner, owner=class_path)


def _leaf(report: str) -> _Reason:
    if found := _UNKNOWN.match(report):
        group = found["group"] or found["command"] or ""
        return _Reason(unknown=found["option"], group=group)
    if found := _NO_NAME.match(report):
        return _Reason(unknown=found["option"])
    if found := _NO_PATH.match(report):
        return _Reason(text=_no_class(found["name"]), is_weak=True)
    if found := _OTHER_CLASS.match(report):
        return _Reason(text=_other_class(found["path"] or found["path2"], found["type"]))
    if _NO_CLASS_PATH.match(report):
        text = "expected the path of a class as class_path, with its init_args."
        return _Reason(text=text, is_weak=True)
    if _OF_ANOTHER_CLASS.match(report):
        return _Reason(text=f"{report}.", is_weak=True)
    if found := _ABSTRACT.match(report):
        return _Reason(expected=(f"a class_path of a {_short(found['type'])}",))
    if found := _NO_OBJECT.match(report):
        return _Reason(text=f"{one_line(found['what'])} is no class.")
    if _NO_FILE_PATH.match(report):
        return _Reason(expected=("a path",))
    if found := _NOT_SUBCLASS.match(report):
        expected = f"a class_path of a {found['type']}, with its init_args"
        return _Reason(expected=(expected,), value=found["value"] or "")
    if found := _EXPECTED.match(report):
        return _Reason(expected=(_type_name(found["type"]),), value=found["value"] or "")
    if found := _FILE.match(report):
        state = {"File does not exist": "does not exist", "Path is not a file": "is not a file"}
        return _Reason(
            text=f"the file {found['path']!r} {state.get(found['what'], 'cannot be read')}."
        )
    if found := _NO_CONFIG.match(report):
        return _Reason(
            text=f"there is no file {found['value']!r} with settings by name, nor is it a mapping."
        )
    if "codec can't decode" in report:
        return _Reason(text="the file is not text in UTF-8: save it as UTF-8.")
    return _Reason(text=one_line(as_written(report)))


def _type_name(text: str) -> str:
    """How a user would call a type that is printed."""
    if found := re.match(r"member of <enum '\w+'>: \{(?P<names>.*)\}$", text):
        return f"one of {found['names'].replace(',', ', ')}"
    if found := re.match(r"typing\.Literal\[(?P<values>.*)\]$", text):
        return f"one of {found['values']}"
    found = re.match(r"<class '(?:[\w.]*\.)?(\w+)'>$", text)
    name = found[1] if found else text
    return _TYPES.get(name, name)


def _sentence(reason: _Reason, parser: jsonargparse.ArgumentParser) -> str:
    if reason.unknown:
        return _unknown(reason, parser)
    where = _where(reason)
    if reason.expected:
        return f"{where} is {_shown(reason.value)}: {_expectation(reason)}"
    if found := _UNRECOGNISED.match(reason.text):
        return _unrecognised(found["rest"], reason, parser)
    if found := _REQUIRED.match(reason.text):
        return f"{found['names']} must be given{_of(reason)}."
    if reason.keys == ("config",):
        return f"--config: {reason.text}"
    text = reason.text if reason.text.endswith((".", "?", "!")) else f"{reason.text}."
    return f"{where}: {text}" if where else text[:1].upper() + text[1:]


def _expectation(reason: _Reason) -> str:
    others = [each for each in reason.expected if each != "null"]
    wanted = " or ".join([*others, *(["null"] if "null" in reason.expected else [])])
    if "text" in reason.expected and re.fullmatch(r"[-+.\w]+", reason.value):
        return (
            f"expected {wanted}, but without quotes YAML takes it for a number or a truth value. "
            f"Write it in quotes, as it is meant."
        )
    return f"expected {wanted}."


def _shown(value: str) -> str:
    return one_line(as_written(value)) or "empty"


def _where(reason: _Reason) -> str:
    """The setting, as a user would look for it."""
    if not reason.owner or len(reason.keys) < 2:
        return ".".join(reason.keys)
    return f"{reason.keys[-1]} of {_short(reason.owner)} (in {'.'.join(reason.keys[:-1])})"


def _of(reason: _Reason) -> str:
    keys = f" (in {'.'.join(reason.keys)})" if reason.keys else ""
    return f" for {_short(reason.owner)}{keys}" if reason.owner else keys


def _unknown(reason: _Reason, parser: jsonargparse.ArgumentParser) -> str:
    *above, option = reason.unknown.split(".")
    if reason.owner:
        own = arguments_of(reason.owner)
        if above and above[0] not in own:  # what is inside it is not the mistake
            option = above[0]
        near = nearest(option, own)
        keys = f" (in {'.'.join(reason.keys)})" if reason.keys else ""
        return f"{_short(reason.owner)} has no setting {option!r}{keys}.{suggestion(near)}"
    group = ".".join([*([reason.group] if reason.group else []), *above])
    known = _settings(parser)
    inside = f"{group}." if group else ""
    siblings = {
        name.removeprefix(inside).split(".")[0] for name in known if name.startswith(inside)
    }
    if " " in option:  # it is not said where that stands
        siblings = {name.rpartition(".")[2] for name in known}
    near = nearest(option, siblings)
    if not group:
        return f"There is no setting {option!r}.{suggestion(near)}"
    return f"{group} has no setting {option!r}.{suggestion(near)}"


def _unrecognised(rest: str, reason: _Reason, parser: jsonargparse.ArgumentParser) -> str:
    argument = rest.split()[0] if rest.split() else rest
    name = argument.split("=")[0]
    if reason.owner:
        return _unknown(replace(reason, unknown=name.lstrip("-")), parser)
    if not name.startswith("-"):
        return f"{argument!r} is not expected: settings are given as --name value."
    options = [option for action in parser._actions for option in action.option_strings]
    known = [each for each in options if each.startswith("--") and not each.endswith(".help")]
    if name in known:  # with what follows it in quotes
        return f"{rest!r} is one argument: an option and its value are two. Take off the quotes."
    found = nearest(name, known, cutoff=0.7)
    return f"There is no option {name}.{suggestion(found)}"


def _settings(parser: jsonargparse.ArgumentParser) -> list[str]:
    """All settings of a parser by their full names, those of its subcommands without its name."""
    names = []
    for action in parser._actions:
        if isinstance(action.choices, dict):
            names += [name for inner in action.choices.values() for name in _settings(inner)]
        names.append(action.dest)
    return names


def arguments_of(class_path: str) -> list[str]:
    """The arguments of a class, as jsonargparse knows them.

    Args:
        class_path: Its import path, or a class's name alone.

    Returns:
        Their names; none if there is no such class.
    """
    path = class_path if "." in class_path else next(iter(_known_paths(class_path)), class_path)
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--found", type=type)
    try:
        found = parser.parse_args([f"--found={path}"]).found  # imports what it may
    except (argparse.ArgumentError, AttributeError, ImportError):
        return []
    names: list[str] = parser.add_class_arguments(found, fail_untyped=False)
    return names


def _short(class_path: str) -> str:
    return class_path.rpartition(".")[2]


def _no_module(class_path: str, missing: str) -> str:
    root = class_path.partition(".")[0]
    if missing.partition(".")[0] != root:
        return f"{class_path} cannot be imported: there is no module {missing}."
    here = (
        f" {root} lies in the current folder: Python looks for modules there with PYTHONPATH=. set."
        if Path(root).is_dir() or Path(f"{root}.py").is_file()
        else ""
    )
    return (
        f"{class_path!r} cannot be imported, since there is no module {missing!r}: expected the "
        f"path of a class, as package.module.Class.{here or _alike(class_path)}"
    )


def _no_class(class_path: str) -> str:
    return f"there is no class {class_path!r}.{_alike(class_path)}"


def _alike(class_path: str) -> str:
    """Classes with the same or a similar name, where they really are."""
    name = _short(class_path)
    same = _known_paths(name)
    if not same:
        module_name = class_path.rpartition(".")[0]
        own = module_name.startswith(_PACKAGES) or not module_name
        known = {path.rpartition(".")[2]: path for path in reversed(_classes()) if own}
        for each, value in vars(sys.modules.get(module_name, object)).items():
            if isinstance(value, type):
                known.setdefault(each, f"{module_name}.{each}")
        same = [known[each] for each in nearest(name, known)]
    if not same and "." not in class_path:
        return " Write the module too: package.module.Class."
    return suggestion(same[:2])


def _other_class(class_path: str, base: str) -> str:
    base = _short(base)
    if base == "Module":  # hundreds
        return f"{class_path} is no torch.nn.Module, nor a function that is said to return one."
    choices = [path for path in _classes() if base in _bases(path) and _short(path) != base]
    if not choices:
        return f"{class_path} is no {base}."
    return f"{class_path} is no {base}. Those that are: {', '.join(choices[:8])}."


def _bases(path: str) -> set[str]:
    module, _, name = path.rpartition(".")
    return {each.__name__ for each in getattr(sys.modules[module], name).__mro__}


def _known_paths(name: str) -> list[str]:
    return [path for path in _classes() if path.rpartition(".")[2] == name]


def _classes() -> list[str]:
    """Classes of the packages that configurations name, each once and where users find it."""
    shortest: dict[Any, str] = {}
    for module_name, module in sorted(sys.modules.items(), key=lambda item: len(item[0])):
        if not module_name.startswith(_PACKAGES) or "._" in module_name:
            continue
        for name, value in list(vars(module).items()):
            if name.startswith("_") or not isinstance(value, type):
                continue
            if f"{value.__module__}.".startswith(f"{module_name}."):
                shortest.setdefault(value, f"{module_name}.{name}")
    return sorted(shortest.values())
