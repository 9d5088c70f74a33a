"""The audit from the command line to the files it leaves."""

import csv
import json

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ggl_lightning.clients import client_update
from ggl_lightning.seeding import seeded
from tests.forks import Command
from tests.tiny import TinyClient, TinyImages, TinyPrior

NAMES = [
    f"image{index:06d}_{defense}_cma_seed0" for index in (0, 3) for defense in ("none", "noise0.1")
]


@pytest.fixture
def run_folder(audit, tmp_path):
    assert audit() == 0
    return tmp_path / "runs" / "tiny"


def _summary(folder):
    return json.loads((folder / "summary.json").read_text())


def _pixels(path):
    return torch.from_numpy(np.asarray(Image.open(path)).copy()).permute(2, 0, 1) / 127.5 - 1


def test_every_case_leaves_its_files_and_the_run_its_tables(run_folder):
    summary = _summary(run_folder)
    assert [case["name"] for case in summary] == NAMES
    for case in summary:
        folder = run_folder / "cases" / case["name"]
        assert json.loads((folder / "result.json").read_text()) == case
        assert {"mse", "psnr", "ssim", "psnr_random_mean", "seconds"} <= case.keys()
        assert case["evaluations"] == 15 * 10 + 1
        assert case["labels"] == case["inferred_labels"] == [case["image_index"] % 2]
        assert case["label_correct"] is True
        with (folder / "losses.csv").open() as file:
            curve = list(csv.DictReader(file))
        assert [int(row["round"]) for row in curve] == list(range(1, 16))
        assert float(curve[-1]["loss_best"]) >= case["loss"]
        assert not (folder / "snapshot.safetensors").exists()
    with (run_folder / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == NAMES
    assert [float(row["psnr"]) for row in rows] == [case["psnr"] for case in summary]
    with Image.open(run_folder / "summary.png") as picture:
        assert picture.width > 3 * 128
        assert picture.height > 2 * 128
    config = yaml.safe_load((run_folder / "config.yaml").read_text())
    assert config["data"]["attacks"]["cma"]["init_args"]["budget"] == 15


def test_numbers_in_the_result_follow_from_the_files_beside_it(run_folder):
    """Recomputes metrics and objective from the saved latent, by definition."""
    prior = TinyPrior()
    images = TinyImages().dataset("test")
    with seeded(0):
        client = TinyClient().eval()
    for case in _summary(run_folder):
        folder = run_folder / "cases" / case["name"]
        private, label = images[case["image_index"]]
        image = prior(torch.from_numpy(np.load(folder / "latent.npy")))[0]
        assert (_pixels(folder / "original.png") - private).abs().max() <= 1 / 127.5
        assert (_pixels(folder / "reconstruction.png") - image).abs().max() <= 1 / 127.5
        mse = (image - private).square().mean().item()
        assert case["mse"] == pytest.approx(mse, rel=1e-4)
        assert case["psnr"] == pytest.approx(10 * np.log10(4 / mse), abs=1e-3)
        if case["defense"] == "none":
            received = client_update(client, private[None], label[None])
            ours = client_update(client, image[None], label[None])
            loss = sum((a - b).square().sum() for a, b in zip(ours, received, strict=True))
            assert case["loss"] == pytest.approx(loss.item() / len(ours), rel=1e-3, abs=1e-9)
        random = prior(prior.sample(10, torch.Generator().manual_seed(0)))
        errors = (random - private).square().mean(dim=(1, 2, 3))
        assert case["psnr_random_mean"] == pytest.approx(
            (10 * torch.log10(4 / errors)).mean().item(), abs=1e-3
        )


def test_undefended_attack_beats_random_samples_and_noise_hides(audit, tmp_path):
    assert audit("--budget", "80", "--idx", "0") == 0
    none, noise = _summary(tmp_path / "runs" / "tiny")
    assert none["psnr"] > 30
    assert none["psnr"] > none["psnr_random_mean"] + 15
    assert noise["psnr"] < none["psnr"]


def test_same_seed_same_bits_and_another_seed_another_search(audit, tmp_path):
    for name, seed in (("a", "0"), ("b", "0"), ("c", "1")):
        assert audit("--exp_name", name, "--idx", "0", "--seed", seed) == 0

    def latents(name):
        files = sorted((tmp_path / "runs" / name / "cases").glob("*/latent.npy"))
        assert len(files) == 2
        return [np.load(file) for file in files]

    assert all(np.array_equal(x, y) for x, y in zip(latents("a"), latents("b"), strict=True))
    assert not any(np.array_equal(x, y) for x, y in zip(latents("a"), latents("c"), strict=True))


def test_rerun_does_only_what_is_missing(audit, run_folder):
    results = [run_folder / "cases" / name / "result.json" for name in NAMES]
    before = _summary(run_folder)
    results[2].unlink()
    results[3].write_text('{"name": "trunc')
    kept = [file.stat().st_mtime_ns for file in results[:2]]
    assert audit() == 0
    assert [file.stat().st_mtime_ns for file in results[:2]] == kept
    varying = {"seconds"}
    for old, new in zip(before, _summary(run_folder), strict=True):
        assert {k: v for k, v in old.items() if k not in varying} == {
            k: v for k, v in new.items() if k not in varying
        }


def test_longer_grid_extends_a_run(audit, run_folder):
    kept = (run_folder / "cases" / NAMES[0] / "result.json").read_text()
    assert audit("--idx", "[0, 3, 5]") == 0
    assert (run_folder / "cases" / NAMES[0] / "result.json").read_text() == kept
    assert len(_summary(run_folder)) == 6


def test_winning_trial_is_the_one_with_the_lowest_loss(audit, tmp_path):
    assert audit("--n_trials", "3", "--idx", "0") == 0
    for case in _summary(tmp_path / "runs" / "tiny"):
        losses = case["details"]["trial_losses"]
        assert len(losses) == 3
        assert case["loss"] == min(losses) == losses[case["trial"]]
        assert case["evaluations"] == 3 * (15 * 10 + 1)


def test_tensorboard_holds_curves_snapshots_and_final_metrics(run_folder):
    events = EventAccumulator(str(run_folder / "tensorboard"))
    events.Reload()
    summary = _summary(run_folder)
    for case in summary:
        prefix = f"{case['name']}/trial0"
        for tag in ("loss_mean", "loss_min", "loss_best"):
            scalars = events.Scalars(f"{prefix}/{tag}")
            assert [scalar.step for scalar in scalars] == list(range(1, 16))
        best = [scalar.value for scalar in events.Scalars(f"{prefix}/loss_best")]
        assert best == sorted(best, reverse=True)
        snapshots = events.Images(f"{prefix}/private_and_best")
        assert {snapshot.step for snapshot in snapshots} == {5, 10, 15}
        assert (snapshots[0].width, snapshots[0].height) == (16, 8)
    for defense in ("none", "noise0.1"):
        mean = np.mean([case["psnr"] for case in summary if case["defense"] == defense])
        logged = events.Scalars(f"audit_means/{defense}/cma/psnr")[-1].value
        assert logged == pytest.approx(mean, rel=1e-5)


def test_time_limit_from_yaml_is_recorded(audit, tiny_config, tmp_path):
    config = yaml.safe_load(tiny_config.read_text())
    config["trainer"]["callbacks"].append(
        {
            "class_path": "ggl_lightning.attacks.callbacks.SearchTimeLimit",
            "init_args": {"seconds": 1e-6},
        }
    )
    tiny_config.write_text(yaml.safe_dump(config, sort_keys=False))
    assert audit("--idx", "0") == 0
    case = _summary(tmp_path / "runs" / "tiny")[0]
    assert case["rounds"] == 1
    assert "time limit" in case["stop_reason"]


def test_the_real_command_prints_a_table_and_a_resolved_configuration(tiny_config, audit, capsys):
    command = Command("audit.py", "--config", str(tiny_config), "--idx=0", "--budget=2")
    code, output, errors = command.end()
    assert code == 0, errors
    header, first, second = output.splitlines()[:3]
    assert header.split()[:3] == ["image", "defense", "attack"]
    assert first.split()[:3] == ["0", "none", "cma"]
    assert second.split()[:3] == ["0", "noise0.1", "cma"]
    assert "summary.png" in output
    with pytest.raises(SystemExit) as ended:
        audit("--budget", "7", "--ng_method", "PSO", "--print_config")
    assert ended.value.code == 0
    attack = yaml.safe_load(capsys.readouterr().out)["data"]["attacks"]["cma"]["init_args"]
    assert attack["budget"] == 7
    assert attack["search"]["init_args"]["method"] == "PSO"
