"""The JSON schemas that come with the package, against what audits write."""

import copy
import csv
import json

import jsonschema
import pytest
import yaml

from ggl_lightning.audit.report import build_report
from ggl_lightning.audit.results.numbers import dumps
from ggl_lightning.audit.results.schema import METRICS, columns
from ggl_lightning.audit.results.schema.json_schema import (
    FILES,
    json_schema,
    statistics_schema,
    summary_schema,
)
from ggl_lightning.audit.statistics import compute_statistics
from tests.audit.conftest import tiny_settings
from tests.audit.report.fabricated import Plan, failed, row, write_case, write_run
from tests.audit.result_rows import case, small_audit
from tests.audit.result_rows import failed as failed_case


def closed(schema):
    """The same schema without leave for fields that it does not name."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: closed(value) for name, value in schema.items()}
    if schema.get("type") == "object" and "properties" in schema:
        made.setdefault("additionalProperties", False)
    return made


def check(file, content):
    """Raises unless the content has exactly what the schema names."""
    content = json.loads(dumps(content))
    jsonschema.validate(content, json_schema(file), jsonschema.Draft202012Validator)
    jsonschema.validate(content, closed(json_schema(file)), jsonschema.Draft202012Validator)


@pytest.mark.parametrize("file", FILES)
def test_the_shipped_schema_is_the_declared_one_and_a_schema(file):
    made = {"statistics": statistics_schema, "summary": summary_schema}[file]()
    assert json_schema(file) == json.loads(json.dumps(made))
    jsonschema.Draft202012Validator.check_schema(made)


def test_every_metric_and_column_is_named():
    group = statistics_schema()["$defs"]["group"]["properties"]
    assert group["metrics"]["properties"].keys() == METRICS.keys()
    fields = summary_schema()["items"]["properties"]
    assert list(fields) == [column.name for column in columns()]
    assert all(fields[column.name]["description"] == column.meaning for column in columns())


@pytest.mark.parametrize(
    "made",
    [
        small_audit(),
        small_audit(images=1, seeds=1),
        ([case(psnr=20.0, mse=0.04)], []),
        ([failed_case(), case(1, defense="noise")], []),
        ([], []),
    ],
    ids=["two defenses", "one image", "no controls", "failed", "nothing"],
)
def test_statistics_fit(made):
    check("statistics", compute_statistics(*made))


def test_a_bound_that_does_not_beat_the_null_fits():
    rows, utility = small_audit(images=7, seeds=1)
    for one in rows:
        if one["role"] == "bound":
            one |= {"psnr": 1.0, "mse": 4.0, "ssim": 0.01}
    found = compute_statistics(rows, utility)
    assert found["worst_case"][0]["metrics"]["psnr"]["auditor"]["leakage"] is None
    check("statistics", found)


def test_reports_of_runs_fit(tmp_path):
    plan = Plan(images=7, attacks=("cma", "adam"), rounds=2)
    run = write_run(tmp_path / "run", plan)
    changed = row(plan, 0, "attack", "none", "cma", 19.0)
    (run / "cases" / changed["name"] / "result.json").unlink()
    write_case(run, failed(changed, "NaN losses"), plan)
    exact = row(plan, 1, "attack", "none", "cma", 19.0) | {"mse": 0.0, "psnr": "Infinity"}
    (run / "cases" / exact["name"] / "result.json").write_text(json.dumps(exact))
    build_report([run], run)
    for file in FILES:
        check(file, json.loads((run / f"{file}.json").read_text()))
    rows = json.loads((run / "summary.json").read_text())
    assert "Infinity" in {one["psnr"] for one in rows}
    with (run / "results.csv").open() as file:
        header = next(csv.reader(file))
    assert header == [column.name for column in columns() if not column.is_optional]
    assert set(rows[0]) <= set(header)


def test_what_an_audit_writes_fits(tmp_path, audit, tiny_config):
    settings = tiny_settings(tmp_path / "runs")
    settings["data"] |= {
        **{"idx": [0, 1, 2, 3], "client_batch": 2, "decoys": 1},
        "controls": ["null_random", "bound"],
    }
    del settings["trainer"]["callbacks"]
    tiny_config.write_text(yaml.safe_dump(settings))
    assert audit("--budget=1") == 0
    run = tmp_path / "runs" / "tiny"
    for file in FILES:
        check(file, json.loads((run / f"{file}.json").read_text()))
    rows = json.loads((run / "summary.json").read_text())
    optional = {column.name for column in columns() if column.is_optional}
    assert set(rows[0]) == {column.name for column in columns()} - optional


@pytest.mark.parametrize(
    "spoil",
    [
        lambda found: found.update(version=2),
        lambda found: found.pop("worst_case"),
        lambda found: found["groups"][0].pop("leakage"),
        lambda found: found["groups"][0]["metrics"]["psnr"].update(mean="high"),
        lambda found: found["groups"][0]["label_accuracy"].update(rate=1.5),
        lambda found: found["groups"][0]["metrics"].update(psnr={}),
        lambda found: found["worst_case"][0].update(verdict="perhaps"),
        lambda found: found["differences"][0].pop("p_value"),
    ],
)
def test_what_is_wrong_is_refused(spoil):
    found = copy.deepcopy(compute_statistics(*small_audit(images=2, seeds=1)))
    check("statistics", found)
    spoil(found)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(found, json_schema("statistics"))
