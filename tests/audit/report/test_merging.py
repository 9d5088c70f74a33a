"""Several run folders as one, and run folders that cannot be reported."""

import json
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

import audit
from ggl_lightning.audit.report import build_report
from ggl_lightning.audit.results.collect import collect
from ggl_lightning.audit.results.numbers import with_infinities
from ggl_lightning.audit.results.reading import Shared, UnreadableResultError, read_row
from ggl_lightning.audit.results.schema import CASE_FIELDS
from ggl_lightning.cli import run_command
from ggl_lightning.errors import UserError
from tests.audit.report.fabricated import Plan, failed, row, rows, write_case, write_run
from tests.audit.report.html_page import by_id, read_page


def plan(**settings):
    return Plan(**{"images": 1, "defenses": ("none", "noise0.1"), "rounds": 3, **settings})


def summary(output):
    return json.loads((output / "summary.json").read_text())


def keys(made):
    return {one["key"] for one in made}


def test_a_case_in_two_runs_is_one_case(tmp_path):
    plans = plan(images=2), plan(images=3, first_image=1)
    runs = [write_run(tmp_path / name, p) for name, p in zip("ab", plans, strict=True)]
    build_report(runs, tmp_path / "out")
    merged = summary(tmp_path / "out")
    assert len(merged) == len(keys(merged))
    assert keys(merged) == keys(rows(plans[0])) | keys(rows(plans[1]))
    page = read_page(tmp_path / "out" / "report.html")
    configurations = [line.text for line in by_id(page, "configuration").all("summary")]
    assert configurations == ["a: config.yaml", "b: config.yaml"]


def test_the_order_of_the_runs_changes_no_table(tmp_path):
    runs = [
        write_run(tmp_path / "a", plan(images=2)),
        write_run(tmp_path / "b", plan(images=3, first_image=1)),
    ]
    build_report(runs, tmp_path / "one")
    build_report(runs[::-1], tmp_path / "other")
    for name in ("results.csv", "results.parquet", "statistics.json", "table.tex"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda values: st.lists(values) | st.dictionaries(st.text(max_size=2), values),
    max_leaves=10,
)


@given(st.lists(st.dictionaries(st.sampled_from("abc"), _JSON), max_size=10))
def test_sharing_equal_objects_changes_none(objects):
    shared = Shared()
    for each in objects:
        text = json.dumps(each)
        alone = json.loads(text, object_pairs_hook=lambda pairs: dict(with_infinities(pairs)))
        assert repr(json.loads(text, object_pairs_hook=shared)) == repr(alone)


def test_rows_share_what_is_equal(tmp_path):
    found = collect([write_run(tmp_path / "run", Plan(images=3))]).rows
    assert found[0]["missing_metrics"] == rows(Plan())[0]["missing_metrics"]
    assert len({id(row["missing_metrics"]) for row in found}) == 1
    assert len({id(row["details"]) for row in found}) == len(found)


@pytest.mark.parametrize("folder", ["cases", "utility"])
def test_files_among_the_cases_are_no_cases(tmp_path, folder):
    run = write_run(tmp_path / "run", Plan(images=1))
    before = collect([run]).rows
    (run / folder / "notes.txt").write_text("mine")
    assert collect([run]).rows == before


@pytest.mark.parametrize("order", [1, -1])
def test_a_finished_case_is_kept_before_a_failed_one(tmp_path, order):
    small = plan()
    case = row(small, 0, "attack", "none", "cma", 19.0)
    runs = [write_run(tmp_path / name, small) for name in "ab"]
    shutil.rmtree(runs[0] / "cases" / case["name"])
    write_case(runs[0], failed(case, "out of memory"), small)
    build_report(runs[::order], tmp_path / "out")
    assert {r["status"] for r in summary(tmp_path / "out")} == {"done"}


def test_one_name_for_two_cases_is_an_error_naming_both(tmp_path):
    runs = [
        write_run(tmp_path / "a", plan()),
        write_run(tmp_path / "b", plan(salt="other weights")),
    ]
    with pytest.raises(UserError) as raised:
        build_report(runs, tmp_path / "out")
    assert all(str(run) in str(raised.value) for run in runs)
    assert not (tmp_path / "out").exists()


def test_runs_of_one_name_are_told_apart_by_their_parents(tmp_path):
    runs = [
        write_run(tmp_path / parent / "audit", plan(first_image=i))
        for i, parent in enumerate(("first", "second"))
    ]
    page = read_page(build_report(runs, tmp_path / "out"))
    assert page.all("h1")[0].text == "first/audit, second/audit"


def test_interrupted_cases_are_left_out(tmp_path):
    small = plan()
    run = write_run(tmp_path / "run", small)
    unfinished = run / "cases" / rows(small)[2]["name"]
    (unfinished / "result.json").unlink()
    build_report([run], tmp_path / "out")
    assert len(summary(tmp_path / "out")) == len(rows(small)) - 1


def report(*arguments):
    return run_command(audit.main, ["report", *map(str, arguments)])


def test_the_command_rebuilds_a_run_in_place_and_merges_into_a_folder(tmp_path, capsys):
    runs = [write_run(tmp_path / str(i), plan(first_image=i)) for i in range(2)]
    assert report(runs[0]) == 0
    assert capsys.readouterr().out.strip() == str(runs[0] / "report.html")
    assert report(*runs, "--output", tmp_path / "deep" / "merged") == 0
    assert (tmp_path / "deep" / "merged" / "report.html").is_file()


def damaged(tmp_path):
    """A run whose only result is cut short."""
    case = tmp_path / "damaged" / "cases" / "case"
    case.mkdir(parents=True)
    (case / "result.json").write_text('{"name": "ca')
    return tmp_path / "damaged"


def folder_for_result(tmp_path):
    run = tmp_path / "odd"
    (run / "cases" / "case" / "result.json").mkdir(parents=True)
    return run


def file_for_output(tmp_path):
    (tmp_path / "file").write_text("")
    return tmp_path / "file"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (lambda tmp: [tmp / "nowhere"], "nowhere is not a folder"),
        (lambda tmp: [tmp], "holds no results"),
        (lambda tmp: [damaged(tmp)], "damaged/cases/case/result.json, is not valid JSON"),
        (lambda tmp: [folder_for_result(tmp)], "cannot be opened"),
        (lambda tmp: [write_run(tmp / "a", plan()), write_run(tmp / "b", plan())], "--output DIR"),
        (
            lambda tmp: [write_run(tmp / "a", plan()), tmp / "a", "--output", tmp / "o"],
            "named twice",
        ),
        (
            lambda tmp: [write_run(tmp / "a", plan()), "--output", write_run(tmp / "b", plan())],
            "run folder with its own report",
        ),
        (
            lambda tmp: [write_run(tmp / "a", plan()), "--output", file_for_output(tmp)],
            "cannot be written to",
        ),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path, capsys, arguments, expected):
    assert report(*arguments(tmp_path)) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.strip().splitlines()
    assert line.startswith("error: ")
    assert expected in line


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"psnr": float("nan")}, "NaN is not a number"),
        ({"error": "\ud800"}, "not valid JSON"),
        ({"key": None}, "'key' is of the wrong type"),
        ({"seed": True}, "'seed' is of the wrong type"),
        ({"role": "spy"}, "'role' is none of"),
        ({"status": "half"}, "'status' is none of"),
        ({"defense": None}, "has no 'defense'"),
    ],
)
def test_results_that_do_not_say_what_they_are_are_unreadable(tmp_path, change, reason):
    made = {**row(plan(), 0, "attack", "none", "cma", 19.0), **change}
    (tmp_path / "result.json").write_text(json.dumps(made))
    with pytest.raises(UnreadableResultError, match=reason):
        read_row(tmp_path / "result.json", CASE_FIELDS)


@pytest.mark.parametrize("field", CASE_FIELDS)
def test_every_placing_field_is_required(tmp_path, field):
    made = row(plan(), 0, "attack", "none", "cma", 19.0)
    del made[field]
    (tmp_path / "result.json").write_text(json.dumps(made))
    with pytest.raises(UnreadableResultError, match=f"has no '{field}'"):
        read_row(tmp_path / "result.json", CASE_FIELDS)


def test_runs_with_another_client_model_or_prior_are_not_averaged_together(tmp_path):
    runs = []
    for name, index, prior in (("a", 0, "p"), ("b", 1, "q")):
        made = row(plan(), index, "attack", "none", "cma", 12.0)
        made["details"]["setting"] = {"client": "c", "prior": prior}
        runs.append(tmp_path / name)
        write_case(runs[-1], made, plan())
    with pytest.raises(UserError, match="run with another prior"):
        build_report(runs, tmp_path / "out")
