"""The whole attack on a client small enough for its regression to be written out."""

from dataclasses import replace

import pytest
import torch

from ggl_lightning.attacks import Target
from ggl_lightning.attacks.fits import MemoryFits
from ggl_lightning.attacks.learned.inversion import LearnedInversion
from ggl_lightning.attacks.learned.ridge import KernelRidge
from ggl_lightning.clients import GradientUpdate, client_update
from ggl_lightning.clients.procedures import ClientSGD, ClientState, LocalTraining
from ggl_lightning.defenses import (
    DPSGD,
    ClientSide,
    Clipping,
    Compose,
    Compression,
    NoDefense,
    Noise,
)
from ggl_lightning.errors import UserError
from ggl_lightning.seeding import seeded
from tests.tiny import TinyClient, TinyPrior, public_target, received

LABEL = torch.tensor([1])


@pytest.fixture(scope="module")
def target():
    with seeded(0):
        return public_target(TinyClient().eval(), 150)


_FITTED = LearnedInversion(public_images=150)  # one fit for all tests of one target


def private(index=0):
    prior = TinyPrior()
    return prior(prior.sample(8, torch.Generator().manual_seed(11)))[index : index + 1]


def answer(target, image, attack=None, change=lambda g: g, defense=None, seed=0):
    update = [change(g) for g in client_update(target.model, image, LABEL)]
    defense = defense or NoDefense()
    generator = torch.Generator().manual_seed(seed)
    side = ClientSide(target.model, image, LABEL, target.classifier, generator)
    sent = defense(update, side)
    given = received(target.model, sent, defense=defense)
    return (attack or _FITTED).run(given, target, seed=0)


def test_it_is_ridge_regression_on_explicit_gradients(target):
    found = answer(target, private())
    weights = found.evaluation["tensors"]
    public = target.public(150)

    def gradients(image):
        by_name = dict(
            zip(
                dict(target.model.named_parameters()),
                client_update(target.model, image, LABEL),
                strict=True,
            )
        )
        parts = []
        for name, weight in weights.items():
            g = by_name[name].flatten().double()
            parts.append(weight**0.5 * g / g.norm())
        return torch.cat(parts)

    x = torch.stack([gradients(image[None]) for image in public])
    ridge = KernelRidge(x @ x.T, public.flatten(1), 1.0)
    expected = ridge.predict((gradients(private()) @ x.T)[None])[0].clamp(-1, 1).float()
    torch.testing.assert_close(found.images.flatten(), expected, rtol=0, atol=1e-3)
    assert found.labels.tolist() == [1]


def test_it_is_far_better_than_the_mean_image_and_knows_how_good_it_is(target):
    errors = torch.stack([(answer(target, private(i)).images - private(i)) for i in range(8)])
    mean = target.public(150).mean(0)
    far = torch.stack([mean - private(i) for i in range(8)]).square().mean()
    found = errors.square().mean()
    assert found < 0.5 * far
    expected = answer(target, private()).evaluation["leave_one_out_mse"]
    assert expected / 3 < found < 3 * expected


def test_scaling_changes_nothing(target):
    plain, scaled = answer(target, private()), answer(target, private(), change=lambda g: g * 1e-3)
    torch.testing.assert_close(scaled.images, plain.images, rtol=0, atol=2e-3)


def test_answers_to_noisy_updates_stay_images(target):
    noise = torch.Generator().manual_seed(5)

    def noisy(g):
        return g + 0.5 * g.norm() * torch.randn(g.shape, generator=noise) / g.numel() ** 0.5

    found = answer(target, private(), change=noisy)
    assert found.images.abs().max() <= 1
    assert found.evaluation["noise"] >= 0
    assert answer(target, private()).predicted_mse > 0


def test_it_says_what_it_does_not_fit(target):
    (problem,) = LearnedInversion().problems(target, 3, GradientUpdate())
    assert "takes updates of one image" in problem
    few = Target(target.model, target.classifier, target.prior, lambda count: target.public(5))
    with pytest.raises(UserError, match="There are 5 public images"):
        answer(few, private(), LearnedInversion())


def test_samples_of_the_prior_take_the_place_of_public_images(target):
    alone = Target(target.model, target.classifier, target.prior)
    found = answer(alone, private(), LearnedInversion(public_images=60))
    assert found.evaluation["public"] == "samples of the prior"


class CountingFits(MemoryFits):
    """Fits that say how many were made."""

    def __init__(self):
        super().__init__()
        self.made = 0

    def get(self, key, make):
        def counted():
            self.made += 1
            return make()

        return super().get(key, counted)


def test_a_fit_serves_later_attacks_and_other_strengths_of_clipping(target):
    fits = CountingFits()
    kept = replace(target, fits=fits)
    first = answer(kept, private(), LearnedInversion(public_images=150))
    again = LearnedInversion(public_images=150)
    for bound in (1e-3, 1e-4):
        found = answer(kept, private(), again, defense=Clipping(bound))
        torch.testing.assert_close(found.images, first.images, rtol=0, atol=2e-3)
        assert found.estimate == {"bound": pytest.approx(bound, rel=1e-3)}
    assert fits.made == 1


def test_compressed_updates_are_learnt_from_compressed_ones_once_for_all(target):
    fits = CountingFits()
    kept, other = replace(target, fits=fits), replace(target, fits=MemoryFits())
    attack = LearnedInversion(public_images=150)
    blind = LearnedInversion(public_images=150, adaptive=False)
    errors = {"adaptive": 0.0, "blind": 0.0}
    for i in range(6):
        for name, each, to in (("adaptive", attack, kept), ("blind", blind, other)):
            found = answer(to, private(i), each, defense=Compression(95))
            errors[name] += float((found.images - private(i)).square().mean())
            if name == "adaptive":
                assert found.evaluation["way"] == "by simulated updates"
                assert found.evaluation["noise"] == 0
    assert errors["adaptive"] < errors["blind"]
    assert fits.made == 2  # the updates, and a regression on them


NOISY = {
    "noise 0.02": Noise(0.02),
    "noise 0.3": Noise(0.3),
    # Updates are a fraction of public ones' size, which noise hides more or less.
    "DP-SGD 0.02": DPSGD(0.1, 0.02),
    "DP-SGD 0.1": DPSGD(0.1, 0.1),
    "DP-SGD 0.5": DPSGD(0.1, 0.5),
    "DP-SGD 3": DPSGD(0.1, 3),
    "clipping 0.05, noise 0.01": Compose([Clipping(0.05), Noise(0.01)]),
}


@pytest.mark.parametrize("defense", NOISY.values(), ids=NOISY)
def test_its_expectation_holds_under_noise(target, defense):
    attack = LearnedInversion(public_images=150)
    errors, expected = [], []
    for i in range(8):
        found = answer(target, private(i), attack, defense=defense, seed=i)
        errors.append((found.images - private(i)).square().mean())
        expected.append(found.predicted_mse)
    error = float(torch.stack(errors).mean())
    assert error / 2 < sum(expected) / 8 < 2 * error
    # Less than the mean image's error, however strong the noise.
    mean = torch.stack([target.public(150).mean(0) - private(i) for i in range(8)])
    assert error < 1.1 * float(mean.square().mean())


def test_local_training_is_simulated(target):
    training = LocalTraining(ClientSGD(0.05), epochs=3, sends="difference", mode="eval")
    found, far = [], []
    attack = LearnedInversion(public_images=150)
    for i in range(6):
        state = ClientState.of(target.model)
        order = training.order(1, torch.Generator().manual_seed(0))
        update = training.compute(state, private(i), LABEL, order)
        sent = list(update.tensors.values())
        given = received(target.model, sent, kind="difference", procedure=training)
        answered = attack.run(given, target, seed=0)
        assert answered.evaluation["way"] == "by simulated updates"
        found.append((answered.images - private(i)).square().mean())
        far.append((target.public(150).mean(0) - private(i)).square().mean())
    assert sum(found) < 0.5 * sum(far)


def test_few_public_images_are_joined_by_their_mirror_images(target):
    few = replace(target, public=lambda count: target.public(40))
    found = answer(few, private(), LearnedInversion(public_images=150)).evaluation
    assert (found["public_images"], found["mirrored"]) == (40, True)
    enough = answer(target, private(), LearnedInversion(public_images=150)).evaluation
    assert (enough["public_images"], enough["mirrored"]) == (150, False)


def test_an_update_of_zeros_is_answered_by_the_mean_image(target):
    found = answer(target, private(), change=torch.zeros_like)
    torch.testing.assert_close(found.images[0], target.public(150).mean(0))
    assert found.predicted_mse == pytest.approx(float(target.public(150).var(0).mean()), rel=0.02)
