"""YAML keeps what its writer meant, where YAML 1.1 would read something else."""

import enum

import numpy as np
import pytest

from ggl_lightning.cli import run_command
from ggl_lightning.clients.cli import main
from ggl_lightning.command_line.refusal import Refusal, surfacing
from ggl_lightning.command_line.yaml_text import read_yaml, write_yaml
from ggl_lightning.errors import UserError


@pytest.mark.parametrize(
    "text",
    ["010", "0123", "2024_01_01", "1:30", "1:30.5", "0x10", "0b11", "yes", "off", "2024-01-01"],
)
def test_what_yaml_would_read_otherwise_stays_text(text):
    assert read_yaml(f"a: {text}") == {"a": text}
    assert read_yaml(f"[{text}]") == [text]


@pytest.mark.parametrize(
    ("text", "value"),
    [("10", 10), ("-3", -3), ("0", 0), ("1.5", 1.5), ("1e-3", 1e-3), ("true", True), ("~", None)],
)
def test_what_has_one_reading_is_read(text, value):
    found = read_yaml(f"a: {text}")["a"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("name", ["0.1", "off", "no", "null", "~", "1e3", "010", "1:30", "true"])
def test_keys_are_the_text_as_written(name):
    assert read_yaml(f"{name}: x") == {name: "x"}


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a: 1\nb: 2\na: 3", "lines 1 and 3"),
        ("x:\n  a: 1\n  'a': 2", "lines 2 and 3"),
        ("x: {a: 1, a: 1}", "line 1"),
        ("- {0.10: 1, b: 2,\n   a: 1, a: 2}", "line 2"),
        ("base: &base {a: 1}\nx:\n  <<: *base\n  a: 2\n  a: 3", "lines 4 and 5"),
    ],
)
def test_a_key_that_is_there_twice_is_refused_by_name_and_line(text, place):
    with pytest.raises(UserError, match="'a' stands twice") as refused, surfacing():
        read_yaml(text)
    assert place in str(refused.value)


def test_merged_keys_may_be_overridden_also_where_merges_are_merged():
    text = "a: &a {x: 1}\nb: &b\n  <<: *a\n  x: 2\nc:\n  <<: *b\n  x: 3\n"
    assert read_yaml(text) == {"a": {"x": 1}, "b": {"x": 2}, "c": {"x": 3}}


def test_equal_numbers_are_different_names():
    assert read_yaml("1: a\n1.0: b\n01: c") == {"1": "a", "1.0": "b", "01": "c"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is empty"),
        ("# nothing\n", "is empty"),
        ("- a", r"holds \['a'\]"),
        ("a: [1", r"not YAML: .* \(line 2, column 1\)"),
        ("? [a, b]\n: c", "a key that is not a name"),
    ],
)
def test_a_configuration_that_is_none_is_refused_with_its_file(text, problem):
    with pytest.raises(UserError, match=f"'c.yaml'.*{problem}"), surfacing():
        read_yaml(text, path="c.yaml")


def test_no_union_of_types_swallows_a_refusal():
    assert not issubclass(Refusal, Exception)


class Interval(enum.StrEnum):
    step = "step"


class Count(enum.IntEnum):
    two = 2


def test_enumerations_are_written_as_what_they_stand_for():
    told = {"b": Interval.step, "a": [Count.two, True, np.float64(0.5), None], "c": "010"}
    assert read_yaml(write_yaml(told)) == {"b": "step", "a": [2, True, 0.5, None], "c": "010"}
    assert list(read_yaml(write_yaml(told))) == ["b", "a", "c"]


def test_what_yaml_has_no_words_for_is_refused():
    with pytest.raises(UserError, match="1j, which a configuration file cannot hold"), surfacing():
        write_yaml({"a": {"b": 1j}})


def test_settings_with_an_enumeration_by_default_are_printed(capsys):
    arguments = ["fit", "--config=configs/client/synthetic32.yaml", "--print_config"]
    with pytest.raises(SystemExit) as end:
        run_command(main, [*arguments, "--trainer.callbacks=pytorch_lightning.callbacks.Timer"])
    assert end.value.code == 0
    assert "interval: step\n" in capsys.readouterr().out
