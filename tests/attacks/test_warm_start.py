"""Learned inversion, its projection into the prior's range, and a search from there."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from ggl_lightning.attacks import LearnedInversion, Target, WarmStartedGGL
from ggl_lightning.attacks.fits import MemoryFits
from ggl_lightning.attacks.learned.fit import LearnedFit
from ggl_lightning.attacks.penalties.proximity import Proximity
from ggl_lightning.attacks.warm_start import _Rehearsed
from ggl_lightning.clients import client_update
from ggl_lightning.clients.procedures import PlainGradient
from ggl_lightning.defenses import Compression, Noise
from ggl_lightning.errors import UserError
from ggl_lightning.seeding import seeded
from tests.tiny import TinyClient, TinyPrior, public_target, received

LABEL = torch.tensor([1])


@pytest.fixture(scope="module")
def target():
    with seeded(0):
        return public_target(TinyClient().eval(), 80)


@pytest.fixture(scope="module")
def image():
    prior = TinyPrior()
    return prior(prior.sample(1, torch.Generator().manual_seed(11)))


def attack(**settings):
    return WarmStartedGGL(LearnedInversion(public_images=80, mirrored=False), **settings)


def test_images_in_the_priors_range_are_found_nearer_than_by_the_regression(target, image):
    given = received(target.model, client_update(target.model, image, LABEL))
    found = attack(budget=40, rehearsals=3).run(given, target, seed=0)
    learned = found.artefacts["regression"]

    def error(images):
        return float((images - image).square().mean())

    assert found.evaluation["chosen"] != "regression"
    assert error(found.images) < 0.7 * error(learned)
    latent = found.artefacts["latent"]
    torch.testing.assert_close(TinyPrior()(latent), found.images, rtol=0, atol=1e-5)
    expected = found.evaluation["expected_mse"]
    assert found.predicted_mse == expected[found.evaluation["chosen"]] == min(expected.values())


def test_the_same_seed_finds_the_same_and_rehearses_once(target, image):
    fits = MemoryFits()
    known = replace(target, fits=fits)
    given = received(target.model, client_update(target.model, image, LABEL))
    first = attack(budget=5, rehearsals=2).run(given, known, seed=0)
    kept = dict(fits._kept)
    again = attack(budget=5, rehearsals=2).run(given, known, seed=0)
    assert torch.equal(first.images, again.images)
    assert fits._kept.keys() == kept.keys()
    assert sum(any(name.startswith("search") for name in each) for each in kept.values()) == 1


def test_without_a_gain_on_public_images_the_regression_stays(target, image):
    """A prior of other images, in whose range nothing is nearer."""
    poor = replace(target, prior=TinyPrior(seed=5))
    given = received(target.model, client_update(target.model, image, LABEL))
    one = attack(budget=3, rehearsals=3)
    found = one.run(given, poor, seed=0)
    assert found.evaluation["chosen"] == "regression"
    assert torch.equal(found.images, one.learned.run(given, poor, seed=0).images)
    assert "latent" not in found.artefacts


def test_rehearsed_images_are_not_known_to_the_regression(target, image):
    """Noise included, which goes through the regression as it does when it is received."""
    model = target.model
    learned = LearnedInversion(public_images=80, mirrored=False)
    given = received(model, client_update(model, image, LABEL), defense=Noise(0.01))
    _, make = learned.rehearsed(given, target, 0.0, 3)
    for rehearsal in make():
        sent = client_update(model, rehearsal.image.unsqueeze(0), LABEL)
        for ours, theirs in zip(rehearsal.received.update, sent, strict=True):
            torch.testing.assert_close(ours, theirs)
        seen = learned.run(rehearsal.received, target, seed=0).images[0]
        apart = (rehearsal.predicted.clamp(-1, 1) - rehearsal.image).square().mean()
        assert apart > 2 * (seen - rehearsal.image).square().mean()  # it knew that image
    _, noisy = learned.rehearsed(given, target, 0.01, 3)
    for clean, other in zip(make(), noisy(), strict=True):
        added = other.received.update[0] - clean.received.update[0]
        assert float(added.std()) == pytest.approx(0.01, rel=0.3)
        assert not torch.equal(clean.predicted, other.predicted)


def test_noise_changes_left_out_predictions_as_it_changes_predictions(target):
    """The regression is linear in the directions of an update."""
    learned = LearnedInversion(public_images=80, mirrored=False)
    public = target.public_images(80)
    sent = client_update(target.model, public[:1], LABEL)
    given = received(target.model, sent)
    learned.run(given, target, seed=0)
    fitting, tensors, _ = learned._fitting(given, target, 1)
    fit = learned._fit(fitting, learned._examples_of(fitting))
    assert isinstance(fit, LearnedFit)
    drawn = {name: 1e-3 * torch.randn_like(each) for name, each in tensors.items()}
    regression = fit._fitted(1e-3, forgets=False)
    without = regression.ridge.leave_one_out()[0]
    added = fit.left_out([0], 1e-3, [drawn])[0].flatten() - without

    def predicted(update):
        rows = sum(
            regression.weights[n] * fit._examples.rows(n, update[n]) / g.norms / g.norms[0]
            for n, g in fit._grams.items()
        )
        return regression.ridge.predict(rows.unsqueeze(0))[0]

    noisy = {name: tensors[name] + drawn[name] for name in tensors}
    torch.testing.assert_close(added, predicted(noisy) - predicted(tensors), rtol=1e-3, atol=1e-6)


def test_another_answer_must_be_better_by_more_than_a_standard_error():
    base = torch.tensor([1.0, 1.0, 1.0, 1.0], dtype=torch.float64)
    clearly = base - torch.tensor([0.2, 0.3, 0.2, 0.3], dtype=torch.float64)
    by_luck = base - torch.tensor([1.0, -0.3, -0.3, -0.3], dtype=torch.float64)
    assert _Rehearsed({"regression": base, "projection": clearly}).best == "projection"
    assert _Rehearsed({"regression": base, "projection": by_luck}).best == "regression"
    assert _Rehearsed({"regression": base[:1], "projection": clearly[:1]}).best == "regression"


def test_proximity_is_a_mean_square(image):
    penalty = Proximity(2.0, image)
    candidates = torch.stack([image, image + 0.5])
    found = penalty(candidates, nn.Identity(), None)
    torch.testing.assert_close(found, torch.tensor([0.0, 0.25]))


def test_what_stands_in_its_way_is_told_at_once(target):
    bare = Target(target.model, target.classifier, None, target.public, image_size=8)
    problems = attack().problems(bare, 2, PlainGradient())
    assert any("there is no prior" in each for each in problems)
    assert any("takes updates of one image" in each for each in problems)
    for setting in ("budget", "lr", "projection_steps", "rehearsals"):
        with pytest.raises(UserError, match=setting):
            WarmStartedGGL(**{setting: 0})


def test_an_update_of_zeros_is_answered_by_the_mean_image(target, image):
    zeros = [torch.zeros_like(each) for each in client_update(target.model, image, LABEL)]
    given = replace(received(target.model, zeros), labels=LABEL)
    found = attack().run(given, target, seed=0)
    assert found.evaluation["chosen"] == "regression"
    assert found.evaluation["way"] == "the mean image"


@pytest.mark.parametrize("adaptive", [True, False])
def test_rehearsed_updates_are_degraded_as_the_attacker_believes(target, image, adaptive):
    learned = LearnedInversion(public_images=80, mirrored=False, adaptive=adaptive)
    defense = Compression(50)
    sent = defense(client_update(target.model, image, LABEL), None)
    given = received(target.model, sent, defense=defense)
    _, make = learned.rehearsed(given, target, 0.0, 2)
    for rehearsal in make():
        zeros = [float((each == 0).float().mean()) for each in rehearsal.received.update[:1]]
        assert (zeros[0] > 0.4) is adaptive
