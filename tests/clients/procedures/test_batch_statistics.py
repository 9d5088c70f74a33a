import pytest
import torch
from torch.func import vmap

from ggl_lightning.clients.procedures import (
    BatchStatistics,
    ClientSGD,
    ClientState,
    LocalTraining,
    PlainGradient,
    PopulationUpdates,
    RunningStatistics,
    batch_statistics,
    layer_statistics,
    sent_statistics,
    statistics_penalty,
)
from ggl_lightning.errors import UserError
from tests.clients.procedures.training_loops import batch, client_net

SHAPE = (3, 8, 8)


def _running(norm):
    return RunningStatistics(
        norm.running_mean.clone(), norm.running_var.clone(), int(norm.num_batches_tracked)
    )


@pytest.mark.parametrize("momentum", [0.1, 0.7, 1.0, None])
def test_what_one_batch_did_to_the_buffers_says_its_mean_and_variance(momentum):
    norm = torch.nn.BatchNorm2d(3, momentum=momentum).double()
    for seed in range(3):  # batches before the one that is read off
        norm(batch(5, seed=seed, dtype=torch.float64)[0] * 2 + 1)
    before = _running(norm)
    images, _ = batch(4, seed=9, dtype=torch.float64)
    norm(images)
    found = batch_statistics(before, _running(norm), momentum, 4 * 64)
    torch.testing.assert_close(found.mean, images.mean((0, 2, 3)))
    torch.testing.assert_close(found.variance, images.var((0, 2, 3), correction=0))


@pytest.mark.parametrize("momentum", [0.3, None])
def test_of_several_batches_it_is_their_weighted_mean(momentum):
    norm = torch.nn.BatchNorm2d(3, momentum=momentum).double()
    norm(batch(5, dtype=torch.float64)[0])
    before = _running(norm)
    batches = [batch(4, seed=seed, dtype=torch.float64)[0] * (seed + 1) for seed in range(3)]
    for images in batches:
        norm(images)
    found = batch_statistics(before, _running(norm), momentum, 4 * 64)
    weights = torch.tensor([1.0, 1, 1] if momentum is None else [0.49, 0.7, 1]).double()
    weights = weights / weights.sum()
    means = torch.stack([images.mean((0, 2, 3)) for images in batches])
    variances = torch.stack([images.var((0, 2, 3), correction=0) for images in batches])
    torch.testing.assert_close(found.mean, weights @ means, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(found.variance, weights @ variances, rtol=1e-6, atol=1e-8)


def test_buffers_that_say_nothing_are_refused():
    one = torch.ones(3)
    for before, momentum, words in [
        (RunningStatistics(one, one, 4), 0.1, "has seen 0 batches"),
        (RunningStatistics(one, one), None, "num_batches_tracked"),
        (RunningStatistics(one, one), 0.0, "momentum of batch-norm is 0"),
    ]:
        with pytest.raises(UserError, match=words):
            batch_statistics(before, RunningStatistics(one, one, 4), momentum, 8)


@pytest.mark.parametrize(
    "procedure",
    [PlainGradient(mode="train", send_buffers=True), LocalTraining(ClientSGD(0.1))],
)
def test_one_step_over_all_images_sends_the_statistics_of_every_layer(procedure):
    state = ClientState.of(client_net(dtype=torch.float64))
    images, labels = batch(dtype=torch.float64)
    order = procedure.order(8, torch.Generator().manual_seed(0))
    sent = procedure(state, images, labels, order)
    theirs = sent_statistics(state, sent.buffers, SHAPE, 8)
    assert list(theirs) == ["norm", "norm2"]
    inputs = state.model.conv(images)  # of the first layer, by hand
    torch.testing.assert_close(theirs["norm"].mean, inputs.mean((0, 2, 3)))
    torch.testing.assert_close(theirs["norm"].variance, inputs.var((0, 2, 3), correction=0))
    assert statistics_penalty(layer_statistics(state, images), theirs) < 1e-20
    assert statistics_penalty(layer_statistics(state, images.flip(0)), theirs) < 1e-20
    assert statistics_penalty(layer_statistics(state, images * 0.9), theirs) > 1e-4


def test_the_penalty_is_a_sum_over_layers_per_candidate():
    generator = torch.Generator().manual_seed(0)

    def random(*shape):
        return torch.rand(shape, generator=generator)

    ours = {
        "a": BatchStatistics(random(2, 3), random(2, 3)),
        "b": BatchStatistics(random(2, 5), random(2, 5)),
        "only ours": BatchStatistics(random(2, 5), random(2, 5)),
    }
    theirs = {name: BatchStatistics(random(n), random(n)) for name, n in (("a", 3), ("b", 5))}
    expected = [
        sum(
            float((found[c] - right).square().sum())
            for name in theirs
            for found, right in zip(ours[name], theirs[name], strict=True)
        )
        for c in range(2)
    ]
    torch.testing.assert_close(statistics_penalty(ours, theirs), torch.tensor(expected))
    with pytest.raises(UserError, match="no batch-norm layer in common"):
        statistics_penalty({}, theirs)


def test_a_population_has_statistics_and_slopes_of_its_own():
    state = ClientState.of(client_net(dtype=torch.float64))
    images, labels = batch(candidates=3, dtype=torch.float64)
    images.requires_grad_()
    procedure = LocalTraining(ClientSGD(0.1, momentum=0.9), epochs=2, batch_size=4)
    order = procedure.order(8, torch.Generator().manual_seed(0))
    private = procedure(state, images[1].detach(), labels, order)
    theirs = sent_statistics(state, private.buffers, SHAPE, 4)
    found = PopulationUpdates(procedure, state)(images, labels, order)
    assert found.way == "vmapped"
    # After several steps, what the candidates' own steps do to the buffers is the match.
    penalty = statistics_penalty(sent_statistics(state, found.update.buffers, SHAPE, 4), theirs)
    assert penalty.shape == (3,)
    assert penalty[1] < 1e-20
    assert (penalty[[0, 2]] > 1e-4).all()
    (slope,) = torch.autograd.grad(penalty[0], images)
    assert slope[0].any()
    assert not slope[1:].any()
    together = vmap(lambda each: layer_statistics(state, each))(images)
    alone = layer_statistics(state, images[2])
    for name, statistics in alone.items():
        torch.testing.assert_close(together[name].mean[2], statistics.mean)
        torch.testing.assert_close(together[name].variance[2], statistics.variance)
