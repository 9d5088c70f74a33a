import math

import pytest
import torch

from ggl_lightning.attacks.searches import (
    AdamSearch,
    LBFGSSearch,
    NevergradSearch,
    RefinedSearch,
    Schedule,
)
from ggl_lightning.attacks.searches.adam import cosine, ramp
from ggl_lightning.attacks.searches.loop import SearchLoop
from ggl_lightning.attacks.spaces import PixelSpace
from ggl_lightning.errors import UserError


def bowl(latents):
    """Smallest, 0, where every entry is 0.5."""
    return (latents - 0.5).square().flatten(1).sum(1)


def test_ramp_rises_for_5_percent_and_falls_for_25_percent():
    factors = [ramp(step, 1000) for step in range(1000)]
    assert factors[0] == pytest.approx(0.01)
    assert factors[49] == pytest.approx(0.99)
    assert set(factors[50:750]) == {1.0}
    assert factors[875] == pytest.approx(0.5, abs=0.01)
    assert 0 < factors[-1] < 1e-3
    assert factors[750:] == sorted(factors[750:], reverse=True)


def test_adam_equals_a_plain_torch_loop():
    search = AdamSearch(lr=0.1, restarts=3)
    search.start((2,), budget=40, seed=1)
    start = search.ask().detach().clone()
    SearchLoop(bowl, search, 40).run()
    latents = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([latents], lr=0.1)
    for step in range(40):
        for group in optimizer.param_groups:
            group["lr"] = 0.1 * ramp(step, 40)
        optimizer.zero_grad()
        bowl(latents).sum().backward()
        optimizer.step()
    torch.testing.assert_close(search.ask().detach(), latents.detach())


def test_restarts_are_independent_and_the_best_one_is_recommended():
    many = AdamSearch(restarts=4)
    many.start((3,), budget=200, seed=0)
    loop = SearchLoop(bowl, many, 200)
    loop.run()
    assert loop.evaluations == 200 * 4 + 1
    assert loop.best_loss < 1e-4
    torch.testing.assert_close(loop.best_latent, torch.full((3,), 0.5), atol=0.02, rtol=0)
    again = AdamSearch(restarts=4)
    again.start((3,), budget=200, seed=0)
    SearchLoop(bowl, again, 200).run()
    assert torch.equal(many.recommend(), again.recommend())


def test_refinement_truly_descends_from_the_recommendation():
    search = RefinedSearch(NevergradSearch("CMA", population=5), refine_steps=150, refine_lr=0.05)
    assert search.rounds(4) == 154
    search.start((6,), budget=4, seed=0)
    losses = []
    loop = SearchLoop(
        bowl,
        search,
        search.rounds(4),
        notify=lambda hook, loop: (
            losses.append(loop.losses.min().item()) if hook == "on_round_end" else None
        ),
    )
    loop.run()
    before = min(losses[:4])
    assert losses[4] == pytest.approx(before, rel=1e-5)  # starts where the search ended
    assert losses[-1] < before / 100
    assert loop.best_loss < before / 100
    assert loop.evaluations == 4 * 5 + 150 + 1
    assert not math.isnan(loop.best_loss)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: AdamSearch(lr=0), "lr is 0"),
        (lambda: AdamSearch(restarts=0), "restarts is 0"),
        (lambda: RefinedSearch(AdamSearch(), refine_steps=0), "refine_steps is 0"),
        (lambda: RefinedSearch(AdamSearch(), refine_lr=-1), "refine_lr is -1"),
    ],
)
def test_bad_arguments(build, message):
    with pytest.raises(UserError, match=message):
        build()


class Box(PixelSpace):
    """Two pixels."""

    def __init__(self):
        super().__init__((1, 1, 2), torch.device("cpu"))


def test_descents_begin_in_their_space_and_stay_there():
    for search in (AdamSearch(lr=0.5, restarts=3), LBFGSSearch(restarts=3)):
        search.start_in(Box(), 1, budget=20, seed=0)
        assert search.ask().abs().max() <= 1
        loop = SearchLoop(lambda points: (points - 3).square().flatten(1).sum(1), search, 20)
        loop.run()
        assert search.ask().max() <= 1
        torch.testing.assert_close(loop.best_latent, torch.ones(1, 1, 1, 2))


def test_signed_steps_on_a_staircase_equal_a_plain_loop():
    search = AdamSearch(lr=0.1, schedule=Schedule.steps, signed=True)
    search.start((2,), budget=16, seed=1)
    point = search.ask().detach().clone().requires_grad_()
    SearchLoop(bowl, search, 16).run()
    optimizer = torch.optim.Adam([point], lr=0.1)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [6, 10, 14], gamma=0.1)
    for _ in range(16):
        optimizer.zero_grad()
        bowl(point).sum().backward()
        point.grad.sign_()
        optimizer.step()
        scheduler.step()
    torch.testing.assert_close(search.ask().detach(), point.detach())


def test_a_cosine_rises_then_falls_to_its_floor():
    factors = [cosine(step, 100, warmup=10, floor=0.2) for step in range(100)]
    assert factors[0] == pytest.approx(0.1, rel=0.01)
    assert max(factors) == max(factors[8:12])
    assert factors[-1] == pytest.approx(0.2, abs=1e-3)
    assert cosine(50, 100) == pytest.approx(0.5)


def test_langevin_noise_is_of_the_seed_and_its_size():
    def steps(noise, seed):
        search = AdamSearch(lr=0.1, schedule=Schedule.constant, noise=noise)
        search.start((2000,), budget=1, seed=seed)
        search.tell(bowl(search.ask()))
        return search.ask().detach()

    still, noisy = steps(0.0, 0), steps(0.5, 0)
    assert (noisy - still).std() == pytest.approx(0.05, rel=0.1)
    assert torch.equal(noisy, steps(0.5, 0))


def test_lbfgs_needs_no_more_than_an_independent_one():
    """Rosenbrock's valley, on which steepest descent crawls."""

    def valley(points):
        x, y = points.double().flatten(1).unbind(1)
        return (1 - x) ** 2 + 100 * (y - x**2) ** 2

    search = LBFGSSearch(restarts=4)
    search.start((2,), budget=200, seed=0)
    loop = SearchLoop(valley, search, 200)
    loop.run()
    torch.testing.assert_close(loop.best_latent, torch.ones(2), atol=1e-2, rtol=0)
    assert loop.best_loss < 1e-6


def test_lbfgs_reaches_a_quadratic_minimum_in_steps_of_its_dimension():
    matrix = torch.randn(6, 6, generator=torch.Generator().manual_seed(0)).double()
    matrix = matrix @ matrix.T + torch.eye(6)
    search = LBFGSSearch(restarts=2)
    search.start((6,), budget=80, seed=0)

    def quadratic(points):
        return ((points.double() - 1) @ matrix * (points.double() - 1)).sum(1)

    loop = SearchLoop(quadratic, search, 80)
    loop.run()
    torch.testing.assert_close(loop.best_latent, torch.ones(6), atol=1e-4, rtol=0)
