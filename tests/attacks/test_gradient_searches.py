import math

import pytest
import torch

from ggl_lightning.attacks.searches import AdamSearch, NevergradSearch, RefinedSearch
from ggl_lightning.attacks.searches.adam import ramp
from ggl_lightning.attacks.searches.loop import SearchLoop
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
