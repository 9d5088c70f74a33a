"""Public images of an audit: where they come from, what is refused, and what depends on them."""

import json
import logging

import pytest
import torch
import yaml
from torch.utils.data import TensorDataset

from ggl_lightning import audit_update
from ggl_lightning.attacks import LearnedInversion, Target
from ggl_lightning.clients import client_update, find_classifier_layer
from tests.audit.conftest import tiny_settings
from tests.tiny import TinyClient, TinyImages, TinyPrior


class SplitImages(TinyImages):
    """Images whose splits have none in common; ``train`` of them are in the train split."""

    def __init__(self, train: int = 40, image_size: int = 8, seed: int = 70) -> None:
        super().__init__(6, image_size)
        self.train = train
        self.seed = seed

    def dataset(self, split):
        if split == "valid":
            raise NotImplementedError
        prior = TinyPrior(self.image_size)
        count = self.train if split == "train" else self.count
        generator = torch.Generator().manual_seed(self.seed + (split == "train"))
        images = prior(prior.sample(count, generator))
        return TensorDataset(images, torch.arange(count) % 2)


def settings(tmp_path, **changes):
    found = tiny_settings(tmp_path / "runs")
    found["data"]["images"] = {"class_path": "tests.audit.test_public_images.SplitImages"}
    found["data"]["idx"] = [0, 3]
    found["data"]["defenses"].pop("noise0.1")
    found["data"]["attacks"] = {
        "learned": {
            "class_path": "ggl_lightning.attacks.LearnedInversion",
            "init_args": {"public_images": 40},
        }
    }
    found["data"] |= changes
    return found


@pytest.fixture
def run(audit, tmp_path):
    def run(*arguments, **changes):
        path = tmp_path / "public.yaml"
        path.write_text(yaml.safe_dump(settings(tmp_path, **changes)))
        return audit("--config", str(path), *arguments)

    return run


def result(tmp_path, attack="learned"):
    case = tmp_path / "runs" / "tiny" / "cases" / f"image000000_none_{attack}_seed0"
    return json.loads((case / "result.json").read_text())


def overlapping(train):
    return {
        "class_path": "ggl_lightning.audit.PublicImages",
        "init_args": {
            "images": {"class_path": "tests.tiny.TinyImages", "init_args": {"count": train}},
            "split": "train",
        },
    }


def test_the_train_split_is_learnt_from_by_default(run, tmp_path):
    # The base configuration has another attack, which is run too.
    assert run() == 0
    found = result(tmp_path)
    details = found["details"]["evaluation"]
    assert (details["public"], details["public_images"]) == ("public images", 40)
    assert found["psnr"] > found["psnr_random_mean"]
    kept = sorted(path.suffix for path in (tmp_path / "runs/tiny/fits").glob("[!.]*"))
    assert kept == [".json", ".json", ".safetensors", ".safetensors"]  # one for either label
    keys = [json.loads(p.read_text()) for p in (tmp_path / "runs/tiny/fits").glob("*.json")]
    assert sorted(key["label"] for key in keys) == [0, 1]


def test_what_was_learnt_serves_a_run_that_goes_on(run, tmp_path):
    assert run("--data.idx", "0") == 0
    fits = tmp_path / "runs/tiny/fits"
    before = {path.name: path.stat().st_mtime_ns for path in fits.glob("[!.]*")}
    assert run("--data.idx", "[0, 2]") == 0  # of the same label
    after = {path.name: path.stat().st_mtime_ns for path in fits.glob("[!.]*")}
    assert after == before


def test_a_damaged_fit_is_refused_with_the_way_out(run, tmp_path, capsys):
    assert run("--data.idx", "0") == 0
    (file,) = (tmp_path / "runs/tiny/fits").glob("*.safetensors")
    file.write_bytes(b"nothing")
    assert run("--data.idx", "[0, 2]") != 0
    assert "Remove it, and it is made anew" in capsys.readouterr().err


def test_other_public_images_are_another_audit(run, tmp_path, capsys):
    assert run() == 0
    images = {
        "class_path": "tests.audit.test_public_images.SplitImages",
        "init_args": {"train": 30, "seed": 5},
    }
    public = {"class_path": "ggl_lightning.audit.PublicImages", "init_args": {"images": images}}
    assert run(public=public) == 2
    assert "was run with another configuration" in capsys.readouterr().err


def test_private_images_among_the_public_ones_are_refused(run, tmp_path, capsys):
    changes = {"images": {"class_path": "tests.tiny.TinyImages", "init_args": {"count": 30}}}
    assert run(**changes) == 2
    error = capsys.readouterr().err
    assert "Private images are among the public ones: test image 0, test image 3" in error
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("images", "said"),
    [
        ({"train": 40, "image_size": 16}, "Public images have shape (3, 16, 16)"),
        ({"train": 9}, "There are 9 public images: LearnedInversion needs 10"),
        ({"train": 0}, "The train split of the public images is empty"),
    ],
)
def test_public_images_that_cannot_be_used(run, images, said, capsys):
    source = {"class_path": "tests.audit.test_public_images.SplitImages", "init_args": images}
    public = {"class_path": "ggl_lightning.audit.PublicImages", "init_args": {"images": source}}
    assert run(public=public) == 2
    assert said in capsys.readouterr().err


def test_samples_of_the_prior_take_the_place_of_public_images(run, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        assert run(split="train") == 0
    assert "learn from samples of the prior" in caplog.text
    case = tmp_path / "runs/tiny/cases/image000000_none_learned_seed0/result.json"
    assert json.loads(case.read_text())["details"]["evaluation"]["public"] == "samples of the prior"


def test_one_update_from_python():
    images, labels = SplitImages().dataset("test").tensors
    public = SplitImages(60).dataset("train").tensors[0]
    torch.manual_seed(0)
    model = TinyClient().eval()
    update = client_update(model, images[:1], labels[:1])
    attacks = {"learned": LearnedInversion(public_images=60)}
    found = audit_update(
        update, model, prior=TinyPrior(), images=images[:1], public=public, attacks=attacks
    )
    assert found["learned"].finding.evaluation["public"] == "public images"
    assert found["learned"].scores["mse"] < found.chance["mse"]


def test_how_many_attackers_have_is_bounded_for_all_that_learn(run, tmp_path):
    standard = {"class_path": "ggl_lightning.attacks.StandardAttack", "init_args": {"budget": 1}}
    attacks = {**settings_of_both(), "standard": standard}
    assert run("--public_images", "20", "--data.idx", "0", attacks=attacks) == 0
    members = {each["name"]: each for each in result(tmp_path, "standard")["members"]}
    member = members["image000000_none_standard_seed0/learned"]
    for row in (result(tmp_path, "learned"), member):
        found = row["details"]["evaluation"]
        assert (found["public_images"], found["mirrored"]) == (20, True)


def test_fewer_public_images_are_another_audit(run, capsys):
    assert run() == 0
    assert run("--public_images", "50") == 0  # more than the attack asks for
    assert run("--public_images", "20") == 2
    assert "was run with another configuration" in capsys.readouterr().err


def test_the_bound_holds_for_samples_of_the_prior():
    torch.manual_seed(0)
    model = TinyClient().eval()
    classifier = find_classifier_layer(model, torch.zeros(1, 3, 8, 8))
    target = Target(model, classifier, TinyPrior(), most_public=7)
    assert len(target.public_images(10)) == 7
    assert len(target.public_images(5)) == 5
    many = Target(model, classifier, TinyPrior(), most_public=60)
    learned = LearnedInversion(public_images=60)
    assert len(learned._public_of(many).images) == 60
    assert len(learned._public_of(target).images) == 14  # mirrored


def test_a_shortcut_for_some_attacks_says_what_it_leaves_alone(audit, run, capsys):
    both = settings_of_both()
    assert run("--budget", "3", "--data.idx", "0", attacks=both) == 0
    assert "--budget says nothing of learned." in capsys.readouterr().err
    assert audit("--public_images", "20") == 2
    said = "is 20, but no attack learns from public images: cma."
    assert said in " ".join(capsys.readouterr().err.split())


def settings_of_both():
    found = tiny_settings("runs")["data"]["attacks"]
    learned = {"public_images": 40}
    found["learned"] = {
        "class_path": "ggl_lightning.attacks.LearnedInversion",
        "init_args": learned,
    }
    return found


def test_a_dry_run_writes_nothing_and_tells_what_is_learnt_first(run, tmp_path, capsys):
    assert run("--dry_run") == 0
    assert not (tmp_path / "runs").exists()
    assert "fits of learned, at most" in capsys.readouterr().out
