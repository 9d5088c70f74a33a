import pickle

import pytest

from ggl_lightning.errors import UserError, check_positive
from ggl_lightning.problems import Problems


def test_every_problem_is_told_once_in_the_order_it_was_found():
    problems = Problems()
    problems.add("budget is 0.")
    problems.of(lambda: check_positive("rounds", -1))
    problems.extend(["budget is 0.", "no disk."])

    with pytest.raises(UserError) as raised:
        problems.raise_if_any()

    assert raised.value.problems == (
        "budget is 0.",
        "rounds is -1: it must be a number greater than 0.",
        "no disk.",
    )
    assert str(raised.value).splitlines() == [
        "3 things stand in the way:",
        *(f"  - {problem}" for problem in raised.value.problems),
    ]


def test_one_problem_reads_as_itself_and_none_raises_nothing():
    problems = Problems()
    assert not problems
    problems.raise_if_any()

    problems.add("budget is 0.")

    assert problems
    with pytest.raises(UserError, match=r"^budget is 0\.$"):
        problems.raise_if_any()


def test_a_check_that_passes_gives_its_value_and_a_bug_passes_through():
    problems = Problems()

    assert problems.of(lambda: 3) == 3
    with pytest.raises(ZeroDivisionError):
        problems.of(lambda: 1 / 0)
    assert not problems


def test_problems_within_problems_are_listed_one_by_one():
    inner = Problems()
    inner.extend(["a.", "b."])
    outer = Problems()

    outer.of(inner.raise_if_any)

    with pytest.raises(UserError) as raised:
        outer.raise_if_any()
    assert raised.value.problems == ("a.", "b.")


def test_errors_survive_the_way_from_a_worker_process():
    error = pickle.loads(pickle.dumps(UserError("a.", "b.")))

    assert error.problems == ("a.", "b.")
