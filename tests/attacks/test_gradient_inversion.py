"""Gradient inversion with the settings of published attacks, small."""

import pytest
import torch
from torch import nn

from ggl_lightning.attacks import GenerativeGradientLeakage, GradientInversion, Progress, Target
from ggl_lightning.attacks.penalties import (
    BatchNormStatistics,
    GroupConsistency,
    ImageNorm,
    TotalVariation,
)
from ggl_lightning.attacks.searches import AdamSearch, LBFGSSearch, NevergradSearch, Schedule
from ggl_lightning.attacks.spaces import (
    Features,
    GeneratorWeights,
    Latents,
    LowResolution,
    Pixels,
    PixelsAndLabels,
)
from ggl_lightning.clients import ConvNet, LeNet, client_update, find_classifier_layer
from ggl_lightning.clients.procedures import PlainGradient
from ggl_lightning.errors import UserError
from ggl_lightning.priors import ModulePrior
from tests.tiny import TinyPrior, client_side, received


class SizedPrior(TinyPrior):
    """Says how large images are."""


def smooth_images(size, count=1):
    """Waves of low frequencies, seeded."""
    generator = torch.Generator().manual_seed(4)
    small = torch.rand(count, 3, 4, 4, generator=generator) * 1.6 - 0.8
    return nn.functional.interpolate(small, size=(size, size), mode="bicubic").clamp(-1, 1)


def attacked(model, images, labels, attack, prior=None, seed=0, progress=None):
    target = Target(
        model,
        find_classifier_layer(model, images),
        SizedPrior(images.shape[-1]) if prior is None else prior,
    )
    assert attack.problems(target, len(images), PlainGradient()) == []
    update = client_update(model, images, labels)
    given = received(model, update, len(images), labels=labels if attack.known_label else None)
    return attack.run(given, target, seed, *([] if progress is None else [progress]))


def error(found, images):
    return (found.images - images).square().mean().item()


def test_lbfgs_recovers_the_image_behind_a_smooth_networks_gradient():
    torch.manual_seed(0)
    model = LeNet(num_classes=4, image_size=8, width=8).eval()
    images = smooth_images(8)
    attack = GradientInversion(Pixels(box=False), LBFGSSearch(), budget=300)
    found = attacked(model, images, torch.tensor([2]), attack)
    assert found.labels.tolist() == [2]
    assert error(found, images) < 1e-4
    assert found.loss < 1e-4


def test_the_label_is_found_with_the_image():
    torch.manual_seed(0)
    model = LeNet(num_classes=4, image_size=8, width=8).eval()
    images = smooth_images(8)
    attack = GradientInversion(PixelsAndLabels(), LBFGSSearch(), budget=250)
    found = attacked(model, images, torch.tensor([2]), attack)
    assert found.labels.tolist() == [2]
    assert error(found, images) < 1e-3
    assert found.evaluation["way"] == "one by one"


def test_signed_adam_on_the_whole_cosine_comes_closer_than_chance():
    torch.manual_seed(0)
    model = ConvNet(num_classes=4, image_size=12, width=16).eval()
    images = smooth_images(12)
    search = AdamSearch(lr=0.1, schedule=Schedule.steps, signed=True)
    attack = GradientInversion(Pixels(), search, 120, "whole_cosine", [TotalVariation(1e-5)])
    found = attacked(model, images, torch.tensor([1]), attack)
    grey = images.square().mean().item()
    assert error(found, images) < grey / 5


def dcgan_prior():
    torch.manual_seed(0)
    generator = nn.Sequential(
        nn.ConvTranspose2d(5, 12, 2),
        nn.ReLU(),
        nn.ConvTranspose2d(12, 8, 2, stride=2),
        nn.ReLU(),
        nn.ConvTranspose2d(8, 3, 2, stride=2),
        nn.Tanh(),
    )
    for parameter in generator.parameters():
        nn.init.normal_(parameter, std=0.4)
    return ModulePrior(generator, (5, 1, 1), 8)


STAGED = {
    "features": lambda: GradientInversion(
        Features([10.0, 20.0]), AdamSearch(0.1), 30, later_budget=15, n_trials=2
    ),
    "weights": lambda: GradientInversion(
        GeneratorWeights(),
        AdamSearch(0.1),
        30,
        later_search=AdamSearch(0.01, schedule=Schedule.constant),
    ),
}


@pytest.mark.parametrize("name", STAGED)
def test_later_stages_explain_the_update_better_and_the_best_stage_is_the_answer(name):
    side = client_side(2)
    attack = STAGED[name]()
    loops = []
    progress = Progress(
        notify=lambda hook, loop: loops.append(loop) if hook == "on_search_end" else None
    )
    found = attacked(side.model, side.images, side.labels, attack, dcgan_prior(), progress=progress)
    stages = attack.space.stages
    assert len(loops) == attack.n_trials * stages
    for first in range(0, len(loops), stages):
        losses = [loop.best_loss for loop in loops[first : first + stages]]
        assert losses[1] < losses[0]
    losses = [loop.best_loss for loop in loops]
    assert found.loss == min(losses)
    assert found.trial == losses.index(min(losses)) // stages
    assert len(found.trial_losses) == attack.n_trials
    assert found.evaluations == attack.evaluations
    best = loops[losses.index(min(losses))]
    answer = best.objective.images(best.best_latent.unsqueeze(0))[0]
    torch.testing.assert_close(found.images, answer.clamp(-1, 1))


@pytest.mark.parametrize("name", STAGED)
def test_an_interruption_between_stages_changes_nothing(name):
    side = client_side(2)
    snapshots = []

    def keep(hook, loop):
        if hook == "on_round_end" and loop.round == 7:
            snapshots.append([each.snapshot() for each in (*loop.earlier, loop)])

    whole = attacked(
        side.model,
        side.images,
        side.labels,
        STAGED[name](),
        dcgan_prior(),
        progress=Progress(notify=keep),
    )
    for kept in snapshots:
        again = attacked(
            side.model,
            side.images,
            side.labels,
            STAGED[name](),
            dcgan_prior(),
            progress=Progress(resume=kept),
        )
        assert torch.equal(again.images, whole.images)
        assert again.trial_losses == whole.trial_losses


def test_all_penalties_together_on_a_group_of_restarts():
    side = client_side(2, images=2)
    penalties = [
        TotalVariation(1e-3),
        ImageNorm(1e-4),
        GroupConsistency(1e-3),
        BatchNormStatistics(1e-3),
    ]
    search = AdamSearch(0.1, restarts=3, schedule=Schedule.cosine, warmup=5, noise=0.01)
    attack = GradientInversion(Pixels(), search, 40, penalties=penalties, known_label=True)
    found = attacked(side.model, side.images, side.labels, attack)
    assert found.images.shape == (2, 3, 8, 8)
    assert found.images.abs().max() <= 1
    assert found.histories[0][-1].best < found.histories[0][0].best


def test_low_resolution_answers_images_in_range():
    side = client_side(2)
    search = AdamSearch(0.05, schedule=Schedule.cosine, floor=0.1)
    found = attacked(
        side.model, side.images, side.labels, GradientInversion(LowResolution(4), search, 20)
    )
    assert found.images.abs().max() <= 1


def test_generative_gradient_leakage_is_a_case_of_it():
    """CMA-ES sees the order of candidates only, which sum and mean over tensors agree on."""
    side = client_side(2)
    search = NevergradSearch("CMA", population=8)
    named = GenerativeGradientLeakage(search, budget=10, kl_weight=0.0, n_trials=2)
    ours = GradientInversion(Latents(), search, budget=10, n_trials=2)
    found = [attacked(side.model, side.images, side.labels, each) for each in (named, ours)]
    assert torch.equal(found[0].images, found[1].images)
    assert found[0].trial == found[1].trial
    tensors = len(list(side.model.parameters()))
    assert found[1].loss == pytest.approx(found[0].loss * tensors, rel=1e-4)


def test_images_themselves_are_found_better_than_by_their_update():
    side = client_side(2)
    target = Target(side.model, side.classifier, TinyPrior())
    attack = GradientInversion(Pixels(), AdamSearch(0.1), 100)
    bound = attack.invert(side.images, side.labels, target, seed=0)
    assert error(bound, side.images) < 1e-3


def test_probabilities_of_labels_need_a_cross_entropy():
    side = client_side()
    target = Target(side.model, side.classifier, TinyPrior())
    attack = GradientInversion(PixelsAndLabels(), LBFGSSearch())
    assert attack.problems(target, 1, PlainGradient()) == []
    (problem,) = attack.problems(target, 1, PlainGradient(loss=nn.MultiMarginLoss()))
    assert "MultiMarginLoss" in problem


@pytest.mark.parametrize(
    ("attack", "message"),
    [
        (lambda: GradientInversion(Pixels(), NevergradSearch()), "cannot search Pixels: choose"),
        (
            lambda: GradientInversion(GeneratorWeights(), NevergradSearch()),
            "after the latents: choose AdamSearch or LBFGSSearch as later_search",
        ),
        (
            lambda: GradientInversion(
                Pixels(), AdamSearch(restarts=1), penalties=[GroupConsistency(1)]
            ),
            "set its restarts",
        ),
        (lambda: GradientInversion(Features([1.0]), AdamSearch()), "do not run in sequence"),
        (lambda: GradientInversion(LowResolution(3), AdamSearch()), "must divide"),
        (
            lambda: GradientInversion(Latents(), AdamSearch(), use_weight=[1.0]),
            "use_weight",
        ),
    ],
)
def test_what_does_not_fit_is_one_line(attack, message):
    side = client_side()
    target = Target(side.model, side.classifier, TinyPrior())
    (problem,) = attack().problems(target, 1, PlainGradient())
    assert message in problem


def test_weights_of_tensors_do_not_go_with_one_distance():
    with pytest.raises(UserError, match="whole_cosine"):
        GradientInversion(Pixels(), AdamSearch(), 10, "whole_cosine", use_weight=True)
