"""The audit of a recorded update by the command, for recorders of frameworks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from ggl_lightning.audit.cli import main
from ggl_lightning.cli import run_command


def audited(
    record: str | dict[str, Any], client: str, prior: str, out: Path
) -> list[dict[str, Any]]:
    """The rows of a small audit of one recording, which must end well.

    Args:
        record: The recording, as in ``data.records``.
        client: Class path of the client model.
        prior: Class path of the prior.
        out: Where the run goes.
    """
    attack = {
        "class_path": "ggl_lightning.attacks.GenerativeGradientLeakage",
        "init_args": {
            "search": {
                "class_path": "ggl_lightning.attacks.searches.NevergradSearch",
                "init_args": {"population": 4},
            },
            "budget": 2,
        },
    }
    settings = {
        "model": {
            "client_model": {"class_path": client},
            "prior": {"class_path": prior},
            "out_dir": str(out),
            "exp_name": "run",
        },
        "data": {"records": [record], "attacks": {"cma": attack}, "controls": []},
        "trainer": {"accelerator": "cpu", "logger": False},
    }
    config = out.with_suffix(".yaml")
    config.write_text(yaml.safe_dump(settings))
    assert run_command(main, ["--config", str(config)]) == 0
    assert (out / "run" / "report.html").is_file()
    rows = json.loads((out / "run" / "summary.json").read_text())
    for row in rows:
        picture = out / "run" / "cases" / row["name"] / "reconstruction.png"
        assert picture.is_file()
        assert row["missing_metrics"]["psnr"] == "no private image was given"
    return rows
