"""Gradient inversion in audits: pixels beside latents, stages, and what does not fit."""

import json

import pytest
import yaml

from tests.audit.conftest import tiny_settings

ATTACKS = "ggl_lightning.attacks"


def inversion(space, search, **settings):
    """An attack's settings."""
    return {
        "class_path": f"{ATTACKS}.GradientInversion",
        "init_args": {
            "space": {"class_path": f"{ATTACKS}.spaces.{space}"},
            "search": search,
            **settings,
        },
    }


def descent(name="AdamSearch", **settings):
    return {"class_path": f"{ATTACKS}.searches.{name}", "init_args": settings}


def penalty(name, weight):
    return {"class_path": f"{ATTACKS}.penalties.{name}", "init_args": {"weight": weight}}


@pytest.fixture
def run_attacks(audit, tmp_path):
    """Audits one image by attacks; gives the exit code."""

    def run(attacks, *arguments):
        settings = tiny_settings(tmp_path / "runs")
        settings["data"]["attacks"] = attacks
        settings["data"]["defenses"].pop("noise0.1")
        settings["data"]["idx"] = [0]
        path = tmp_path / "inversion.yaml"
        path.write_text(yaml.safe_dump(settings))
        return audit("--config", str(path), *arguments)

    return run


def test_each_kind_is_run_scored_and_reported(run_attacks, tmp_path):
    signed = descent(signed=True, schedule="steps", restarts=2)
    attacks = {
        "dlg": inversion("Pixels", descent("LBFGSSearch"), budget=30),
        "ig": inversion(
            "Pixels",
            signed,
            budget=30,
            distance="whole_cosine",
            penalties=[penalty("TotalVariation", 1e-4), penalty("BatchNormStatistics", 1e-4)],
        ),
        "rog": inversion("LowResolution", descent(), budget=30),
        "gias": inversion("GeneratorWeights", descent(), budget=30, later_budget=10),
    }
    assert run_attacks(attacks, "--data.controls", "[bound]") == 0
    run = tmp_path / "runs" / "tiny"
    for name in attacks:
        found = json.loads((run / f"cases/image000000_none_{name}_seed0/result.json").read_text())
        assert found["status"] == "done"
        assert (run / f"cases/image000000_{name}_seed0_bound").is_dir()
    assert "gias" in (run / "report.html").read_text()


@pytest.mark.parametrize(
    ("attack", "message"),
    [
        (
            inversion("Pixels", descent(), penalties=[penalty("GroupConsistency", 1)]),
            "set its restarts",
        ),
        (inversion("Pixels", descent("NevergradSearch")), "cannot search Pixels"),
        (inversion("Features", descent()), "do not run in sequence"),
        (inversion("Pixels", descent(), penalties=[penalty("TotalVariation", -1)]), "weight"),
        (inversion("Pixels", descent(floor=0.5)), "floor belong"),
    ],
)
def test_what_does_not_fit_is_told_before_anything_runs(run_attacks, attack, message, capsys):
    assert run_attacks({"one": attack}) == 2
    assert message in capsys.readouterr().err
