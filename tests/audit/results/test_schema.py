"""A metric or a control is declared in one place, and is then everywhere."""

import csv
import dataclasses
import json
from pathlib import Path

import pytest
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torchmetrics import MeanAbsoluteError

from ggl_lightning.audit.plan.controls import CONTROLS, UpdateControl
from ggl_lightning.audit.plan.roles import Role, Standing
from ggl_lightning.audit.results.schema import METRICS, Metric, columns
from ggl_lightning.audit.results.schema.reference import reference
from ggl_lightning.audit.statistics import compute_statistics
from ggl_lightning.metrics import ReconstructionMetrics
from tests.audit.result_rows import small_audit

DOCS = Path(__file__).parents[3] / "docs"


def _first_cells(page: str) -> set[str]:
    """The names in the first cells of a page's tables."""
    lines = [line for line in (DOCS / page).read_text().splitlines() if line.startswith("| `")]
    return {name.strip(" `") for line in lines for name in line.split("|")[1].split(",")}


def test_documented_columns_metrics_and_roles_are_those_of_the_schema():
    assert (DOCS / "columns.md").read_text() == reference()
    assert {column.name for column in columns()} <= _first_cells("columns.md")
    assert METRICS.keys() <= _first_cells("metrics.md")
    controls = (DOCS / "worst_case.md").read_text()
    for name, control in CONTROLS.items():
        assert f"| `{name}` | {control.role.description} |" in controls


def test_documented_statistics_are_those_that_are_computed():
    (one, *_) = compute_statistics(*small_audit(images=2, seeds=1))["groups"]
    named = {"defense", "attack", "cases", "failed", "images"}  # what the group is
    copied = {"defense_parameters", "defense_guarantee"}  # from the rows
    assert one.keys() - named - copied <= _first_cells("statistics.md")


class _Reversed(UpdateControl):
    role = Role(
        "null_reversed",
        "reversed update",
        "the received update with its sign reversed",
        Standing.null,
        has_defense=True,
        has_attack=True,
    )

    def determinants(self, spec, companions):
        return {"factor": -1}

    def record(self, case, received, resources):
        turned = {name: -tensor for name, tensor in received.record.tensors.items()}
        return dataclasses.replace(received.record, tensors=turned)


@pytest.fixture
def run(audit, tiny_config, tmp_path, monkeypatch, capsys):
    """The folder of a run with one metric and one control more than there are, and its output."""
    declared = Metric(
        name="mae",
        title="MAE & co",
        meaning="mean absolute error",
        range="0 to 2",
        unit="levels",
        higher_is_better=False,
        decimals=3,
        compared=6,
        summary=3,
        is_hparam=True,
        is_printed=True,
    )
    monkeypatch.setitem(METRICS, "mae", declared)
    collection = ReconstructionMetrics.collection

    def with_one_more(self):
        metrics = collection(self)
        metrics.add_metrics({"mae": MeanAbsoluteError()})
        return metrics

    monkeypatch.setattr(ReconstructionMetrics, "collection", with_one_more)
    monkeypatch.setitem(CONTROLS, "null_reversed", _Reversed())
    config = yaml.safe_load(tiny_config.read_text())
    config["data"]["controls"] = ["null_reversed", "bound"]
    config["trainer"]["callbacks"] = []
    tiny_config.write_text(yaml.safe_dump(config, sort_keys=False))
    assert audit("--budget", "4", "--dry_run") == 0
    planned = capsys.readouterr().out
    assert audit("--budget", "4") == 0
    return tmp_path / "runs" / "tiny", planned, capsys.readouterr().out


def test_a_metric_and_a_control_more_are_everywhere(run):
    folder, planned, printed = run
    rows = json.loads((folder / "summary.json").read_text())
    statistics = json.loads((folder / "statistics.json").read_text())
    page = (folder / "report.html").read_text()

    assert all(0 < row["mae"] < 2 for row in rows)
    with (folder / "results.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [float(row["mae"]) for row in table] == [row["mae"] for row in rows]
    assert list(table[0]) == [column.name for column in columns() if not column.is_optional]
    for one in statistics["groups"]:
        assert one["metrics"]["mae"]["count"] == 2
        assert one["nulls"]["null_reversed"]["mae"] > 0
        assert "value" in one["leakage"]["mae"] or "missing" in one["leakage"]["mae"]
    assert "mae" in {each["metric"] for each in statistics["differences"]}
    assert "MAE & co" in printed.splitlines()[0]
    assert r"MAE \& co [levels]" in (folder / "table.tex").read_text()
    assert (folder / "table.md").read_text().splitlines()[2].count(" / ") == 2
    assert page.count("MAE &amp; co, levels</button>") == 1  # the verdict
    assert page.count("MAE &amp; co</button>") == 1  # leakage by every metric
    assert page.count("MAE &amp; co</td>") == 1  # the pair of defenses

    assert "null_reversed none cma" in planned
    of_control = [row for row in rows if row["role"] == "null_reversed"]
    assert {(row["image_index"], row["defense"]) for row in of_control} == {
        (image, defense) for image in (0, 3) for defense in ("none", "noise0.1")
    }
    attacks = {row["name"]: row for row in rows if row["role"] == "attack"}
    for row in of_control:
        attack = attacks[row["name"].removesuffix("_null_reversed")]
        assert row["loss"] != attack["loss"]
        assert row["evaluations"] == attack["evaluations"]
    assert 'scope="col">reversed update</th>' in page

    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    assert "audit_means/none/cma/mae" in events.Tags()["scalars"]
    (hparams,) = (folder / "tensorboard" / "hparams").glob("image000000_none_cma_seed0")
    assert "mae" in EventAccumulator(str(hparams)).Reload().Tags()["scalars"]
