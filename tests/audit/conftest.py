import pytest
import yaml

from ggl_lightning.audit.cli import main
from ggl_lightning.cli import run_command


def tiny_settings(out_dir):
    """The settings of a small but complete audit, with results below ``out_dir / "tiny"``."""
    return {
        "model": {
            "client_model": {"class_path": "tests.tiny.TinyClient"},
            "prior": {"class_path": "tests.tiny.TinyPrior"},
            "out_dir": str(out_dir),
            "exp_name": "tiny",
            "random_samples": 10,
        },
        "data": {
            "images": {"class_path": "tests.tiny.TinyImages"},
            "idx": [0, 3],
            "controls": [],
            "decoys": 2,
            "defenses": {
                "none": {"class_path": "ggl_lightning.defenses.NoDefense"},
                "noise0.1": {
                    "class_path": "ggl_lightning.defenses.Noise",
                    "init_args": {"std": 0.1},
                },
            },
            "attacks": {
                "cma": {
                    "class_path": "ggl_lightning.attacks.GenerativeGradientLeakage",
                    "init_args": {
                        "search": {
                            "class_path": "ggl_lightning.attacks.searches.NevergradSearch",
                            "init_args": {"population": 10},
                        },
                        "budget": 15,
                        "kl_weight": 0.0,
                    },
                }
            },
        },
        "trainer": {
            "accelerator": "cpu",
            "callbacks": [
                {"class_path": "ggl_lightning.attacks.callbacks.SearchProgressBar"},
                {
                    "class_path": "ggl_lightning.attacks.callbacks.SearchTensorBoard",
                    "init_args": {"every_n_rounds": 5},
                },
            ],
        },
    }


@pytest.fixture
def tiny_config(tmp_path):
    """A YAML file for a small but complete audit; results go below ``tmp_path / "runs"``."""
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(tiny_settings(tmp_path / "runs"), sort_keys=False))
    return path


@pytest.fixture
def audit(tiny_config):
    """Runs the audit command in this process; returns its exit code."""

    def run(*arguments: str) -> int:
        return run_command(main, ["--config", str(tiny_config), *arguments])

    return run
