import pytest
import torch
from gpytorch.mlls import ExactMarginalLogLikelihood

from ggl_lightning.attacks.searches.gaussian_process import (
    fit_gaussian_process,
    likelihood_and_gradient,
)
from ggl_lightning.attacks.searches.loop import SearchLoop
from ggl_lightning.attacks.searches.trust_region import TrustRegion
from ggl_lightning.attacks.searches.turbo import TuRBOSearch
from ggl_lightning.errors import UserError

DEVICES = [
    "cpu",
    pytest.param(
        "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
    ),
]


def bowl(latents):
    return (latents - 0.5).square().flatten(1).sum(1)


def _run(search, budget, seed=0, shape=(2, 3)):
    search.start(shape, budget, seed)
    asked = []

    def objective(latents):
        asked.append(latents)
        return bowl(latents)

    loop = SearchLoop(objective, search, search.rounds(budget))
    loop.run()
    return loop, torch.cat(asked[:-1])


def test_budget_counts_evaluations_within_the_bounds():
    loop, asked = _run(TuRBOSearch(batch_size=4, initial=10, bound=1.5), budget=23)
    assert len(asked) == 23
    assert loop.evaluations == 24  # and the recommendation
    assert asked.abs().max() <= 1.5


def test_initial_points_are_a_latin_hypercube():
    _, asked = _run(TuRBOSearch(batch_size=5, initial=20), budget=21)
    cells = ((asked[:20].flatten(1) + 2) / 4 * 20).floor().long()
    for coordinate in cells.T:
        assert sorted(coordinate.tolist()) == list(range(20))


@pytest.mark.parametrize("device", DEVICES)
def test_it_beats_its_own_initial_design_and_repeats_to_the_bit(device):
    search = TuRBOSearch(batch_size=5, initial=20, device=device)
    loop, asked = _run(search, budget=45)
    assert bowl(asked[20:]).min() < bowl(asked[:20]).min() / 4
    assert loop.best_loss == pytest.approx(bowl(asked).min().item())
    torch.rand(3)
    again, asked_again = _run(search, budget=45)
    assert torch.equal(asked, asked_again)
    assert torch.equal(loop.best_latent, again.best_latent)
    assert not loop.best_latent.is_cuda
    _, other = _run(search, budget=25, seed=1)
    assert not torch.equal(asked[:25], other)


def _data(count=40, dimension=3, seed=0, device="cpu"):
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(count, dimension, generator=generator, dtype=torch.float64)
    values = (6 * points[:, 0]).sin() + points[:, 1] ** 2
    return points.to(device), ((values - values.mean()) / values.std()).to(device)


@pytest.mark.parametrize("device", DEVICES)
def test_likelihood_and_its_gradient_are_those_of_gpytorch(device):
    model, _ = fit_gaussian_process(*_data(device=device))
    value, gradients = likelihood_and_gradient(model)()
    model.train()
    likelihood = ExactMarginalLogLikelihood(model.likelihood, model)
    expected = -likelihood(model(*model.train_inputs), model.train_targets)
    torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-9)
    by_autograd = torch.autograd.grad(expected, list(model.parameters()))
    for ours, theirs in zip(gradients, by_autograd, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-8)


def test_a_few_steps_from_the_last_fit_are_as_good_as_many_from_the_start():
    points, targets = _data(60)
    _, earlier = fit_gaussian_process(points[:50], targets[:50])
    found = {}
    for name, start in (("afresh", None), ("onwards", earlier)):
        model, vector = fit_gaussian_process(points, targets, start)
        found[name] = likelihood_and_gradient(model)()[0].item()
        assert vector.dtype == torch.float64
        assert vector.numel() == sum(p.numel() for p in model.parameters())
    assert found["onwards"] < found["afresh"] + 0.05
    # An unimportant coordinate gets a long lengthscale.
    lengthscales = model.covar_module.base_kernel.lengthscale.flatten()
    assert lengthscales[2] > 2 * lengthscales[0]


def test_an_exhausted_region_restarts_with_a_new_design_and_keeps_the_best(monkeypatch):
    monkeypatch.setattr("ggl_lightning.attacks.searches.trust_region._MINIMUM_LENGTH", 0.5)
    search = TuRBOSearch(batch_size=3, initial=6)
    search.start((1,), budget=45, seed=0)
    seen, restarts = [], 0
    for _ in range(search.rounds(45)):
        latents = search.ask()
        losses = torch.ones(len(latents)) if seen else bowl(latents)  # nothing improves any more
        seen.append((losses.min().item(), latents[losses.argmin()]))
        search.tell(losses)
        restarts += len(search._values) == 0
    assert restarts >= 2
    assert torch.equal(search.recommend(), min(seen, key=lambda item: item[0])[1])


def test_trust_region_doubles_after_three_successes_and_halves_after_failures():
    region = TrustRegion(dimension=20, batch_size=10)  # two failed batches halve it
    for _ in range(2):
        region.update(0.9, 1.0)
    assert region.length == 0.8
    region.update(0.5, 0.9)
    assert region.length == 1.6
    region.update(0.49999, 0.5)  # less than 0.1% better: a failure
    assert region.length == 1.6
    region.update(0.6, 0.5)
    assert region.length == 0.8
    for _ in range(2 * 7):
        region.update(1.0, 0.5)
    assert region.exhausted


def test_box_has_the_lengthscales_shape_and_stays_in_the_cube():
    region = TrustRegion(dimension=2, batch_size=1)
    low, high = region.box(torch.tensor([0.5, 0.95]), torch.tensor([0.1, 0.4]))
    torch.testing.assert_close(high[0] - low[0], torch.tensor(0.8 * 0.5))
    assert high[1] == 1
    torch.testing.assert_close(low[1], torch.tensor(0.95 - 0.8))


@pytest.mark.parametrize("arguments", [{"batch_size": 0}, {"initial": 0}, {"bound": 0}])
def test_bad_arguments(arguments):
    with pytest.raises(UserError, match="TuRBO is 0"):
        TuRBOSearch(**arguments)


def test_fewer_candidates_than_a_batch_are_refused():
    with pytest.raises(UserError, match=r"candidates of TuRBO is 9: .* batch_size, 10"):
        TuRBOSearch(candidates=9)


def test_budget_must_go_beyond_the_initial_design():
    with pytest.raises(UserError, match=r"budget is 256 .* 256: raise budget"):
        TuRBOSearch().start((128,), 256, 0)
