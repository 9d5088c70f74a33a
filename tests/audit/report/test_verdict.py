"""Verdicts follow from the intervals, and say no more than they do."""

import pytest

from ggl_lightning.audit.report.groups import Group, read_groups
from ggl_lightning.audit.report.verdict import Finding, judge
from ggl_lightning.audit.statistics import compute_statistics
from tests.audit.result_rows import small_audit


def leakage(value, low=None, high=None, count=10):
    ends = {"low": low, "high": high, "count": count}
    return {"psnr": {"value": value, "null": "null_other", **ends}}


def rates(low, high, top5=None, count=10):
    top = {"rate": (low + high) / 2, "low": low, "high": high, "count": count, "chance": 0.05}
    five = {**top, "chance": 0.25}
    if top5 is not None:
        five |= {"low": top5[0], "high": top5[1]}
    return {"top1": top, "top5": five, "decoys": 19}


def group(**entry):
    return Group({"defense": "d", "attack": "a", "cases": 10, **entry}, "psnr")


NOT_RUN = {"pixel": {"missing": "no decoys"}, "feature": {"missing": "no decoys"}}


@pytest.mark.parametrize(
    ("interval", "pixel", "finding"),
    [
        ((0.3, 0.1, 0.5), None, Finding.LEAK),
        ((0.3, -0.1, 0.5), None, Finding.NO_LEAK),
        ((0.3, 0.0, 0.5), None, Finding.NO_LEAK),  # touches 0
        ((-0.3, -0.5, -0.1), None, Finding.NO_LEAK),
        ((0.3, None, None), None, Finding.UNDECIDED),
        ((-0.3, -0.5, -0.1), rates(0.2, 0.9), Finding.LEAK),
        ((0.0, -0.1, 0.1), rates(0.01, 0.9), Finding.NO_LEAK),
        ((0.0, -0.1, 0.1), rates(0.01, 0.9, top5=(0.3, 0.9)), Finding.LEAK),
        ((0.3, None, None), rates(0.2, 0.9), Finding.LEAK),
        ((0.3, None, None), rates(0.01, 0.9), Finding.UNDECIDED),
    ],
)
def test_findings(interval, pixel, finding):
    identification = {**NOT_RUN, **({"pixel": pixel} if pixel else {})}
    verdict = judge(group(leakage=leakage(*interval), identification=identification))
    assert verdict.finding is finding


def test_words_never_promise_safety():
    verdict = judge(group(leakage=leakage(0.0, -0.1, 0.1), identification=NOT_RUN))
    words = f"{verdict.finding.value} {' '.join(verdict.sentences)}"
    assert verdict.finding.value == "No leak shown at this budget"
    assert "strongest null (another image" in words
    assert "no decoys" in words
    for promise in ("safe", "private.", "secure", "protected", "prevents"):
        assert promise not in words.lower()


def test_without_any_numbers_reasons_are_given():
    entry = {"psnr": {"missing": "the bound was not run"}}
    verdict = judge(group(leakage=entry, identification=NOT_RUN))
    assert verdict.finding is Finding.UNDECIDED
    assert "the bound was not run" in verdict.sentences[0]


def test_top_5_is_named_where_it_alone_is_above_chance():
    identification = {**NOT_RUN, "pixel": rates(0.01, 0.4, top5=(0.3, 0.6))}
    verdict = judge(group(leakage=leakage(0.0, -0.1, 0.1), identification=identification))
    (sentence,) = (s for s in verdict.sentences if "pixel" in s)
    assert "one of the 5 nearest" in sentence
    assert "above chance (25%)" in sentence


@pytest.mark.parametrize(
    ("have", "headline"),
    [(["ssim", "psnr"], "psnr"), (["mse", "ssim"], "ssim"), (["mse"], "mse"), ([], "psnr")],
)
def test_headline_is_the_first_metric_that_any_group_has(have, headline):
    known = {metric: {"value": 0.1} for metric in have}
    entries = [
        {"defense": "a", "attack": "x", "leakage": {"psnr": {"missing": "why"}}},
        {"defense": "b", "attack": "x", "leakage": known},
    ]
    groups = read_groups({"groups": entries}, ["b", "a"], ["x"])
    assert [g.defense for g in groups] == ["b", "a"]
    assert {g.headline for g in groups} == {headline}


def test_a_leakage_that_two_digits_would_hide_has_more():
    """What is told from none must not read as none."""
    found = judge(group(leakage=leakage(0.0008, 0.0004, 0.0012), identification=NOT_RUN))
    assert found.finding is Finding.LEAK
    assert "0.0008 (0.0004" in found.sentences[0]


def test_of_one_attack_nothing_is_said_that_the_worst_case_may_deny():
    written = {finding.of_one_attack for finding in Finding}
    assert written.isdisjoint({Finding.LEAK.value, Finding.NO_LEAK.value})


LEAKAGE, RATE = (0.3, 0.1, 0.5), (0.2, 0.9)  # both above chance


@pytest.mark.parametrize(
    ("leakage_count", "rate_count", "finding"),
    [
        (5, 5, Finding.NOT_JUDGED),
        (6, 5, Finding.LEAK),
        (5, 6, Finding.LEAK),
        (None, 5, Finding.NOT_JUDGED),  # no bound was run
        (1, None, Finding.NOT_JUDGED),
    ],
)
def test_numbers_of_too_few_images_are_given_and_not_judged(leakage_count, rate_count, finding):
    of_leakage = {"psnr": {"missing": "the bound was not run"}}
    if leakage_count:
        of_leakage = leakage(*LEAKAGE, count=leakage_count)
    pixel = NOT_RUN["pixel"] if rate_count is None else rates(*RATE, count=rate_count)
    verdict = judge(group(leakage=of_leakage, identification={**NOT_RUN, "pixel": pixel}))
    words = " ".join(verdict.sentences)
    assert verdict.finding is finding
    few = {count for count in (leakage_count, rate_count) if count is not None and count < 6}
    for count in few:
        noun = "image" if count == 1 else "images"
        assert f"Of {count} private {noun} nothing can be told; 6 are needed." in words
    assert ("Leakage by PSNR is 0.30 (0.10" in words) is (leakage_count is not None)
    assert ("more than the strongest null" in words) is (leakage_count == 6)
    assert ("above chance" in words) is (rate_count == 6)


def test_no_attack_is_judged_of_images_too_few_for_the_worst_case():
    """Statistics of five images say what they may: the report judges none of them."""
    made, _ = small_audit(images=5)
    found = compute_statistics(made)
    assert {each["verdict"] for each in found["worst_case"]} == {"not_judged"}
    groups = read_groups(found, ["none", "noise"], ["ggl"])
    assert {judge(each).finding for each in groups} == {Finding.NOT_JUDGED}
    made, _ = small_audit(images=6)
    groups = read_groups(compute_statistics(made), ["none", "noise"], ["ggl"])
    assert Finding.NOT_JUDGED not in {judge(each).finding for each in groups}
