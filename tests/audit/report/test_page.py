"""``report.html``: what it shows, that it loads nothing, and that nothing in it comes alive."""

import json
import re
import shutil

import pytest

from ggl_lightning.audit.report import build_report
from ggl_lightning.audit.report.overview import overview
from ggl_lightning.audit.results.collect import Results
from tests.audit.report.fabricated import Plan, failed, row, rows, write_case, write_run
from tests.audit.report.html_page import by_id, read_page, with_class

SECTIONS = [
    "In short",
    "Worst case",
    "Every attack",
    "Privacy against utility",
    "Leakage against defense strength",
    "Images",
    "Loss curves",
    "Paired differences",
    "Failed cases",
    "Missing metrics",
    "Configuration",
    "Environment, seeds and cost",
]


@pytest.fixture(scope="module")
def plan():
    return Plan(attacks=("cma", "adam"))


@pytest.fixture(scope="module")
def run(tmp_path_factory, plan):
    return write_run(tmp_path_factory.mktemp("runs") / "faces", plan)


@pytest.fixture(scope="module")
def output(run, tmp_path_factory):
    return build_report([run], tmp_path_factory.mktemp("report")).parent


@pytest.fixture(scope="module")
def page(output):
    return read_page(output / "report.html")


def test_the_answer_comes_first_and_every_section_follows_in_order(page, plan):
    assert [heading.text for heading in page.all("h2")] == SECTIONS
    assert page.all("table")[0]["id"] == "table-worst-case"
    table = page.all("table")[1]
    assert table["id"] == "table-verdict"
    titles = [heading.text for heading in table.all("thead")[0].all("th")]
    assert titles[:4] == ["Defense", "Attack", "Verdict", "Leakage by PSNR"]
    shown = [[cell.text for cell in r.children[:2]] for r in table.all("tbody")[0].all("tr")]
    expected = [[d, f"{a}3 cases"] for d in plan.defenses for a in plan.attacks]
    assert shown == expected  # in the configuration's order


def test_numbers_are_those_of_the_statistics(page, output):
    groups = json.loads((output / "statistics.json").read_text())["groups"]
    table = by_id(page, "table-verdict")
    titles = [heading.text for heading in table.all("thead")[0].all("th")]
    for line in table.all("tbody")[0].all("tr"):
        names = [with_class(cell, "entry")[0].text for cell in line.children[:2]]
        (group,) = (g for g in groups if [g["defense"], g["attack"]] == names)
        cells = dict(zip(titles, line.children, strict=True))
        for title, value in (
            ("Leakage by PSNR", group["leakage"]["psnr"]["value"]),
            ("Top-1 pixel", group["identification"]["pixel"]["top1"]["rate"]),
            ("Top-5 feature", group["identification"]["feature"]["top5"]["rate"]),
            ("PSNR, dB", group["metrics"]["psnr"]["mean"]),
            ("Utility accuracy", group["utility"]["accuracy"]),
        ):
            assert float(cells[title]["data-value"]) == pytest.approx(value)
        low, high = (group["metrics"]["psnr"][end] for end in ("low", "high"))
        assert with_class(cells["PSNR, dB"], "detail")[0].text == f"{low:.1f}\N{EN DASH}{high:.1f}"


def test_it_is_one_file_that_loads_nothing(page):
    for element in page.all():
        for name in ("src", "href", "srcset", "data", "action", "poster", "background"):
            value = element.get(name)
            assert value is None or value.startswith(("data:", "#")), (element.tag, name, value)
    style = "".join(element.text for element in page.all("style"))
    styles = [e.get("style") or "" for e in page.all()]
    assert not re.search(r"@import|url\((?!#)", style + " ".join(styles))
    (policy,) = (m for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert policy["content"].startswith("default-src 'none'; img-src data:;")


def test_pictures_and_figures_have_words_and_ids_are_unique(page):
    images = page.all("img")
    assert images
    assert all((image.get("alt") or "").strip() for image in images)
    figures = with_class(page, "figure")
    assert len(figures) == 4  # privacy-utility, noise's strength, two attacks' losses
    for figure in figures:
        assert figure["role"] == "img"
        assert all(by_id(page, name).text for name in figure["aria-labelledby"].split())
    ids = [element["id"] for element in page.all() if element.get("id")]
    assert len(set(ids)) == len(ids)
    targets = {value[1:] for e in page.all() if (value := e.get("href") or "").startswith("#")}
    assert targets <= set(ids)


def test_tables_can_be_sorted_with_the_keyboard(page):
    tables = with_class(page, "sortable")
    assert len(tables) >= 4
    for table in tables:
        for heading in table.all("thead")[0].all("th"):
            assert heading["aria-sort"] == "none"
            assert heading["data-sort"] in ("number", "text")
            assert [child.tag for child in heading.children] == ["button"]


def test_wide_tables_scroll_inside_their_own_box(page):
    for table in page.all("table"):
        box = table.parent
        assert "scroll" in box["class"]
        assert box["tabindex"] == "0"
        assert box["aria-label"]


def test_grid_has_private_image_nulls_reconstructions_and_bound(page, plan):
    grid = with_class(page, "grid")[0]
    heads = [th.text for th in grid.all("thead")[0].all("tr")[1].all("th")]
    group = ["update of noise", "another image\N{RIGHT SINGLE QUOTATION MARK}s update"]
    group.append("reconstruction")
    groups = len(plan.defenses) * len(plan.attacks)
    assert heads == ["private image", "random samples", *group * groups, *["direct inversion"] * 2]
    lines = grid.all("tbody")[0].all("tr")
    assert len(lines) == plan.images
    assert all(len(line.all("img")) == len(heads) for line in lines)


def test_pictures_are_bounded_and_the_page_says_so(tmp_path):
    plan = Plan(images=30, defenses=("none",), controls=False, utility=False, rounds=2)
    page = read_page(build_report([write_run(tmp_path / "many", plan)], tmp_path / "out"))
    assert len(with_class(page, "grid")[0].all("tbody")[0].all("tr")) == 24
    assert "6 more private images are left out" in by_id(page, "images").text


def test_loss_curves_that_are_read_are_bounded_and_the_page_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("ggl_lightning.audit.report.page.MOST_CURVES", 3)
    plan = Plan(images=10, defenses=("none", "noise0.1"), utility=False, rounds=2)
    run = write_run(tmp_path / "many", plan)
    page = read_page(build_report([run], tmp_path / "out"))
    assert "14 cases are not in the figures" in by_id(page, "losses").text
    read = {0, 3, 6}
    for case in rows(plan):
        if case["role"] == "attack" and case["image_index"] not in read:
            (run / "cases" / case["name"] / "losses.csv").unlink()
    again = read_page(build_report([run], tmp_path / "again"))
    assert by_id(again, "losses").text == by_id(page, "losses").text
    monkeypatch.undo()
    whole = read_page(build_report([run], tmp_path / "whole"))
    assert "not in the figures" not in by_id(whole, "losses").text
    assert "14 cases without a curve" in by_id(whole, "losses").text


def test_many_scattered_images_are_counted_instead_of_listed(tmp_path):
    few = [{**case, "image_index": 3 * case["image_index"]} for case in rows(Plan(images=3))]
    many = [{**case, "image_index": 3 * case["image_index"]} for case in rows(Plan(images=50))]
    for found, text in ((few, "0, 3, 6"), (many, "50 between 0 and 147")):
        results = Results([], found, {}, [], [], [], [])
        assert overview(results)["images"] == text


def test_one_case_alone_makes_a_report_that_claims_nothing(tmp_path):
    plan = Plan(images=1, defenses=("none",), controls=False, utility=False)
    page = read_page(build_report([write_run(tmp_path / "one", plan)], tmp_path / "out"))
    line = by_id(page, "table-verdict").all("tbody")[0].all("tr")[0]
    leakage, psnr = line.children[3], line.children[8]
    for cell in (leakage, psnr):  # the first has no number, the second no interval
        assert "\N{EM DASH}" in cell.text
        (note,) = with_class(cell, "note")
        assert by_id(page, note["href"][1:]).text
    assert "Nothing to plot" in by_id(page, "strength").text
    assert "Nothing to plot" in by_id(page, "privacy-utility-section").text


def test_failures_and_unreadable_results_are_listed_with_reasons(tmp_path):
    plan = Plan(images=1, defenses=("none", "noise0.1"))
    run = write_run(tmp_path / "run", plan)
    first, second = [case for case in rows(plan) if case["role"] == "attack"][:2]
    for case in (first, second):
        (run / "cases" / case["name"] / "result.json").unlink()
    write_case(run, failed(first, "ValueError: the optimiser raised"), plan)
    (run / "cases" / second["name"] / "result.json").write_text(json.dumps(second)[:50])
    page = read_page(build_report([run], tmp_path / "out"))
    table = by_id(page, "table-failures").all("tbody")[0]
    listed = {line.children[0].text: line.children[2].text for line in table.all("tr")}
    assert listed[first["name"]] == "ValueError: the optimiser raised"
    unreadable = f"run/cases/{second['name']}/result.json"
    assert listed[unreadable].startswith("not valid JSON")
    assert len(listed) == 2


def test_missing_metrics_are_listed_with_reasons(page, plan):
    table = by_id(page, "table-missing").all("tbody")[0]
    lines = [[cell.text for cell in line.children] for line in table.all("tr")]
    cases = len(rows(plan))
    reason = "no backbone weights: set lpips_vgg_weights"
    assert ["LPIPS (VGG)", reason, f"{cases} of {cases}"] in lines


def test_configuration_and_environment_are_shown_as_they_are(page, run):
    assert by_id(page, "configuration").all("pre")[0].text == (
        (run / "config.yaml").read_text().strip()
    )
    environment = by_id(page, "environment").text
    assert "2.13.0" in environment
    assert "3.11.4" in environment


HOSTILE = "<script>alert(1)</script>"
QUOTED = '"><img src=x onerror=alert(1)>$\\frac{'


def test_hostile_text_anywhere_stays_text(tmp_path):
    attacks = (f"a{HOSTILE}", "_$\\frac{$")
    plan = Plan(images=2, defenses=(HOSTILE, QUOTED), attacks=attacks, rounds=3)
    run = tmp_path / '"><img src=x onerror=alert(2)>'
    for i, made in enumerate(rows(plan)):
        hostile = {**made, "name": f"{made['name']}{HOSTILE}", "stop_reason": HOSTILE}
        hostile["missing_metrics"] = {HOSTILE: QUOTED, "lpips_vgg": HOSTILE}
        hostile["details"] = {HOSTILE: HOSTILE}
        if made["defense"]:
            strength = {"class": f"a.{HOSTILE}", QUOTED: len(made["defense"])}
            hostile["defense_parameters"] = strength
            hostile["defense_guarantee"] = {"epsilon": HOSTILE}
        if i == 3:
            hostile = failed(hostile, QUOTED)
        write_case(run, hostile, plan, name=f"case{i}")
    (run / "cases" / "case4" / "result.json").write_text(HOSTILE)
    (run / "config.yaml").write_text(f"a: '{HOSTILE}'\n</pre>{QUOTED}")
    (run / "environment.json").write_text(json.dumps({HOSTILE: [QUOTED, {"b": HOSTILE}]}))
    page = read_page(build_report([run], tmp_path / "out"))
    (script,) = page.all("script")
    assert "alert" not in script.text
    assert all((image.get("src") or "").startswith("data:") for image in page.all("img"))
    assert not [e for e in page.all() for name in e.attributes if name.startswith("on")]
    for section in ("verdict", "images", "losses", "failures", "missing", "environment"):
        assert HOSTILE in by_id(page, section).text, section


def test_the_same_results_give_the_same_bytes_wherever_they_lie(tmp_path):
    run = write_run(tmp_path / "here" / "run", Plan(images=2, defenses=("noise0.01", "noise0.1")))
    moved = tmp_path / "there" / "run"
    shutil.copytree(run, moved)
    build_report([run], tmp_path / "out")
    files = sorted((tmp_path / "out").iterdir())
    assert len(files) == 7
    for _ in range(2):  # the second time over the run's own report
        build_report([moved], moved)
        for file in files:
            assert (moved / file.name).read_bytes() == file.read_bytes(), file.name


def test_row_order_of_a_stray_control_does_not_matter(tmp_path):
    """A control of a defense that was never attacked is shown, not tripped over."""
    plan = Plan(images=2, defenses=("none",), utility=False)
    run = write_run(tmp_path / "run", plan)
    write_case(run, row(plan, 0, "null_noise", "noise0.1", "cma", 11.0), plan)
    page = read_page(build_report([run], tmp_path / "out"))
    assert "update of noise, noise0.1, cma" in {
        tile.get("data-label") for tile in with_class(page, "null_noise")
    }
