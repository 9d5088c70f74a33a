import pytest

from ggl_lightning.audit.report.answer import answer
from ggl_lightning.audit.report.estimates import Estimate
from ggl_lightning.audit.report.groups import Group
from ggl_lightning.audit.report.verdict import Finding
from ggl_lightning.audit.report.worst_case import WorstCase

CLASSES = {"none": "ggl_lightning.defenses.NoDefense", "noise": "ggl_lightning.defenses.Noise"}


def case(defense, verdict, accuracy=None, low=None, rate=0.05, shown=(), reason=None):
    named = {"attack": "matching", "by": "update", "rate": rate, "chance": 1 / 31}
    found = {"attack": "learned", "value": 22.15, "null": 13.94}
    entry = {
        "defense": defense,
        "verdict": verdict,
        "reason": reason,
        "shown": shown,
        "identification": named,
        "metric": "psnr",
        "metrics": {"psnr": {"auditor": found, "attacker": found}},
    }
    utility = Estimate(accuracy, low, None, reason=None if accuracy else "it was not trained")
    return WorstCase(entry, utility)


def groups(*defenses):
    entries = (
        {
            "defense": name,
            "attack": "matching",
            "defense_parameters": {"class": CLASSES.get(name, "")},
            "utility": {"majority_share": 0.64},
        }
        for name in defenses
    )
    return [Group(entry, "psnr") for entry in entries]


def row(attack, image=0, role="attack"):
    return {
        "role": role,
        "status": "done",
        "attack": attack.lower(),
        "image_index": image,
        "details": {"attack": {"class": f"ggl_lightning.attacks.{attack}"}},
    }


def told(cases, rows=()):
    lines = answer(cases, groups(*(each.defense for each in cases)), rows)
    return {line.head: line.items for line in lines}


def test_what_held_is_said_first_with_what_it_costs():
    cases = [
        case("none", "leak", 0.92, 0.88, 0.9, ("reconstruction", "identification")),
        case("noise", "no_leak", 0.8, 0.75),
    ]
    lines = answer(cases, groups("none", "noise"), [row("UpdateMatching")])
    assert [line.finding for line in lines[:2]] == [Finding.NO_LEAK, Finding.LEAK]
    [(defense, sentence)] = lines[0].items
    assert defense == "noise"
    assert "80% accuracy, without a defense 92%." in sentence
    [(defense, sentence)] = lines[1].items
    assert defense == "none"
    assert "matching names 90% of the private images among 30 others" in sentence
    assert (
        "learned comes as near as 22.15 dB PSNR to them, where its best null has 13.94" in sentence
    )


@pytest.mark.parametrize(
    ("shown", "names", "comes_near"),
    [
        (("identification",), True, False),
        (("reconstruction",), False, True),
    ],
)
def test_of_a_leak_only_what_shows_it_is_said(shown, names, comes_near):
    [(_, sentence)] = told([case("none", "leak", rate=0.9, shown=shown)])["Leaks"]
    assert ("names 90% of the private images" in sentence) is names
    assert ("comes as near as 22.15 dB" in sentence) is comes_near


@pytest.mark.parametrize(("low", "learnt"), [(0.6, False), (0.65, True)])
def test_an_accuracy_that_may_be_the_commonest_class_alone_is_called_that(low, learnt):
    [(_, sentence)] = told([case("noise", "no_leak", 0.66, low)])[
        "Held against everything that was tried"
    ]
    assert ("nothing was learnt" in sentence) is not learnt


def test_a_cost_that_was_not_measured_is_said_to_be_unknown():
    [(_, sentence)] = told([case("noise", "no_leak")])["Held against everything that was tried"]
    assert "it was not trained" in sentence


def test_it_is_said_if_nothing_held_and_not_if_nothing_was_judged():
    assert "Held" in told([case("none", "leak")])
    few = told([case("none", "not_judged", reason="of 4 private images nothing can be told")])
    assert "Held" not in few
    assert few["Not judged"] == (("none", "Of 4 private images nothing can be told."),)


def test_what_was_not_tried_is_named():
    rows = [row("UpdateMatching"), row("LearnedInversion", 1), row("FirstLinearInversion", 2, "x")]
    found = told([case("none", "leak")], rows)
    assert found["Tried"] == ((None, "updatematching, learnedinversion, on 2 private images."),)
    [(_, missing), (_, rest)] = found["Not tried"]
    assert "first linear layer" in missing
    assert "generative gradient leakage" in missing
    assert "learnt from public images" not in missing
    assert "may show more" in rest


def test_there_is_no_answer_without_attacks():
    assert answer([], [], []) == []
