"""Whether an audit keeps to limits, asked on the command line."""

import json
from xml.etree import ElementTree

import pytest
import yaml
from scipy.stats import binomtest

import audit
from ggl_lightning.audit.results.collect import collect
from ggl_lightning.audit.statistics import compute_statistics
from ggl_lightning.cli import run_command
from tests.audit.conftest import tiny_settings
from tests.audit.report.fabricated import Plan, failed, row, write_case, write_run

PLAN = Plan(images=8, defenses=("none", "noise0.1"), rounds=2, utility=False)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished audit: `none` leaks about 0.7, `noise0.1` next to nothing."""
    return write_run(tmp_path_factory.mktemp("finished") / "run", PLAN)


@pytest.fixture
def check(capsys):
    """Runs the check; returns its exit code, what it printed by defense and kind, and errors."""

    def run(*arguments):
        code = run_command(audit.main, ["check", *map(str, arguments)])
        printed = capsys.readouterr()
        lines = [line.split(maxsplit=3) for line in printed.out.splitlines()]
        found = {
            (words[1], words[2].rstrip(":")): (words[0], words[3])
            for words in lines
            if words[:1] in (["pass"], ["FAIL"])
        }
        return code, found, printed.err

    return run


def outcomes(found):
    return {name: outcome for name, (outcome, _) in found.items()}


def worst_case(run_dir, defense):
    results = collect([run_dir])
    entries = compute_statistics(results.rows)["worst_case"]
    return next(entry for entry in entries if entry["defense"] == defense)


def test_what_exceeds_a_limit_exits_with_1_and_what_does_not_with_0(finished, check):
    limits = ("--max_leakage=0.3", "--max_identification=0.5")
    code, found, _ = check(finished, *limits)
    assert code == 1
    assert outcomes(found) == {
        ("audit", "complete"): "pass",
        ("none", "leakage"): "FAIL",
        ("none", "identification"): "FAIL",
        ("noise0.1", "leakage"): "pass",
        ("noise0.1", "identification"): "pass",
    }
    code, found, _ = check(finished, *limits, "--only=noise0.1")
    assert code == 0
    assert {subject for subject, _ in found} == {"audit", "noise0.1"}


def test_a_limit_is_compared_with_the_worst_case_and_may_be_reached(finished, check):
    numbers = worst_case(finished, "none")["metrics"]["psnr"]["auditor"]
    leakage, high = numbers["leakage"], numbers["leakage_high"]
    assert leakage < high
    only = ("--only", "none")
    assert check(finished, *only, f"--max_leakage={leakage!r}")[0] == 0
    assert check(finished, *only, f"--max_leakage={leakage - 1e-9!r}")[0] == 1
    assert check(finished, *only, "--certain", f"--max_leakage={leakage!r}")[0] == 1
    assert check(finished, *only, "--certain", f"--max_leakage={high!r}")[0] == 0
    by_ssim = worst_case(finished, "none")["metrics"]["ssim"]["auditor"]["leakage"]
    assert by_ssim != leakage
    for limit, code in ((by_ssim, 0), (by_ssim - 1e-9, 1)):
        assert check(finished, *only, "--metric=ssim", f"--max_leakage={limit!r}")[0] == code


def test_identification_is_compared_by_its_exact_interval(finished, check):
    rows = [r for r in collect([finished]).rows if (r["role"], r["defense"]) == ("attack", "none")]
    named = max(sum(r[rank] == 1 for r in rows) for rank in ("rank_pixel", "rank_feature"))
    high = binomtest(named, len(rows)).proportion_ci(1 - 0.05 / 2).high  # the better of two
    arguments = (finished, "--only=none", "--certain")
    assert check(*arguments, f"--max_identification={min(1, high + 1e-9)!r}")[0] == 0
    if high < 1:
        assert check(*arguments, f"--max_identification={high - 1e-6!r}")[0] == 1


def test_the_verdict_may_be_the_limit(finished, check):
    code, found, _ = check(finished, "--no_leak")
    assert code == 1
    assert found["none", "verdict"] == ("FAIL", "leak shown: identification") or found[
        "none", "verdict"
    ] == ("FAIL", "leak shown: reconstruction")
    assert found["noise0.1", "verdict"][0] == "pass"


def test_what_is_missing_fails_with_the_reason(tmp_path, check):
    run = write_run(tmp_path / "run", Plan(images=8, defenses=("none",), controls=False))
    for case in (run / "cases").iterdir():
        result = json.loads((case / "result.json").read_text())
        result |= {"rank_pixel": None, "rank_feature": None, "decoys": None}
        (case / "result.json").write_text(json.dumps(result))
    code, found, _ = check(run, "--max_leakage=1", "--max_identification=1", "--no_leak")
    assert code == 1
    assert found["none", "leakage"] == ("FAIL", "by PSNR, missing: no null was run")
    assert found["none", "identification"][1].startswith("missing: no attack ranked the private")
    assert found["none", "verdict"] == ("FAIL", "not judged: no null was run")


def test_too_few_images_prove_nothing(tmp_path, check):
    run = write_run(tmp_path / "run", Plan(images=5, defenses=("noise0.1",), utility=False))
    code, found, _ = check(run, "--max_leakage=1", "--max_identification=1")
    assert code == 1
    assert "at least 6 images are needed" in found["noise0.1", "leakage"][1]
    assert "at least 6 images are needed" in found["noise0.1", "identification"][1]
    assert check(run, "--max_leakage=1", "--max_identification=1", "--min_images=5")[0] == 0


def changed(tmp_path, change):
    """A run that passes but for one change."""
    run = write_run(tmp_path / "run", PLAN)
    change(run)
    return run


def fails(run):
    case = row(PLAN, 0, "attack", "noise0.1", "cma", 12.0)
    (run / "cases" / case["name"] / "result.json").unlink()
    write_case(run, failed(case, "NaN losses"), PLAN)


def is_cut_short(run):
    file = next((run / "cases").glob("*noise0.1*attack*/result.json"))
    file.write_text(file.read_text()[:100])


def is_under_way(run):
    (run / "cases" / "image000099_noise0.1_cma_attack_seed0").mkdir()


def lacks_an_attack(run):
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["data"]["attacks"]["stronger"] = {}
    (run / "config.yaml").write_text(yaml.safe_dump(config))


def lacks_an_image(run):
    for case in (run / "cases").glob("image000007_noise0.1_*"):
        for file in case.iterdir():
            file.unlink()
        case.rmdir()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (fails, "failed: NaN losses"),
        (is_cut_short, "cannot be read"),
        (is_under_way, "image000099_noise0.1_cma_attack_seed0 is not finished"),
        (lacks_an_attack, "stronger was configured and not run on noise0.1"),
        (lacks_an_image, "cma on noise0.1 has 7 of 8 cases"),
    ],
)
def test_what_is_not_complete_does_not_pass(tmp_path, check, change, reason):
    limits = ("--max_leakage=1", "--only=noise0.1", "--only=none")
    run = changed(tmp_path, lambda _: None)
    assert check(run, *limits)[0] == 0
    change(run)
    code, found, _ = check(run, *limits)
    assert code == 1
    outcome, text = found["audit", "complete"]
    assert outcome == "FAIL"
    assert reason in text


def test_the_junit_file_says_the_same(tmp_path, check):
    run = write_run(tmp_path / "run", PLAN)
    case = row(PLAN, 0, "attack", "none", "cma", 19.0)
    (run / "cases" / case["name"] / "result.json").unlink()
    write_case(run, failed(case, "a <bad> & odd\x1b[0m \N{SNOWMAN} one"), PLAN)
    file = tmp_path / "new" / "leaks.xml"
    code, found, _ = check(run, "--max_leakage=0.3", f"--junit={file}")
    assert code == 1
    root = ElementTree.parse(file).getroot()
    [suite] = root
    assert (root.tag, suite.tag, suite.get("name")) == ("testsuites", "testsuite", str(run))
    read = {}
    for one in suite.findall("testcase"):
        failure = one.find("failure")
        key = (one.get("classname").removeprefix("ggl-audit."), one.get("name"))
        read[key] = "pass" if failure is None else "FAIL"
    assert read == outcomes(found)
    for element in (root, suite):
        failures = sum(outcome == "FAIL" for outcome in read.values())
        assert (element.get("tests"), element.get("failures")) == ("3", str(failures))
    text = suite.find("testcase/failure").get("message")
    assert "a <bad> & odd\N{REPLACEMENT CHARACTER}[0m \N{SNOWMAN} one" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["Nothing is limited", "--no_leak"]),
        (["--max_identification=1.5"], ["--max_identification is 1.5", "from 0 to 1"]),
        (["--max_leakage=nan"], ["--max_leakage is nan"]),
        (["--max_leakage=much"], ["--max_leakage", "'much'"]),
        (["--no_leak", "--min_images=0"], ["--min_images is 0"]),
        (["--no_leak", "--metric=psnr"], ["--metric", "--max_leakage"]),
        (["--no_leak", "--certain"], ["--certain"]),
        (["--max_leakage=1", "--metric=beauty"], ["beauty", "psnr"]),
        (["--no_leak", "--only=none", "--only=nois0.1"], ["nois0.1", "noise0.1"]),
        (["--no_leak", "--", "--config=demo"], ["both are there"]),
        (["--no_leak", "--junit=."], ["which is a folder"]),
    ],
)
def test_mistakes_end_in_one_line(finished, check, arguments, words):
    code, found, errors = check(finished, *arguments)
    assert (code, found) == (2, {})
    for word in words:
        assert word in errors


def test_there_must_be_something_to_check(tmp_path, check):
    code, _, errors = check("--no_leak")
    assert code == 2
    assert "neither is there" in errors
    code, _, errors = check("--no_leak", tmp_path)
    assert code == 2
    assert "holds no results" in errors


def test_an_audit_is_run_and_checked(tmp_path, check):
    settings = tiny_settings(tmp_path / "runs")
    settings["data"] |= {"idx": [0, 1, 2, 3, 4, 5], "controls": ["null_other", "bound"]}
    del settings["data"]["defenses"]["none"], settings["trainer"]["callbacks"]
    config = tmp_path / "tiny.yaml"
    config.write_text(yaml.safe_dump(settings))
    audits = ("--", f"--config={config}", "--budget=2")
    code, found, errors = check("--max_leakage=1e9", *audits, "--dry_run")
    assert (code, found) == (2, {})
    assert "--dry_run" in errors
    assert not (tmp_path / "runs").exists()
    code, found, _ = check("--max_leakage=1e9", *audits)
    assert (code, set(outcomes(found).values())) == (0, {"pass"})
    code, found, _ = check("--max_leakage=-1e9", *audits)
    assert code == 1
    assert outcomes(found) == {("audit", "complete"): "pass", ("noise0.1", "leakage"): "FAIL"}
