"""Statistics of results that are made up, against NumPy and SciPy called directly."""

import copy
import itertools
import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ggl_lightning.audit.results.schema import METRICS as DECLARED
from ggl_lightning.audit.statistics import compute_statistics
from ggl_lightning.clients import find_classifier_layer
from ggl_lightning.errors import UserError
from ggl_lightning.metrics import build_reconstruction_metrics
from tests.audit.result_rows import METRICS, case, controls, failed, small_audit, utility
from tests.tiny import TinyClient

pytestmark = pytest.mark.filterwarnings("error")

ROWS, UTILITY = small_audit()
FOUND = compute_statistics(ROWS, UTILITY)


def group(found: dict, defense: str = "none", attack: str = "ggl") -> dict:
    (one,) = [g for g in found["groups"] if (g["defense"], g["attack"]) == (defense, attack)]
    return one


def per_image(rows: list[dict], metric: str, role: str, defense: str | None) -> np.ndarray:
    """Mean over seeds, by image: the plain way."""
    images = sorted({row["image_index"] for row in rows})
    chosen = [row for row in rows if row["role"] == role and row["defense"] == defense]
    return np.array(
        [np.mean([row[metric] for row in chosen if row["image_index"] == i]) for i in images]
    )


def assert_interval(found: dict, *samples: np.ndarray, statistic=np.mean) -> None:
    in_order = np.array(samples)[:, np.lexsort(samples)]
    low, high = stats.bootstrap(
        tuple(in_order), statistic, paired=True, method="BCa", rng=np.random.default_rng(0)
    ).confidence_interval
    # Resamples that are permutations of so few images equal their mean but for rounding, and BCa
    # counts those below it.
    expected = pytest.approx((low, high), abs=0.01 * (high - low))
    assert (found["low"], found["high"]) == expected


def test_means_are_over_images_after_seeds():
    for defense in ("none", "noise"):
        one = group(FOUND, defense)
        assert (one["cases"], one["failed"], one["images"]) == (18, 0, 9)
        assert (one["evaluations"], one["seconds"]) == (100, 2.0)
        assert one["defense_parameters"] == {"class": defense}
        for metric in ("psnr", "mse", "ssim"):
            values = per_image(ROWS, metric, "attack", defense)
            found = one["metrics"][metric]
            assert found["mean"] == pytest.approx(values.mean())
            assert_interval(found, values)
            assert found["count"] == 9
    assert one["metrics"]["lpips_alex"] == {"missing": "no backbone weights"}
    assert one["metrics"]["fmse"] == {"missing": "the results hold no value"}
    assert FOUND["missing_metrics"] == {"lpips_alex": "no backbone weights"}
    assert (FOUND["version"], FOUND["confidence"]) == (1, 0.95)


def test_leakage_is_beyond_the_strongest_null_over_whole_triples():
    for defense, metric in itertools.product(("none", "noise"), ("psnr", "mse", "ssim")):
        higher = metric != "mse"
        attack = per_image(ROWS, metric, "attack", defense)
        bound = per_image(ROWS, metric, "bound", None)
        null = {
            role: per_image(ROWS, metric, role, None if role == "null_random" else defense)
            for role in ("null_random", "null_noise", "null_other")
        }
        strongest = (max if higher else min)(null, key=lambda role: null[role].mean())
        sign = 1 if higher else -1

        def ratio(attack, null, bound, axis=-1):
            return (attack - null).mean(axis) / (bound - null).mean(axis)

        triples = [sign * values for values in (attack, null[strongest], bound)]
        found = group(FOUND, defense)["leakage"][metric]
        assert found["null"] == strongest
        assert found["value"] == pytest.approx(ratio(*triples))
        assert_interval(found, *triples, statistic=ratio)
        assert found["count"] == 9
        means = group(FOUND, defense)["nulls"]
        assert {role: of[metric] for role, of in means.items()} == pytest.approx(
            {role: values.mean() for role, values in null.items()}
        )
        assert group(FOUND, defense)["bound"][metric] == pytest.approx(bound.mean())
    assert group(FOUND)["leakage"].keys() == set(METRICS) - {"tv_reconstruction", "tv_private"}


def test_identification_labels_attributes_and_utility():
    for defense in ("none", "noise"):
        one = group(FOUND, defense)
        mine = [row for row in ROWS if row["role"] == "attack" and row["defense"] == defense]
        for name, k in itertools.product(("pixel", "feature"), (1, 5)):
            hits = np.mean([row[f"rank_{name}"] <= k for row in mine]) * 9
            found = one["identification"][name][f"top{k}"]
            low = stats.binomtest(math.floor(hits), 9).proportion_ci(method="exact").low
            high = stats.binomtest(math.ceil(hits), 9).proportion_ci(method="exact").high
            assert found == pytest.approx(
                {"rate": hits / 9, "low": low, "high": high, "count": 9, "chance": k / 101}
            )
            assert one["identification"][name]["decoys"] == 100
        everything = stats.binomtest(9, 9).proportion_ci(method="exact")
        assert one["label_accuracy"] == pytest.approx(
            {"rate": 1.0, "low": everything.low, "high": 1.0, "count": 9}
        )
        agreement = per_image(ROWS, "attribute_agreement", "attack", defense)
        assert one["attribute_agreement"]["mean"] == pytest.approx(agreement.mean())
    tested = stats.binomtest(160, 200).proportion_ci(method="exact")
    assert group(FOUND, "noise")["utility"] == pytest.approx(
        {
            **{"accuracy": 0.8, "low": tested.low, "high": tested.high, "count": 200},
            "majority_share": 0.58,
        }
    )


def test_defenses_are_compared_on_the_same_images():
    metrics = [one for one in FOUND["differences"] if one["metric"] in DECLARED]
    assert {one["metric"] for one in metrics} == {"psnr", "ssim", "mse"}
    for one in metrics:
        assert (one["attack"], one["defense_a"], one["defense_b"]) == ("ggl", "none", "noise")
        a, b = (per_image(ROWS, one["metric"], "attack", defense) for defense in ("none", "noise"))
        assert one["mean"] == pytest.approx((a - b).mean())
        assert_interval(one, a - b)
        swaps = np.array(list(itertools.product((1, -1), repeat=9))) @ (a - b)
        more_extreme = np.abs(swaps) >= abs((a - b).sum()) * (1 - 1e-12)
        assert one["p_value"] == pytest.approx(more_extreme.mean())
        assert one["count"] == 9
    adjusted = stats.false_discovery_control(
        [one["p_value"] for one in FOUND["differences"]], method="by"
    )
    assert [one["p_adjusted"] for one in FOUND["differences"]] == pytest.approx(adjusted)


def test_of_two_defenses_the_identification_rates_are_compared_too():
    rates = {one["metric"]: one for one in FOUND["differences"] if one["metric"] not in DECLARED}
    assert list(rates) == ["top1_pixel", "top1_feature"]  # no attack ranks by the update
    for by in ("pixel", "feature"):
        means = [
            group(FOUND, name)["identification"][by]["top1"]["rate"] for name in ("none", "noise")
        ]
        found = rates[f"top1_{by}"]
        assert found["mean"] == pytest.approx(means[0] - means[1])
        assert found["count"] == 9
        assert found["low"] < found["mean"] < found["high"]


def test_rates_are_compared_image_by_image_as_mcnemar_does():
    # One of a batch of two counts half, and 8 decoys are another task than 9.
    of_a, of_b = [1, 1, 1, 1, 1, 1, 4, [1, 5]], [2, 3, 4, 2, 1, 9, 1, [5, 6]]
    rows = [
        case(image, name, decoys=9, rank_update=rank, images=len(np.atleast_1d(rank)))
        for name, ranks in (("a", of_a), ("b", of_b))
        for image, rank in enumerate(ranks)
    ]
    (one,) = compute_statistics(rows)["differences"]
    assert (one["metric"], one["count"]) == ("top1_update", 8)
    assert one["mean"] == pytest.approx((5 - 1 + 0.5) / 8)
    whole = [row for row in rows if row["images"] == 1]
    (one,) = compute_statistics(whole)["differences"]
    assert one["p_value"] == pytest.approx(stats.binomtest(5, 6).pvalue)
    among = {"a": 9, "b": 8}
    (one,) = compute_statistics([row | {"decoys": among[row["defense"]]} for row in rows])[
        "differences"
    ]
    assert one["missing"] == "the ranks are among 9 decoys and among 8: rates differ by that"
    some = [row | {"decoys": 8} if row["image_index"] < 2 else row for row in rows[8:]]
    (one,) = compute_statistics(rows[:8] + some)["differences"]
    assert one["count"] == 6


def test_differences_pair_image_and_seed():
    # Seed 1 doubles every number; only one defense has it on image 2.
    rows = [
        case(image, defense, seed=seed, psnr=(10.0 + image + plus) * (1 + seed))
        for image in range(3)
        for defense, plus in (("a", 1.0), ("b", 0.0), ("c", 0.0))
        for seed in range(2)
        if (image, defense, seed) != (2, "b", 1) and (defense != "c" or image == 7)
    ]
    (one,) = compute_statistics(rows)["differences"]
    assert one["mean"] == pytest.approx(np.mean([1.5, 1.5, 1.0]))
    elsewhere = [case(5, "c", psnr=1.0), case(6, "c", psnr=None)]
    found = compute_statistics(rows + elsewhere)["differences"]
    assert [one.get("missing") for one in found] == [None] + 2 * ["no image and seed has both"]


def test_the_order_of_results_and_repeated_ones_change_nothing():
    order = np.random.default_rng(1).permutation(len(ROWS))
    shuffled = [ROWS[i] for i in order]
    rest = [row for row in shuffled if row is not ROWS[0]]
    # Several runs may hold a case; one of them may have failed at it.
    failure = {**ROWS[0], **dict.fromkeys(METRICS), "status": "failed", "seconds": None}
    found = compute_statistics([ROWS[0], *rest, *ROWS[:7]], UTILITY + UTILITY)
    for other in (found, compute_statistics([failure, *rest, ROWS[0]], UTILITY)):
        assert group(other) == group(FOUND)
        assert group(other, "noise") == group(FOUND, "noise")
        assert other["differences"] == FOUND["differences"]


def test_rows_are_not_changed():
    before = copy.deepcopy((ROWS, UTILITY))
    compute_statistics(ROWS, UTILITY)
    assert before == (ROWS, UTILITY)


def test_failed_cases_are_counted_and_never_averaged():
    more = [failed(30), failed(31, defense="noise"), failed(32, role="bound", defense=None)]
    found = compute_statistics(ROWS + more, UTILITY)
    expected = {**group(FOUND), "cases": 19, "failed": 1}
    assert group(found) == expected
    nothing = group(compute_statistics([failed(0), failed(1)]))
    assert (nothing["cases"], nothing["failed"], nothing["images"]) == (2, 2, 0)
    assert nothing["evaluations"] is None
    for part in ("metrics", "leakage", "identification"):
        assert set(map(str, nothing[part].values())) == {"{'missing': 'all 2 cases failed'}"}
    assert nothing["label_accuracy"] == {"missing": "all 2 cases failed"}
    only = group(compute_statistics([failed(0)]))
    assert only["attribute_agreement"] == {"missing": "the only case failed"}


def test_a_failed_control_takes_its_image_out_of_the_leakage_alone():
    for role in ("bound", "null_random", "null_noise", "null_other"):
        rows = copy.deepcopy(ROWS)
        for row in rows:
            if row["role"] == role and row["image_index"] == 4:
                row |= {**dict.fromkeys(METRICS), "status": "failed"}
        found = group(compute_statistics(rows, UTILITY))
        strongest = group(FOUND)["leakage"]["psnr"]["null"]
        counted = 8 if role in ("bound", strongest) else 9
        assert found["leakage"]["psnr"]["count"] == counted
        assert found["leakage"]["psnr"]["null"] == strongest
        assert found["metrics"] == group(FOUND)["metrics"]


def test_the_strongest_null_is_found_on_images_that_all_have():
    rows = []
    for image, level in ((0, 10.0), (1, 30.0)):
        rows += [case(image, psnr=level + 4)]
        of_roles = {"bound": level + 8, "null_random": level + 1, "null_noise": level}
        rows += controls(
            image, ("none",), "ggl", 0, **{r: {"psnr": v} for r, v in of_roles.items()}
        )
    # It is weaker, though its one image makes its mean the highest.
    for row in rows:
        if row["role"] == "null_other":
            row |= {"psnr": 30.5} if row["image_index"] else {"status": "failed"}
    found = group(compute_statistics(rows))["leakage"]["psnr"]
    assert (found["null"], found["count"]) == ("null_random", 2)
    assert found["value"] == pytest.approx(3 / 7)


def test_controls_match_image_seed_defense_and_attack():
    rows = []
    for image, seed, attack in itertools.product(range(3), range(2), ("x", "y")):
        base = image + 10.0 * seed + (100.0 if attack == "y" else 0.0)
        for defense, plus in (("a", 0.0), ("b", 1000.0)):
            rows.append(case(image, defense, attack, seed, ssim=base + plus + 2))
            rows.append(case(image, defense, attack, seed, "null_noise", ssim=base + plus))
        rows.append(case(image, None, attack, seed, "bound", ssim=base + 4000))
    found = compute_statistics(rows)
    for one in found["groups"]:
        plus = 1000.0 if one["defense"] == "b" else 0.0
        assert one["leakage"]["ssim"]["value"] == pytest.approx(2 / (4000 - plus))
        assert one["nulls"].keys() == {"null_noise"}
    # Without the control of one seed, the image keeps its other one.
    kept = [row for row in rows if (row["role"], row["seed"]) != ("null_noise", 1)]
    shorter = group(compute_statistics(kept), "a", "x")["leakage"]["ssim"]
    assert shorter["count"] == 3
    assert shorter["value"] == pytest.approx(2 / 4000)


def test_older_runs_have_neither_roles_nor_controls():
    added = ("role", "status", "error", "rank_pixel", "rank_feature", "decoys", "details")
    old = [
        {k: v for k, v in row.items() if k not in added and k != "attribute_agreement"}
        for row in ROWS
        if row["role"] == "attack"
    ]
    found = group(compute_statistics(old))
    assert found["metrics"] == group(FOUND)["metrics"]
    assert found["leakage"]["psnr"] == {"missing": "the bound was not run"}
    assert found["nulls"] == found["bound"] == {}
    assert found["identification"]["pixel"] == {"missing": "there were no decoys"}
    assert found["attribute_agreement"] == {"missing": "no attribute classifiers were given"}
    assert found["utility"] == {"missing": "no client model was trained under this defense"}
    only_bound = [row for row in ROWS if row["role"] in ("attack", "bound")]
    leakage = group(compute_statistics(only_bound))["leakage"]
    assert leakage["psnr"] == {"missing": "no null was run"}
    assert leakage["lpips_alex"] == {"missing": "no backbone weights"}
    elsewhere = copy.deepcopy(ROWS)
    for row in elsewhere:
        row["image_index"] += 50 * (row["role"] == "bound")
    assert group(compute_statistics(elsewhere))["leakage"]["psnr"] == {
        "missing": "no image has an attack, a null and a bound that all finished"
    }


def test_a_bound_below_the_null_is_said():
    rows = [row | ({"psnr": 5.0} if row["role"] == "bound" else {}) for row in ROWS]
    found = group(compute_statistics(rows))["leakage"]
    assert found["psnr"]["missing"].startswith("the bound does not beat the null")
    assert found["psnr"]["null"]
    assert "value" in found["mse"]


def test_one_image_has_no_intervals():
    rows, trained = small_audit(images=1, seeds=2)
    found = compute_statistics(rows, trained)
    reason = {"low": None, "high": None, "interval_missing": "one image has no spread to resample"}
    psnr = np.mean([r["psnr"] for r in rows if (r["role"], r["defense"]) == ("attack", "none")])
    assert group(found)["metrics"]["psnr"] == {"mean": pytest.approx(psnr), "count": 1, **reason}
    assert group(found)["leakage"]["psnr"].items() >= {"count": 1, **reason}.items()
    for one in found["differences"]:
        assert one.items() >= {"p_value": None, "p_adjusted": None, **reason}.items()
    assert group(found)["identification"]["pixel"]["top1"]["high"] > 0.9


@pytest.mark.parametrize("exact", [{"psnr": math.inf}, {"psnr": None}, {"psnr": 130.0}])
def test_an_exact_reconstruction_counts_as_the_ceiling(exact):
    rows = [case(i, psnr=20.0, psnr_published=14.0, mse=0.04) for i in range(3)]
    rows.append(case(3, **exact, psnr_published=math.inf, mse=0.0))
    for image in range(4):
        of_roles = {"bound": {"psnr": math.inf}, "null_random": {"psnr": 10.0}}
        rows += controls(image, ("none",), "ggl", 0, **of_roles)
    found = group(compute_statistics(rows))
    # Rounding to 256 levels errs uniformly within half a level: a mean square of 1/12.
    ceiling = -10 * math.log10((1 / 12) / 255**2)
    assert DECLARED["psnr"].ceiling == pytest.approx(ceiling)
    assert found["metrics"]["psnr"]["mean"] == pytest.approx((60 + ceiling) / 4)
    assert found["metrics"]["psnr"]["capped"] == 1
    published = found["metrics"]["psnr_published"]["mean"]
    assert published == pytest.approx((42 + ceiling - 10 * math.log10(4)) / 4)
    expected = ((60 + ceiling) / 4 - 10) / (ceiling - 10)
    assert found["leakage"]["psnr"]["value"] == pytest.approx(expected)
    assert "capped" not in found["metrics"]["mse"]


def test_numbers_that_some_results_lack_are_left_out_and_counted():
    rows = [case(0, ssim=0.5), case(1, ssim=math.nan), case(2), case(3, ssim=0.7)]
    found = group(compute_statistics(rows))["metrics"]["ssim"]
    assert found["mean"] == pytest.approx(0.6)
    assert (found["count"], found["left_out"]) == (2, 2)


def test_a_clients_batch_is_one_observation():
    batch = {"images": 4, "decoys": 9, "label_accuracy": 0.75}
    rows = [case(4 * i, psnr=10.0 + i, rank_pixel=[1, 1, 2, 9], **batch) for i in range(3)]
    found = group(compute_statistics(rows))
    assert (found["images"], found["metrics"]["psnr"]["count"]) == (12, 3)
    top1 = found["identification"]["pixel"]["top1"]
    assert (top1["rate"], top1["count"], top1["chance"]) == pytest.approx((0.5, 3, 0.1))
    assert found["label_accuracy"]["rate"] == 0.75


def test_utility_over_seeds_and_failures():
    trained = [
        utility(seed=0, accuracy=0.5, test_images=10),
        utility(seed=1, accuracy=0.7, test_images=10),
        utility(seed=2, accuracy=None, status="failed", error="diverged"),
        utility("noise", accuracy=None, status="failed", error="diverged"),
    ]
    found = compute_statistics(ROWS, trained)
    exact = stats.binomtest(6, 10).proportion_ci(method="exact")
    none = group(found)["utility"]
    assert (none["accuracy"], none["count"]) == (pytest.approx(0.6), 10)
    assert (none["low"], none["high"]) == pytest.approx(tuple(exact))
    assert group(found, "noise")["utility"] == {"missing": "the training failed: diverged"}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"key": "another"}, "'attack_image0_none_ggl_seed0'"),
        ({"image_index": 77, "defense_parameters": {"std": 1}}, "defense 'none'"),
        ({"image_index": 77, "details": {"attack": {"budget": 7}}}, "attack 'ggl'"),
    ],
)
def test_one_name_for_two_settings_is_an_error(change, named):
    with pytest.raises(UserError, match="another name") as error:
        compute_statistics([*ROWS, case(psnr=1.0) | change])
    assert named in str(error.value)


def test_every_metric_of_a_reconstruction_is_averaged():
    client = TinyClient(num_classes=5).eval()
    layer = find_classifier_layer(client, torch.zeros(1, 3, 8, 8)).layer
    available = build_reconstruction_metrics(client, layer, image_size=8)
    assert DECLARED.keys() == {*available.collection().keys(), *available.missing}


def test_nothing_at_all():
    found = compute_statistics([])
    assert (found["groups"], found["differences"]) == ([], [])


NUMBER = st.none() | st.floats(0, 60) | st.sampled_from([math.inf, -math.inf, math.nan, 0.0, 7.0])


@st.composite
def audits(draw) -> list[dict]:
    """Whatever may be on disk: parts missing, failed, broken or equal."""
    rows = []
    cells = itertools.product(range(4), ("a", "b"), range(2))
    for image, defense, seed in cells:
        for role in ("attack", "bound", "null_random", "null_noise"):
            state = draw(st.sampled_from(["done", "done", "done", "failed", "absent"]))
            names = ("psnr", "mse", "ssim")
            numbers = {name: draw(NUMBER) for name in names} if state == "done" else {}
            if state != "absent":
                row = case(image, defense, seed=seed, role=role, status=state, **numbers)
                rows.append(row | {"key": "same"})
    return rows


@settings(max_examples=25)
@given(audits())
def test_whatever_is_on_disk_gives_strict_json(rows):
    found = compute_statistics(rows)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    for one in found["groups"]:
        for metric in DECLARED:
            number = one["metrics"][metric]
            assert ("missing" in number) != ("mean" in number)
            if number.get("low") is None and "mean" in number:
                assert number["interval_missing"]
