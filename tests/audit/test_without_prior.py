"""Audits of an attacker without a prior, by the real command and from Python."""

import csv
import json
import logging

import pytest
import torch
import yaml
from torchvision.utils import save_image

from ggl_lightning import audit_update
from ggl_lightning.attacks import (
    FirstLinearInversion,
    GenerativeGradientLeakage,
    GradientInversion,
    LearnedInversion,
    StandardAttack,
    Target,
    UpdateMatching,
)
from ggl_lightning.attacks.searches import AdamSearch, NevergradSearch
from ggl_lightning.attacks.spaces import Features, GeneratorWeights, Latents, Pixels
from ggl_lightning.audit.cli import main
from ggl_lightning.cli import run_command
from ggl_lightning.clients import MLP, GradientUpdate, client_update, find_classifier_layer
from ggl_lightning.command_line.shipped import ShippedConfigurations
from ggl_lightning.errors import UserError
from ggl_lightning.seeding import seeded
from ggl_lightning.updates import record_gradient
from tests.audit.conftest import tiny_settings
from tests.audit.test_public_images import SplitImages
from tests.tiny import TinyClient, TinyPrior

ATTACKS = "ggl_lightning.attacks"
PIXELS = {
    "class_path": f"{ATTACKS}.GradientInversion",
    "init_args": {
        "space": {"class_path": f"{ATTACKS}.spaces.Pixels"},
        "search": {"class_path": f"{ATTACKS}.searches.AdamSearch", "init_args": {"restarts": 2}},
        "budget": 40,
    },
}
MATCHING = {"class_path": f"{ATTACKS}.UpdateMatching"}
LEARNED = {"class_path": f"{ATTACKS}.LearnedInversion", "init_args": {"public_images": 40}}
STANDARD = {"class_path": f"{ATTACKS}.StandardAttack", "init_args": {"budget": 2}}
NO_CHANCE = "there is neither a prior nor are there public images (data.public)"


@pytest.fixture
def audit(tmp_path):
    """Audits without a prior; returns the exit code."""

    def run(attacks, *arguments, model=None, **data):
        settings = tiny_settings(tmp_path / "runs")
        settings["model"].pop("prior")
        settings["model"] |= model or {}
        settings["data"]["images"] = {"class_path": "tests.audit.test_public_images.SplitImages"}
        settings["data"]["defenses"].pop("noise0.1")
        settings["data"] |= {"attacks": attacks, **data}
        settings["data"] = {name: value for name, value in settings["data"].items() if value != ""}
        path = tmp_path / "settings.yaml"
        path.write_text(yaml.safe_dump(settings))
        return run_command(main, ["--config", str(path), *arguments])

    return run


@pytest.fixture
def result(tmp_path):
    def read(name):
        return json.loads((tmp_path / "runs/tiny/cases" / name / "result.json").read_text())

    return read


CONTROLS = ["null_random", "null_noise", "null_other", "bound"]


def test_attacks_that_need_no_prior_are_audited_with_all_controls(audit, result, tmp_path, caplog):
    attacks = {"pixels": PIXELS, "matching": MATCHING, "learned": LEARNED, "standard": STANDARD}
    assert audit(attacks, controls=CONTROLS) == 0
    assert "cannot be read" not in caplog.text  # pictures of attacks that make none
    private = SplitImages().dataset("test").tensors[0][0]
    public = SplitImages().dataset("train").tensors[0]
    drawn = public[[i * 40 // 10 for i in range(10)]]  # random_samples of them, spread over all
    psnr = 10 * (4 / (drawn - private).square().mean(dim=(1, 2, 3))).log10()
    for name in ("none_pixels_seed0", "none_matching_seed0", "none_learned_seed0"):
        found = result(f"image000000_{name}")
        assert found["psnr_random_mean"] == pytest.approx(psnr.mean().item(), abs=1e-4)
        assert "psnr_random_mean" not in found["missing_metrics"]
        assert found["details"]["setting"]["prior"] == "none"
    chance = result("image000000_seed0_null_random")
    assert chance["psnr"] == pytest.approx(psnr.mean().item(), abs=1e-4)
    folder = tmp_path / "runs/tiny/cases/image000000_seed0_null_random"
    assert not (folder / "latent.npy").exists()
    assert (folder / "reconstruction.png").exists()
    assert result("image000000_none_matching_seed0")["rank_update"] == 1
    standard = result("image000000_none_standard_seed0")["details"]["evaluation"]
    assert "there is no prior" in standard["left_out"]["ggl"]
    bound, attack = (
        result(name) for name in ("image000000_pixels_seed0_bound", "image000000_none_pixels_seed0")
    )
    assert bound["psnr"] > attack["psnr"]
    report = (tmp_path / "runs/tiny/report.html").read_text()
    assert "random samples" in report


def test_the_same_run_goes_on_and_is_not_one_with_a_prior(audit, tmp_path, capsys):
    assert audit({"matching": MATCHING}) == 0
    before = (tmp_path / "runs/tiny/results.csv").read_bytes()
    assert audit({"matching": MATCHING}) == 0
    assert (tmp_path / "runs/tiny/results.csv").read_bytes() == before
    prior = {"prior": {"class_path": "tests.tiny.TinyPrior"}}
    assert audit({"matching": MATCHING}, model=prior) == 2
    assert "was run with another configuration" in capsys.readouterr().err


def test_other_public_images_are_another_chance(audit, capsys):
    assert audit({"matching": MATCHING}) == 0
    images = {
        "class_path": "tests.audit.test_public_images.SplitImages",
        "init_args": {"train": 30, "seed": 5},
    }
    public = {"class_path": "ggl_lightning.audit.PublicImages", "init_args": {"images": images}}
    assert audit({"matching": MATCHING}, public=public) == 2
    assert "was run with another configuration" in capsys.readouterr().err


def test_without_public_images_chance_is_missing_with_the_reason(audit, result, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        assert audit({"pixels": PIXELS}, split="train", controls=["null_random", "bound"]) == 0
    assert "No public images are given (data.public), and there is no prior" in caplog.text
    assert f"2 cases of the control null_random are left out: {NO_CHANCE}." in caplog.text
    found = result("image000000_none_pixels_seed0")
    assert found["psnr_random_mean"] is None
    assert found["missing_metrics"]["psnr_random_mean"] == NO_CHANCE
    assert found["psnr"] is not None
    with (tmp_path / "runs/tiny/results.csv").open() as file:
        assert {row["role"] for row in csv.DictReader(file)} == {"attack", "bound"}


@pytest.mark.parametrize(
    ("attack", "said"),
    [
        (
            {"search": {"class_path": f"{ATTACKS}.searches.NevergradSearch"}, "budget": 2},
            "GenerativeGradientLeakage searches what a prior generates, and there is no prior: "
            "give one (model.prior), or leave that attack out.",
        ),
        (LEARNED, "LearnedInversion learns from public images, or samples of a prior"),
        (STANDARD, "there are neither: give public images (data.public)"),
    ],
)
def test_what_needs_a_prior_is_told_before_anything_starts(audit, tmp_path, capsys, attack, said):
    whole = attack if "class_path" in attack else {"init_args": attack}
    assert audit({"it": whole, "pixels": PIXELS}, split="train") == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("there is no prior") <= 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("space", [Latents(), Features(), GeneratorWeights()])
def test_spaces_of_a_prior_are_no_spaces_without_one(space):
    target = bare_target()
    attack = GradientInversion(space, AdamSearch(), budget=1)
    (problem,) = attack.problems(target, 1, GradientUpdate())
    assert problem.startswith("GradientInversion searches what a prior generates")
    with pytest.raises(UserError, match="there is none: give one"):
        space.space(target, 0, None)


def bare_target():
    with seeded(0):
        model = TinyClient().eval()
    return Target(model, find_classifier_layer(model, torch.zeros(1, 3, 8, 8)), None, image_size=8)


def test_which_attacks_need_a_prior():
    adam = AdamSearch()
    needing = {
        type(attack).__name__: attack.needs_prior
        for attack in (
            GenerativeGradientLeakage(NevergradSearch()),
            StandardAttack(),
            LearnedInversion(),
            UpdateMatching(),
            FirstLinearInversion(),
            GradientInversion(Pixels(), adam),
        )
    }
    assert needing.pop("GenerativeGradientLeakage")
    assert not any(needing.values())
    target = bare_target()
    assert (target.device, target.image_shape) == (torch.device("cpu"), (3, 8, 8))
    assert not target.has_public_images
    with pytest.raises(UserError, match="give image_size"):
        Target(target.model, target.classifier, None)


def test_a_dry_run_takes_no_search_that_is_left_out(audit, tmp_path, capsys):
    assert audit({"standard": STANDARD}, "--dry_run") == 0
    assert "attack none standard" in capsys.readouterr().out


def test_records_say_how_large_images_are(audit, result, tmp_path, capsys):
    path = tmp_path / "one.safetensors"
    images, labels = SplitImages().dataset("test").tensors
    with seeded(3):
        model = TinyClient().eval()
    torch.nn.functional.cross_entropy(model(images[:1]), labels[:1]).backward()
    record_gradient(model, path, count=1)
    data = {"records": str(path), "images": "", "idx": "", "decoys": ""}
    assert audit({"pixels": PIXELS}, **data) == 2
    error = capsys.readouterr().err
    assert "client model TinyClient: give their height and width in pixels" in error
    assert audit({"pixels": PIXELS}, model={"image_size": 8}, **data) == 0
    found = result("one_none_pixels_seed0")
    assert found["missing_metrics"]["psnr_random_mean"] == "no private image was given"
    save_image((images[0] + 1) / 2, tmp_path / "private.png")
    known = [{"file": str(path), "images": str(tmp_path / "private.png"), "labels": [0]}]
    attacks, model = {"matching": MATCHING}, {"image_size": 8, "exp_name": "known"}
    controls = ["null_random", "bound"]
    assert audit(attacks, model=model, **data | {"records": known, "controls": controls}) == 0
    found = json.loads(
        (tmp_path / "runs/known/cases/one_none_matching_seed0/result.json").read_text()
    )
    assert found["missing_metrics"]["psnr_random_mean"] == NO_CHANCE
    prior = {"prior": {"class_path": "tests.tiny.TinyPrior"}, "image_size": 9}
    assert audit({"pixels": PIXELS}, model=prior, **data) == 2
    assert "model.image_size is 9, but the prior generates images of 8" in capsys.readouterr().err


def test_shipped_settings_name_a_prior_only_where_it_is_searched():
    found = ShippedConfigurations("audit").files()
    with_prior = {
        name.removeprefix("attacks/")
        for name, path in found.items()
        if name.startswith("attacks/") and "prior" in yaml.safe_load(path.read_text())["model"]
    }
    assert with_prior == {"ggl_cma", "ggl_adam", "ggl_turbo", "gias", "gifd"}


def test_one_update_of_other_images_than_the_shipped_prior_generates():
    images, labels = SplitImages().dataset("test").tensors
    public = SplitImages(60).dataset("train").tensors[0]
    with seeded(0):
        model = MLP(num_classes=2, image_size=8, width=16, hidden_layers=1).eval()
    update = client_update(model, images[:1], labels[:1])
    found = audit_update(update, model, images=images[:1], lineup=images[1:], public=public)
    assert found.description["prior"] == "none"
    assert found["standard/linear"].scores["rank"] == 1
    distances = (public - images[0]).square().flatten(1).mean(dim=1)
    assert found.chance["mse"] == pytest.approx(distances.mean().item(), rel=1e-5)
    # The client model says the size where no image does.
    alone = audit_update(update, model, count=1, attacks=[FirstLinearInversion()])
    assert alone.description["prior"] == "none"
    assert alone["FirstLinearInversion"].finding.images.shape == (1, 3, 8, 8)
    without = audit_update(update, model, images=images[:1], attacks=[FirstLinearInversion()])
    assert without.chance == {}


def test_a_prior_given_from_python_is_taken_as_before():
    images, labels = SplitImages().dataset("test").tensors
    with seeded(0):
        model = TinyClient().eval()
    update = client_update(model, images[:1], labels[:1])
    attacks = {"matching": UpdateMatching()}
    found = audit_update(
        update, model, prior=TinyPrior(), images=images[:1], lineup=images[1:], attacks=attacks
    )
    assert found.description["prior"] == "TinyPrior"
    assert set(found.chance) == {"psnr", "mse"}
