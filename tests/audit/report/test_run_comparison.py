"""Two runs compared on the same private images, on the command line."""

import json

import numpy as np
import pytest
from scipy import stats

import audit
from ggl_lightning.audit.results.collect import collect
from ggl_lightning.cli import run_command
from tests.audit.report.fabricated import Plan, rows, write_run
from tests.audit.report.html_page import read_page

PLAN = Plan(images=7, defenses=("none", "noise0.1"), rounds=2, utility=False)


def compare(*arguments):
    return run_command(audit.main, ["report", "--compare", *map(str, arguments)])


@pytest.fixture
def runs(tmp_path):
    """Two runs of the same images, the second with another client model and another luck."""
    generator = np.random.default_rng(0)

    first = write_run(tmp_path / "first", PLAN)
    second = write_run(tmp_path / "second", Plan(**{**vars(PLAN), "salt": "other"}))
    for file in sorted((second / "cases").glob("*/result.json")):
        row = json.loads(file.read_text())
        row["details"]["setting"] = {"client": "another"}
        if row["role"] == "attack":
            row["psnr"] -= 1.5 + 0.1 * generator.normal()
        file.write_text(json.dumps(row))
    return first, second


def psnr(run, defense):
    found = [r for r in collect([run]).rows if (r["role"], r["defense"]) == ("attack", defense)]
    return np.array([row["psnr"] for row in sorted(found, key=lambda row: row["image_index"])])


def test_differences_are_paired_by_image(runs, tmp_path, capsys):
    output = tmp_path / "out"
    assert compare(*runs, "--output", output) == 0
    content = json.loads((output / "comparison.json").read_text())
    assert (content["a"], content["b"]) == ("first", "second")
    entries = {(one["defense"], one["metric"]): one for one in content["differences"]}
    assert {defense for defense, _ in entries} == {"none", "noise0.1"}
    for defense in ("none", "noise0.1"):
        difference = psnr(runs[0], defense) - psnr(runs[1], defense)
        found = entries[defense, "psnr"]
        assert found["count"] == 7
        assert found["mean"] == pytest.approx(difference.mean())
        assert found["low"] < difference.mean() < found["high"]
        # All differences have one sign, so that only the two extreme swaps are as large.
        assert found["p_value"] == pytest.approx(2 / 2**7)
        assert entries[defense, "ssim"]["mean"] == pytest.approx(0)
    tested = [one for one in content["differences"] if one["p_value"] is not None]
    adjusted = stats.false_discovery_control([one["p_value"] for one in tested], method="by")
    assert [one["p_adjusted"] for one in tested] == pytest.approx(list(adjusted))
    assert content["changed"] == ["another client model"]
    assert (content["only_in_a"], content["only_in_b"], content["unchecked"]) == ([], [], 0)
    printed = capsys.readouterr().out
    shown = f"{entries['none', 'psnr']['mean']:.2f}"
    [line] = [line for line in printed.splitlines() if line.split()[:3] == ["none", "cma", "PSNR"]]
    assert line.split()[3] == shown
    assert "Not the same in both: another client model." in printed
    assert printed.splitlines()[-1] == str(output / "comparison.html")


def rewrite(run, change):
    """Changes the rows of a run's attacks."""
    for file in sorted((run / "cases").glob("*attack*/result.json")):
        row = json.loads(file.read_text())
        file.write_text(json.dumps(row | change(row)))


def test_identification_is_paired_by_image(runs, tmp_path, capsys):
    """A client model under which nobody is named any more, of seven that all were."""
    rewrite(runs[0], lambda row: {"rank_pixel": 1})
    rewrite(runs[1], lambda row: {"rank_pixel": 2 if row["image_index"] < 6 else 1})
    output = tmp_path / "out"
    assert compare(*runs, "--output", output) == 0
    content = json.loads((output / "comparison.json").read_text())
    entries = {(one["defense"], one["metric"]): one for one in content["differences"]}
    found = entries["none", "top1_pixel"]
    assert (found["mean"], found["count"]) == (pytest.approx(6 / 7), 7)
    assert found["p_value"] == pytest.approx(stats.binomtest(6, 6).pvalue)
    assert 0 < found["low"] < found["mean"] < found["high"] <= 1
    printed = capsys.readouterr().out
    [line] = [line for line in printed.splitlines() if line.startswith("none") and "pixel" in line]
    assert "Top-1 pixel" in line
    assert "85.7%" in line


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            {"rank_pixel": None, "missing_metrics": {"rank_pixel": "there were no decoys"}},
            "the second run has none: there were no decoys",
        ),
        ({"decoys": 49}, "the ranks are among 19 decoys and among 49: rates differ by that"),
    ],
)
def test_identification_that_cannot_be_paired_is_missing_with_the_reason(
    runs, tmp_path, capsys, change, reason
):
    rewrite(runs[1], lambda row: change)
    output = tmp_path / "out"
    assert compare(*runs, "--output", output) == 0
    content = json.loads((output / "comparison.json").read_text())
    found = {one["metric"]: one for one in content["differences"] if one["defense"] == "none"}
    assert found["top1_pixel"]["missing"] == reason
    assert "top1_update" not in found  # neither run has it
    assert reason in capsys.readouterr().out
    assert reason in (output / "comparison.html").read_text()


def test_the_page_shows_the_same_and_loads_nothing(runs, tmp_path):
    output = tmp_path / "out"
    assert compare(*runs, "--output", output) == 0
    page = read_page(output / "comparison.html")
    [table] = page.all("table")
    content = json.loads((output / "comparison.json").read_text())
    body = table.all("tbody")[0].all("tr")
    assert len(body) == len(content["differences"])
    for line, one in zip(body, content["differences"], strict=True):
        assert [cell.text for cell in line.children[:2]] == [one["defense"], one["attack"]]
        assert line.children[6].text == str(one["count"])
    assert "another client model" in page.text
    text = (output / "comparison.html").read_text()
    assert "http://" not in text
    assert "https://" not in text


def test_turned_around_signs_are(runs, tmp_path):
    for name, order in (("one", runs), ("other", runs[::-1])):
        assert compare(*order, "--output", tmp_path / name) == 0
    one, other = (
        json.loads((tmp_path / name / "comparison.json").read_text())["differences"]
        for name in ("one", "other")
    )
    for a, b in zip(one, other, strict=True):
        assert a["mean"] == pytest.approx(-b["mean"])
        assert a["p_value"] == b["p_value"]


def test_without_output_nothing_is_written(runs, tmp_path, capsys):
    before = sorted(tmp_path.rglob("*"))
    assert compare(*runs) == 0
    assert "PSNR" in capsys.readouterr().out
    assert sorted(tmp_path.rglob("*")) == before


def test_what_only_one_has_is_said_and_shared_images_count(tmp_path, capsys):
    a = write_run(tmp_path / "a", PLAN)
    b = write_run(tmp_path / "b", Plan(images=9, first_image=3, defenses=("none", "clipping4")))
    assert compare(a, b, "--output", tmp_path / "out") == 0
    content = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert content["only_in_a"] == [["noise0.1", "cma"]]
    assert content["only_in_b"] == [["clipping4", "cma"]]
    assert {one["defense"] for one in content["differences"]} == {"none"}
    assert {one["count"] for one in content["differences"] if "count" in one} == {4}
    assert "Only in b: cma on clipping4." in capsys.readouterr().out


def test_another_image_under_the_same_index_is_refused(tmp_path, capsys):
    a, b = (write_run(tmp_path / name, PLAN) for name in "ab")
    names = [row["name"] for row in rows(PLAN) if row["role"] == "attack"]
    theirs = next(name for name in names if name.startswith("image000005"))
    ours = next(name for name in names if name.startswith("image000002"))
    for name in names:
        if name.startswith("image000002"):
            picture = b / "cases" / theirs / "original.png"
            (b / "cases" / name / "original.png").write_bytes(picture.read_bytes())
    assert compare(a, b) == 2
    assert "image 2 is another image" in capsys.readouterr().err
    for run in (a, b):
        (run / "cases" / ours / "original.png").unlink()
    assert compare(a, b) == 0
    assert "Of 1 of the images it could not be told" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (Plan(images=2, first_image=50), ["no private image in common", "data.idx"]),
        (Plan(images=2, attacks=("adam",)), ["no defense and attack in common", "adam on none"]),
    ],
)
def test_runs_with_nothing_in_common_are_refused(tmp_path, capsys, plan, words):
    a, b = write_run(tmp_path / "a", PLAN), write_run(tmp_path / "b", plan)
    assert compare(a, b) == 2
    errors = capsys.readouterr().err
    assert all(word in errors for word in words)


def test_it_takes_two_runs_and_no_run_to_write_into(runs, capsys):
    assert compare(runs[0]) == 2
    assert "--compare takes two run folders: 1 are given" in capsys.readouterr().err
    assert compare(*runs, "--output", runs[0]) == 2
    assert "which is a run folder" in capsys.readouterr().err
    assert compare(runs[0], runs[0]) == 2
    assert "named twice" in capsys.readouterr().err
