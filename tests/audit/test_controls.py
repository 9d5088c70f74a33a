"""Nulls and bound through the whole audit."""

import json

import numpy as np
import pytest
import torch
import yaml

from ggl_lightning.audit.cli import main
from ggl_lightning.cli import run_command
from ggl_lightning.clients import client_update
from ggl_lightning.seeding import seeded
from tests.audit.conftest import tiny_settings
from tests.tiny import TinyClient, TinyImages, TinyPrior


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of one run that all tests look at."""
    folder = tmp_path_factory.mktemp("controls")
    config = tiny_settings(folder)
    del config["data"]["controls"]  # all of them, as by default
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(config, sort_keys=False))
    assert run_command(main, ["--config", str(file), "--budget", "20"]) == 0
    return folder / "tiny"


@pytest.fixture(scope="module")
def rows(run):
    return json.loads((run / "summary.json").read_text())


def _latents(run, row):
    return torch.from_numpy(np.load(run / "cases" / row["name"] / "latent.npy"))


def test_controls_run_at_the_attacks_cost_and_separate_leak_from_chance(rows, run):
    assert len(rows) == 2 * (2 + 1 + 1 + 2 + 2)
    by_role = {role: [r for r in rows if r["role"] == role] for role in {r["role"] for r in rows}}
    for role in ("attack", "null_noise", "null_other", "bound"):
        assert {row["evaluations"] for row in by_role[role]} == {20 * 10 + 1}
    for row in rows:
        assert row["status"] == "done"
        assert 1 <= row["rank_pixel"] <= row["decoys"] + 1 == 3
        assert (row["label_correct"] is None) == (row["role"] != "attack")
        assert row["assumed_labels"] == row["labels"]

    def mean(role, **given):
        chosen = [r["mse"] for r in by_role[role] if given.items() <= r.items()]
        return sum(chosen) / len(chosen)

    undefended = mean("attack", defense="none")
    for null in ("null_random", "null_noise", "null_other"):
        assert undefended < mean(null) / 3
        assert mean("bound") < mean(null) / 3


def test_bound_minimises_the_images_own_squared_error(rows, run):
    for row in rows:
        if row["role"] == "bound":
            assert row["defense"] is None
            assert row["loss"] == pytest.approx(row["mse"], rel=1e-4)


def test_null_other_explains_the_other_clients_update(rows, run):
    """Its loss is the distance to the update of an image that is not the private one."""
    images = TinyImages().dataset("test")
    with seeded(0):
        client = TinyClient().eval()
    for row in rows:
        if row["role"] != "null_other" or row["defense"] != "none":
            continue
        (label,) = row["labels"]
        found = TinyPrior()(_latents(run, row))
        ours = client_update(client, found, torch.tensor([label]))
        candidates = [i for i in range(6) if i % 2 == label and i != row["image_index"]]
        losses = []
        for index in candidates:
            theirs = client_update(client, images[index][0][None], torch.tensor([label]))
            losses.append(
                sum((a - b).square().sum().item() for a, b in zip(ours, theirs, strict=True))
                / len(ours)
            )
        assert min(abs(loss - row["loss"]) for loss in losses) <= 1e-3 * row["loss"] + 1e-9


def test_random_latents_score_the_mean_of_random_samples(rows, run):
    images, prior = TinyImages().dataset("test"), TinyPrior()
    samples = prior(prior.sample(10, torch.Generator().manual_seed(0)))
    for row in rows:
        if row["role"] == "null_random":
            private = images[row["image_index"]][0]
            errors = (samples - private).square().mean(dim=(1, 2, 3))
            assert row["mse"] == pytest.approx(errors.mean().item(), rel=1e-4)
            assert row["psnr"] == pytest.approx(row["psnr_random_mean"], abs=1e-3)
            assert (row["defense"], row["attack"], row["evaluations"]) == (None, None, 0)
            torch.testing.assert_close(prior(_latents(run, row))[0], samples[0])


def test_ranks_follow_from_the_definition(rows, run):
    images, prior = TinyImages().dataset("test"), TinyPrior()
    for row in rows:
        index = row["image_index"]
        others = [i for i in range(6) if i % 2 == index % 2 and i != index]
        found = prior(_latents(run, row))[0]
        errors = {i: (images[i][0] - found).square().sum() for i in [index, *others]}
        rank = 1 + sum(errors[i] < errors[index] for i in others)
        assert row["rank_pixel"] == rank
