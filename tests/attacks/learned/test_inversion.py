"""The whole attack on a client small enough for its regression to be written out."""

import pytest
import torch

from ggl_lightning.attacks import Target
from ggl_lightning.attacks.learned.inversion import LearnedInversion
from ggl_lightning.attacks.learned.ridge import KernelRidge
from ggl_lightning.clients import GradientUpdate, client_update, find_classifier_layer
from ggl_lightning.errors import UserError
from ggl_lightning.seeding import seeded
from tests.tiny import TinyClient, TinyPrior, received

LABEL = torch.tensor([1])


@pytest.fixture(scope="module")
def target():
    with seeded(0):
        model = TinyClient().eval()
    prior = TinyPrior()
    public = prior(prior.sample(150, torch.Generator().manual_seed(3)))
    return Target(
        model, find_classifier_layer(model, public[:2]), prior, lambda count: public[:count]
    )


_FITTED = LearnedInversion(public_images=150)  # one fit for all tests of one target


def private(index=0):
    prior = TinyPrior()
    return prior(prior.sample(8, torch.Generator().manual_seed(11)))[index : index + 1]


def answer(target, image, attack=None, change=lambda g: g):
    update = [change(g) for g in client_update(target.model, image, LABEL)]
    return (attack or _FITTED).run(received(target.model, update), target, seed=0)


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
            g = by_name[f"{name}.weight"].flatten().double()
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
