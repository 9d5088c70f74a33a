"""The strongest attack against a defense, from results that are made up."""

import numpy as np
import pytest
from scipy.stats import binom

from ggl_lightning.audit.statistics import compute_statistics
from ggl_lightning.audit.statistics.result_index import ResultIndex
from ggl_lightning.audit.statistics.worst_case import worst_cases
from tests.audit.result_rows import case

IMAGES = 12


def audit(leaks, images=IMAGES, seed=0, expected=None, ranks=None, nulls=("null_noise",)):
    """Rows of attacks with these leaks in dB above their nulls, on some images."""
    rng = np.random.default_rng(seed)
    rows = []
    for image in range(images):
        for attack, leak in leaks.items():
            psnr = 12 + rng.standard_normal() + leak
            row = case(image=image, attack=attack, psnr=psnr, mse=4 / 10 ** (psnr / 10))
            row["predicted_mse"] = None if expected is None else expected[attack]
            if ranks and attack in ranks:
                row |= {"rank_update": ranks[attack](image), "decoys": 9}
            rows.append(row)
            for role in nulls:
                value = 12 + rng.standard_normal()
                rows.append(
                    case(image=image, attack=attack, role=role, psnr=value)
                    | {"mse": 4 / 10 ** (value / 10)}
                )
            rows.append(case(image=image, attack=attack, role="bound", psnr=30.0, mse=0.004))
    return rows


def worst(rows):
    (found,) = compute_statistics(rows)["worst_case"]
    return found


def test_the_maximum_is_of_the_strongest_attack_and_has_one_bound():
    rows = audit({"weak": 0.5, "strong": 4.0})
    for row in rows:
        if row["role"] == "bound" and row["attack"] == "weak":
            row["psnr"] = 20.0
    found = worst(rows)
    auditor = found["metrics"]["psnr"]["auditor"]
    assert (found["metric"], auditor["attack"], auditor["count"]) == ("psnr", "strong", IMAGES)
    values = [r["psnr"] for r in rows if r["role"] == "attack" and r["attack"] == "strong"]
    assert auditor["value"] == pytest.approx(np.mean(values))
    means = [
        np.mean([r["psnr"] for r in rows if r["role"] == "null_noise" and r["attack"] == attack])
        for attack in ("weak", "strong")
    ]
    assert auditor["null"] == pytest.approx(max(means))
    assert auditor["bound"] == 30
    assert auditor["leakage"] == pytest.approx((np.mean(values) - max(means)) / (30 - max(means)))
    assert (found["verdict"], found["reason"]) == ("leak", "reconstruction")
    assert found["p_value"] < 0.01


def test_no_leak_is_no_leak():
    found = worst(audit({"a": 0.0, "b": 0.0, "c": 0.0}))
    assert found["verdict"] == "no_leak"
    assert found["p_value"] > 0.05


def test_few_images_are_not_judged():
    found = worst(audit({"a": 5.0}, images=5))
    assert found["verdict"] == "not_judged"
    assert "of 5 private images nothing can be told" in found["reason"]
    assert found["metrics"]["psnr"]["auditor"]["value"] > 15  # the number is there all the same


def test_six_images_are_enough_for_a_leak_that_all_of_them_show():
    assert worst(audit({"a": 9.0}, images=6))["verdict"] == "leak"


def test_an_attack_of_some_images_alone_is_left_out():
    rows = audit({"a": 1.0, "b": 8.0})
    rows = [row for row in rows if not (row["attack"] == "b" and row["image_index"] > 2)]
    auditor = worst(rows)["metrics"]["psnr"]["auditor"]
    assert auditor["attack"] == "a"
    assert auditor["left_out"] == {"b": "it has 3 of 12 images"}


def test_the_attackers_own_choice():
    silent = worst(audit({"a": 3.0, "b": 1.0}))["metrics"]["psnr"]["attacker"]
    assert "a does not say how good it expects to be" in silent["missing"]
    rows = audit({"a": 3.0, "b": 1.0}, expected={"a": 0.3, "b": 0.2})
    own = worst(rows)["metrics"]["psnr"]["attacker"]
    values = [r["psnr"] for r in rows if r["role"] == "attack" and r["attack"] == "b"]
    assert own["value"] == pytest.approx(np.mean(values))  # it expected less error, wrongly
    of_members = worst(audit({"standard": 2.0, "standard/learned": 2.0, "other": 5.0}))
    assert of_members["metrics"]["psnr"]["attacker"]["attack"] == "standard"
    assert of_members["metrics"]["psnr"]["auditor"]["attack"] == "other"


def test_identification_alone_may_show_a_leak():
    rows = audit({"a": 0.0, "b": 0.0}, ranks={"b": lambda image: 1 if image % 3 else 5})
    found = worst(rows)
    named = found["identification"]
    assert (named["attack"], named["by"], named["tried"]) == ("b", "update", 1)
    assert named["rate"] == pytest.approx(8 / 12)
    assert named["p_value"] == pytest.approx(binom.sf(7, 12, 0.1))
    assert (found["verdict"], found["reason"]) == ("leak", "identification")
    assert found["p_value"] == pytest.approx(2 * named["p_value"])


def test_the_best_of_many_rankings_counts_for_less():
    lucky = {"a": lambda image: 1 if image < 4 else 7}
    alone = worst(audit({"a": 0.0}, ranks=lucky))["identification"]
    others = dict.fromkeys("bcde", lambda image: 1 + image % 10)
    many = worst(audit(dict.fromkeys("abcde", 0.0), ranks=lucky | others))["identification"]
    assert many["p_value"] == pytest.approx(5 * alone["p_value"])


def ranked(named, attacks, images):
    """Rows that only rank: the first attack names so many images, the others none."""
    return [
        case(image=image, attack=str(attack), decoys=9)
        | {"rank_update": 1 if attack == 0 and image < named else 7}
        for image in range(images)
        for attack in range(attacks)
    ]


def of_ranks(rows):
    (found,) = worst_cases(ResultIndex(rows))
    return found


@pytest.mark.parametrize("images", [6, 12, 40])
@pytest.mark.parametrize("attacks", [1, 2, 5, 12])
def test_the_best_of_many_attacks_that_guess_leaks_in_few_audits(images, attacks):
    """In closed form: of independent attacks at chance, how often the best is called a leak."""
    found = [of_ranks(ranked(named, attacks, images)) for named in range(images + 1)]

    def share_of_audits(says_so):
        least = min(named for named, each in enumerate(found) if says_so(each))
        return 1 - (1 - binom.sf(least - 1, images, 0.1)) ** attacks

    assert share_of_audits(lambda each: each["verdict"] == "leak") <= 0.05
    # A two-sided interval of 95% errs on either side in half of the rest.
    named = [each["identification"] for each in found]
    assert [each["tried"] for each in named] == [attacks] * (images + 1)
    assert share_of_audits(lambda e: e["identification"]["low"] > 0.1) <= 0.025
    for each in found:
        assert (each["verdict"] == "leak") or each["identification"]["low"] <= 0.1


@pytest.mark.parametrize("rate", [0.1, 0.4, 0.75])
def test_the_interval_holds_for_whichever_attack_comes_out_best(rate):
    """In closed form: of independent attacks of one rate, how often that of the best holds it."""
    images, attacks = 20, 6
    held = 0.0
    for named in range(images + 1):
        best = binom.cdf(named, images, rate) ** attacks
        best -= binom.cdf(named - 1, images, rate) ** attacks
        of_best = of_ranks(ranked(named, attacks, images))["identification"]
        held += best * (of_best["low"] <= rate <= of_best["high"])
    assert held >= 0.95


def test_a_ranking_of_too_few_images_hides_none_of_enough():
    rows = audit({"a": 0.0, "b": 0.0}, ranks=dict.fromkeys("ab", lambda image: 1))
    rows = [row for row in rows if row["attack"] == "b" or row["image_index"] < 3]
    for row in rows:
        if row["attack"] == "b" and row.get("rank_update") and row["image_index"] > 3:
            row["rank_update"] = 5
    named = worst(rows)["identification"]
    assert (named["attack"], named["count"], named["tried"]) == ("b", IMAGES, 1)


def test_only_what_holds_after_holms_steps_is_shown():
    names_all = {"a": lambda image: 1}
    both = worst(audit({"a": 9.0}, ranks=names_all))
    assert set(both["shown"]) == {"reconstruction", "identification"}
    assert worst(audit({"a": 0.0}, ranks=names_all))["shown"] == ["identification"]
    assert worst(audit({"a": 9.0}, ranks={"a": lambda image: 5}))["shown"] == ["reconstruction"]
    assert worst(audit({"a": 0.0}))["shown"] == []


def test_without_nulls_reconstructions_say_nothing():
    found = worst(audit({"a": 4.0}, nulls=()))
    assert found["metrics"]["psnr"]["auditor"] == {"missing": "no null was run"}
    assert (found["verdict"], found["reason"]) == ("not_judged", "no null was run")


def test_verdicts_of_no_leak_are_wrong_as_seldom_as_said():
    audits = 60
    false = sum(
        worst(audit({"a": 0.0, "b": 0.0}, images=8, seed=seed, nulls=("null_noise", "null_other")))[
            "verdict"
        ]
        == "leak"
        for seed in range(audits)
    )
    assert false <= 8  # three standard deviations above 5%


def test_a_member_is_measured_against_the_bound_of_what_it_belongs_to():
    rows = audit({"standard": 3.0, "standard/learned": 3.0})
    rows = [r for r in rows if r["role"] != "bound" or r["attack"] == "standard"]
    groups = {each["attack"]: each for each in compute_statistics(rows)["groups"]}
    assert 0 < groups["standard/learned"]["leakage"]["psnr"]["value"] < 1
