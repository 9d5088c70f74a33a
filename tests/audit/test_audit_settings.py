"""Client batches, local SGD, trained clients, defenses and searches, each through the audit."""

import json

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file

from ggl_lightning.audit.run.matching import match_to_originals
from tests.tiny import TinyClient, TinyImages, TinyPrior


@pytest.fixture
def audit_with(audit, tiny_config, tmp_path):
    """Runs the tiny audit after a change to its configuration; returns its summary."""

    def run(change, *arguments):
        config = yaml.safe_load(tiny_config.read_text())
        change(config)
        tiny_config.write_text(yaml.safe_dump(config, sort_keys=False))
        assert audit(*arguments) == 0
        return json.loads((tmp_path / "runs" / "tiny" / "summary.json").read_text())

    return run


def _attack(config):
    return config["data"]["attacks"]["cma"]["init_args"]


def _only(config, class_name, **init_args):
    config["data"]["defenses"] = {
        "d": {"class_path": f"ggl_lightning.defenses.{class_name}", "init_args": init_args}
    }


def test_matching_undoes_a_permutation():
    generator = torch.Generator().manual_seed(0)
    originals = torch.randn(6, 3, 4, 4, generator=generator)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    shuffled = originals[order] + 0.01 * torch.randn(6, 3, 4, 4, generator=generator)
    assert torch.equal(match_to_originals(shuffled, originals), order.argsort())


def test_batch_is_searched_jointly_and_matched(audit_with, tmp_path):
    def change(config):
        config["data"].update(idx=[0, 3, 1, 2], client_batch=2)
        _only(config, "NoDefense")
        _attack(config)["search"] = {
            "class_path": "ggl_lightning.attacks.searches.AdamSearch",
            "init_args": {"restarts": 8},
        }

    cases = audit_with(change, "--budget", "100")
    assert [case["name"] for case in cases] == [
        "image000000x2_d_cma_seed0",
        "image000001x2_d_cma_seed0",
    ]
    prior, images = TinyPrior(), TinyImages().dataset("test")
    for case in cases:
        assert case["labels"] == [images[i][1] for i in case["details"]["indices"]]
        assert sorted(case["labels"]) == case["inferred_labels"]
        latents = np.load(tmp_path / "runs/tiny/cases" / case["name"] / "latent.npy")
        assert latents.shape == (2, 6)
        shown = prior(torch.from_numpy(latents))
        private = torch.stack([images[i][0] for i in case["details"]["indices"]])
        assert case["mse"] == pytest.approx((shown - private).square().mean().item(), rel=1e-4)
        swapped = (shown.flip(0) - private).square().mean().item()
        assert case["mse"] <= swapped
    assert max(case["psnr"] for case in cases) > 20


def test_local_sgd_updates_are_attacked_with_the_same_rule(audit_with):
    def change(config):
        config["model"]["update_rule"] = {
            "class_path": "ggl_lightning.clients.LocalSGDUpdate",
            "init_args": {"steps": 3, "learning_rate": 0.05},
        }
        _only(config, "NoDefense")

    cases = audit_with(change, "--budget", "60", "--idx", "0", "--n_trials", "4")
    assert cases[0]["details"]["procedure"]["steps"] == 3
    assert cases[0]["psnr"] > cases[0]["psnr_random_mean"] + 10


@pytest.mark.parametrize(
    ("class_path", "init_args", "budget", "index"),
    [
        ("ggl_lightning.attacks.searches.AdamSearch", {"restarts": 8}, 250, "2"),
        ("ggl_lightning.attacks.searches.NevergradSearch", {"population": 12}, 100, "2"),
        ("ggl_lightning.attacks.searches.turbo.TuRBOSearch", {"initial": 20}, 60, "0"),
    ],
)
def test_private_image_in_the_priors_range_is_recovered(
    audit_with, class_path, init_args, budget, index
):
    def change(config):
        _only(config, "NoDefense")
        _attack(config)["search"] = {"class_path": class_path, "init_args": init_args}

    trials = "3" if "Nevergrad" in class_path else "1"  # CMA-ES may end in a local minimum
    case = audit_with(change, "--budget", str(budget), "--idx", index, "--n_trials", trials)[0]
    if "turbo" in class_path:
        assert case["psnr"] > case["psnr_random_mean"] + 3
        assert case["evaluations"] == budget + 1
    else:
        assert case["psnr"] > 30


def test_refinement_improves_on_its_search(audit_with, tmp_path):
    plain = audit_with(lambda config: _only(config, "NoDefense"), "--idx", "0")[0]
    refined = audit_with(
        lambda config: _attack(config).update(refine_steps=100, refine_lr=0.05),
        "--idx", "0", "--exp_name", "refined",
    )  # fmt: skip
    refined = json.loads((tmp_path / "runs" / "refined" / "summary.json").read_text())[0]
    assert refined["loss"] < plain["loss"] / 10
    assert refined["evaluations"] == plain["evaluations"] + 100


@pytest.mark.parametrize(
    ("class_name", "init_args"),
    [
        ("Clipping", {"bound": 0.3}),
        ("LayerwiseClipping", {"bound": 0.1}),
        ("Compression", {"percentage": 70}),
        ("Representation", {"pruning_rate": 50}),
        ("Sign", {}),
        ("Quantization", {"bits": 3}),
    ],
)
def test_knowing_the_defense_pays_for_an_adaptive_attacker(
    audit_with, tmp_path, class_name, init_args
):
    """The truth explains the received update perfectly only to who undoes the defense."""

    def change(config):
        _only(config, class_name, **init_args)
        _attack(config)["adaptive"] = True

    case = audit_with(change, "--budget", "120", "--idx", "0")[0]
    assert case["psnr"] > case["psnr_random_mean"] + 6
    if init_args:
        assert case["defense_estimate"]
        assert init_args.items() <= case["defense_parameters"].items()


def test_guarantee_and_missing_metrics_are_reported(audit_with, tmp_path):
    case = audit_with(
        lambda config: _only(config, "DPSGD", bound=1.0, noise_multiplier=1.0), "--idx", "0"
    )[0]
    assert case["defense_guarantee"]["epsilon"] > 0
    assert case["lpips_vgg"] is None
    assert "too small" in case["missing_metrics"]["lpips_vgg"]
    assert case["psnr_published"] == pytest.approx(case["psnr"] - 6.0206, abs=1e-3)
    assert "nan" not in (tmp_path / "runs" / "tiny" / "results.csv").read_text().lower()


def test_trained_model_is_audited_instead_of_random_weights(audit_with, tmp_path):
    torch.manual_seed(42)
    trained = TinyClient()
    save_file(trained.state_dict(), tmp_path / "client.safetensors")
    case = audit_with(
        lambda config: _only(config, "NoDefense"),
        "--idx", "0", "--trained_model", str(tmp_path / "client.safetensors"),
    )[0]  # fmt: skip
    image = TinyPrior()(torch.from_numpy(
        np.load(tmp_path / "runs/tiny/cases" / case["name"] / "latent.npy")))  # fmt: skip
    private = TinyImages().dataset("test")[0][0][None]
    with torch.no_grad():
        logits = trained.eval()(torch.cat([image, private]))
    expected = (logits[0] - logits[1]).square().mean().item()
    assert case["fmse"] == pytest.approx(expected, rel=1e-3)


def test_known_label_replaces_a_wrong_inference(audit_with):
    """Heavy noise makes the inferred label a coin toss; a known label is right, and says so."""

    def change(config):
        config["data"]["idx"] = [0, 1, 2, 3, 4, 5]
        _only(config, "Noise", std=100.0)
        _attack(config)["known_label"] = True

    cases = audit_with(change, "--budget", "1")
    assert all(case["assumed_labels"] == case["labels"] for case in cases)
    wrong = [case for case in cases if not case["label_correct"]]
    assert wrong  # recorded, not hidden
    assert all(case["inferred_labels"] != case["labels"] for case in wrong)
