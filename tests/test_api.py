"""The audit of one update from Python, as a user writes it."""

import json

import pytest
import torch
from torch.nn import functional as F

import ggl_lightning
from ggl_lightning.attacks import FirstLinearInversion, GenerativeGradientLeakage
from ggl_lightning.attacks.searches import AdamSearch
from ggl_lightning.clients import MLP, client_update
from ggl_lightning.clients.procedures import ClientSGD, LocalTraining
from ggl_lightning.defenses import Clipping, Noise
from ggl_lightning.errors import UserError
from ggl_lightning.seeding import seeded
from ggl_lightning.updates import record_update
from tests.tiny import TinyClient, TinyPrior

LABEL = torch.tensor([1])


@pytest.fixture
def image():
    prior = TinyPrior()
    return prior(prior.sample(1, torch.Generator().manual_seed(11)))


@pytest.fixture
def model():
    with seeded(0):
        return TinyClient().eval()


def search(**settings):
    return {"adam": GenerativeGradientLeakage(AdamSearch(restarts=2), budget=60, **settings)}


def audited(update, model, attacks=None, **settings):
    found = ggl_lightning.audit_update(
        update, model, prior=TinyPrior(), attacks=attacks or search(kl_weight=0.0), **settings
    )
    return found


def test_a_gradient_as_autograd_returns_it(model, image):
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    loss = F.cross_entropy(model(image), LABEL)
    update = torch.autograd.grad(loss, list(model.parameters()))
    found = audited(update, model, images=image, labels=LABEL, lineup=-image)
    result = found["adam"]
    assert result.scores["psnr"] > found.chance["psnr"] + 5
    assert result.scores["rank"] == 1
    assert result.scores["label_accuracy"] == 1
    assert result.finding.labels.tolist() == [1]
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_it_prints_as_a_table_and_shows_pictures(model, image):
    found = audited(client_update(model, image, LABEL), model, images=image)
    lines = repr(found).splitlines()
    assert lines[0].startswith("update gradient of 1 image, client model TinyClient")
    assert lines[1].split()[:3] == ["attack", "PSNR", "(dB)"]
    assert lines[2].split()[:2] == ["adam", f"{found['adam'].scores['psnr']:.2f}"]
    assert any(line.startswith("(chance)") for line in lines)
    assert "rank: no lineup was given" in repr(found)
    page = found._repr_html_()
    assert page.count("data:image/png;base64,") == 2
    assert "lpips" in page


def test_without_the_image_there_are_reconstructions_and_no_metrics(model, image):
    found = audited(client_update(model, image, LABEL), model, count=1)
    result = found["adam"]
    assert result.finding.images.shape == image.shape
    assert result.scores == {}
    assert result.missing["psnr"] == "no private image was given"
    assert found.chance == {}
    assert "\N{EM DASH}" in repr(found)
    assert found._repr_html_().count("data:image/png") == 1


def test_a_recorded_training_with_momentum(model, image, tmp_path):
    file = tmp_path / "update.safetensors"
    procedure = LocalTraining(ClientSGD(0.05, momentum=0.9), steps=3, shuffle=False, mode="eval")
    with seeded(0):
        client = TinyClient().eval()
    with record_update(client, file, count=1):
        optimizer = torch.optim.SGD(client.parameters(), lr=0.05, momentum=0.9)
        for _ in range(3):
            optimizer.zero_grad()
            F.cross_entropy(client(image), LABEL).backward()
            optimizer.step()
    found = audited(file, TinyClient(), images=image, labels=LABEL, procedure=procedure)
    assert found["adam"].scores["psnr"] > found.chance["psnr"] + 5
    assert found.description["update"] == "difference of 1 image"


def test_an_adaptive_attack_estimates_the_defense(model, image):
    clipped = [0.01 * g for g in client_update(model, image, LABEL)]
    found = audited(
        clipped,
        model,
        search(adaptive=True, kl_weight=0.0),
        images=image,
        labels=LABEL,
        defense=Clipping(),
    )
    assert found["adam"].finding.estimate.keys() == {"bound"}
    assert found["adam"].scores["psnr"] > found.chance["psnr"] + 3
    assert found.description["defense"] == "Clipping"


def test_standard_takes_what_fits(image):
    with seeded(0):
        model = MLP(num_classes=2, image_size=8, width=16, hidden_layers=1).eval()
    update = client_update(model, image, LABEL)
    prior = TinyPrior()
    lineup = torch.cat([image.flip(-1), -image])
    found = ggl_lightning.audit_update(
        update, model, prior=prior, images=image, lineup=lineup, budget=2
    )
    assert list(found.results) == ["standard", "standard/linear", "standard/matching"]
    assert found["standard"].scores["psnr"] == found["standard/linear"].scores["psnr"] > 60
    assert found["standard"].scores["rank_update"] == 1
    assert "gave the images away exactly" in found.left_out["standard/ggl"]
    with seeded(0):
        convolutional = TinyClient().eval()
    found = ggl_lightning.audit_update(
        client_update(convolutional, image, LABEL), convolutional, prior=prior, count=1, budget=2
    )
    assert {"standard", "standard/matching", "standard/learned"} <= found.results.keys()
    assert found["standard"].finding.evaluation["chosen"] in ("learned", "warm", "ggl")
    assert "no linear layer that sees the image" in found.left_out["standard/linear"]
    assert "not run: standard/linear" in repr(found)


def test_a_result_is_saved_into_a_new_folder_only(model, image, tmp_path):
    update = client_update(model, image, LABEL)
    found = audited(update, model, images=image, out_dir=tmp_path / "out")
    content = json.loads((tmp_path / "out" / "result.json").read_text())
    assert content["attacks"]["adam"]["psnr"] == pytest.approx(found["adam"].scores["psnr"])
    assert (tmp_path / "out" / "adam.png").exists()
    with pytest.raises(UserError, match="not an empty folder"):
        audited(update, model, images=image, out_dir=tmp_path / "out")
    with pytest.raises(UserError, match="not an empty folder"):
        audited(update, model, images=image, out_dir=tmp_path / "out" / "adam.png")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "how many images are behind the update"),
        ({"count": 2, "images": torch.zeros(1, 3, 8, 8)}, "2 by count, 1 by images"),
        ({"images": torch.zeros(1, 3, 9, 9)}, r"images has shape \(1, 3, 9, 9\)"),
        ({"images": torch.full((1, 3, 8, 8), 255.0)}, r"must be floating-point numbers in \[-1, 1"),
        ({"count": 1, "lineup": torch.zeros(4, 3, 8, 8)}, "lineup is given without images"),
        ({"count": 1, "labels": torch.tensor([7])}, "7"),
        ({"count": 1, "attacks": []}, "attacks is empty"),
        ({"count": 1, "attacks": [FirstLinearInversion()]}, "no linear layer that sees the image"),
        ({"count": 1, "attacks": "strong"}, "give 'standard', or attacks"),
        ({"count": 1, "attacks": search(known_label=True)}, "labels are not given"),
        ({"count": 1, "budget": 3}, "budget is 3, which is for 'standard'"),
        ({"count": 1, "procedure": LocalTraining()}, "sends a difference"),
        ({"count": 1, "kind": "difference"}, "learning rate and the number of steps"),
    ],
)
def test_mistakes_are_told_before_anything_runs(model, image, settings, expected):
    update = client_update(model, image, LABEL)
    attacks = {"attacks": search()}
    with pytest.raises(UserError, match=expected):
        ggl_lightning.audit_update(update, model, prior=TinyPrior(), **(attacks | settings))


def test_updates_of_another_model_are_refused(model, image):
    update = client_update(model, image, LABEL)
    with pytest.raises(UserError, match="has 3 tensors, but 8 parameters"):
        audited(update[:3], model, count=1)
    with pytest.raises(UserError, match="axes are in another order"):
        audited([*update[:-2], update[-2].T, update[-1]], model, count=1)
    update[0] = update[0] * float("nan")
    with pytest.raises(UserError, match="infinite or undefined"):
        audited(update, model, count=1)


def test_what_it_does_under_noise_is_seeded(model, image):
    update = [g + 0.01 for g in client_update(model, image, LABEL)]
    first, again = (audited(update, model, images=image, defense=Noise()) for _ in range(2))
    assert torch.equal(first["adam"].finding.images, again["adam"].finding.images)


def test_recorders_do_not_need_the_rest():
    assert "audit_update" in ggl_lightning.__all__
    with pytest.raises(AttributeError, match="has no attribute 'nosuch'"):
        _ = ggl_lightning.nosuch


def test_images_may_lie_in_memory_as_files_have_them(model, image):
    """Height, width, channels: what most readers of images leave behind a permutation."""
    update = client_update(model, image, LABEL)
    as_read = image.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    assert not as_read.is_contiguous()
    one, other = (
        audited(update, model, images=images, lineup=-images) for images in (image, as_read)
    )
    assert one["adam"].scores == other["adam"].scores
