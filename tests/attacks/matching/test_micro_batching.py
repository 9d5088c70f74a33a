"""Populations in parts: which sizes, what running out of memory does, and that results stay."""

import logging

import pytest
import torch
from jsonargparse import ArgumentParser

from ggl_lightning.attacks import GenerativeGradientLeakage, Target
from ggl_lightning.attacks.matching import micro_batching
from ggl_lightning.attacks.matching.micro_batching import MicroBatching
from ggl_lightning.attacks.matching.update_distances import UpdateDistances
from ggl_lightning.attacks.objective import Objective
from ggl_lightning.attacks.penalties import kl_regularizer
from ggl_lightning.attacks.searches import AdamSearch, NevergradSearch
from ggl_lightning.attacks.spaces import LatentSpace
from ggl_lightning.audit.plan.keys import describe
from ggl_lightning.clients import GradientUpdate, client_update, find_classifier_layer
from ggl_lightning.errors import UserError
from ggl_lightning.memory import footprint, free_memory, is_out_of_memory
from tests.tiny import TinyClient, TinyPrior, received

CPU = torch.device("cpu")
MB = 2**20
ACCELERATOR = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
ALLOCATOR = RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")


class Machine:
    """Evaluates populations whose parts must not be larger than its memory allows."""

    def __init__(self, room=10**9, error=ACCELERATOR):
        self.room = room
        self.error = error
        self.sizes = []

    def __call__(self, part):
        if len(part) > self.room:
            raise self.error
        self.sizes.append(len(part))
        return part * 2


def run(evaluation, machine, count, each=MB):
    population = torch.arange(count)
    found = torch.cat(evaluation.run(machine, population, each, CPU))
    assert torch.equal(found, population * 2)
    return machine.sizes


@pytest.mark.parametrize(
    ("bound", "each", "sizes"),
    [(50, MB, [50]), (49, MB, [25, 25]), (16.5, MB, [13, 13, 12, 12]), (1, 3 * MB, [1] * 50)],
)
def test_as_many_at_a_time_as_the_bound_holds_in_parts_of_equal_size(bound, each, sizes):
    assert sorted(run(MicroBatching(bound), Machine(), 50, each), reverse=True) == sizes


def test_defaults():
    assert run(MicroBatching(), Machine(), 2000) == [1000, 1000]  # 1024 MB on the CPU
    assert run(MicroBatching(micro_batch=20), Machine(), 50) == [17, 17, 16]


@pytest.mark.parametrize("error", [ACCELERATOR, ALLOCATOR, MemoryError()])
def test_running_out_of_memory_halves_the_size_and_goes_on(error, caplog):
    machine, evaluation = Machine(7, error), MicroBatching()
    with caplog.at_level(logging.INFO):
        assert run(evaluation, machine, 50) == [5] * 10
    assert caplog.text.count("Out of memory with") == 3  # with 50, 25, and parts of 10 for 12
    assert evaluation.report(MB, CPU) == {
        "micro_batch": 5,
        "chosen": "memory bound",
        "mb_per_candidate": 1.0,
        "out_of_memory": 3,
    }
    run(evaluation, machine, 50)  # the next population does not try again
    assert evaluation.report(MB, CPU)["out_of_memory"] == 3


def test_memory_that_runs_out_late_keeps_what_is_done():
    machine, evaluation = Machine(20), MicroBatching(micro_batch=20)
    machine.error = ALLOCATOR

    def shrinking(part):
        found = machine(part)
        machine.room = 5
        return found

    population = torch.arange(50)
    found = torch.cat(evaluation.run(shrinking, population, MB, CPU))
    assert torch.equal(found, population * 2)
    assert machine.sizes[0] == 17
    assert max(machine.sizes[1:]) <= 5


def test_one_candidate_that_does_not_fit_is_the_users_to_mend():
    with pytest.raises(UserError, match="One candidate alone does not fit"):
        run(MicroBatching(), Machine(0), 3)


def test_other_errors_keep_their_traceback():
    with pytest.raises(RuntimeError, match="shapes"):
        run(MicroBatching(), Machine(0, RuntimeError("shapes do not match")), 3)
    assert not is_out_of_memory(ValueError("can't allocate memory"))


def test_measuring_takes_the_smallest_size_that_is_about_as_fast(monkeypatch):
    clock = [0.0]

    def timed(part):
        clock[0] += 1 + len(part) * (0.1 if len(part) <= 16 else 0.2)  # a cache of 16
        return part * 2

    monkeypatch.setattr(micro_batching.time, "perf_counter", lambda: clock[0])
    chosen = MicroBatching(micro_batch="measure")
    chosen.run(timed, torch.arange(64), MB, CPU)
    assert chosen.report(MB, CPU)["micro_batch"] == 16
    assert chosen.report(MB, CPU)["chosen"] == "measured"
    before = clock[0]
    chosen.run(timed, torch.arange(64), MB, CPU)
    assert clock[0] - before == pytest.approx(4 * (1 + 1.6))  # not measured again


def test_measuring_is_capped_by_free_memory(monkeypatch):
    monkeypatch.setattr(micro_batching, "free_memory", lambda _device: 10 * MB)
    machine = Machine()
    MicroBatching(micro_batch="measure").run(machine, torch.arange(64), MB, CPU)
    assert max(machine.sizes) == 8


@pytest.mark.parametrize(
    "settings", [{"max_memory_mb": 0}, {"micro_batch": 0}, {"micro_batch": "x"}]
)
def test_bad_settings(settings):
    with pytest.raises(UserError, match=next(iter(settings))):
        GenerativeGradientLeakage(NevergradSearch(), **settings)


@pytest.mark.parametrize("micro_batch", ["auto", "measure", 16])
def test_settings_from_yaml(micro_batch):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--attack", type=GenerativeGradientLeakage)
    search = {"class_path": "ggl_lightning.attacks.searches.NevergradSearch"}
    settings = {"search": search, "max_memory_mb": 300, "micro_batch": micro_batch}
    attack = {
        "class_path": "ggl_lightning.attacks.GenerativeGradientLeakage",
        "init_args": settings,
    }
    built = parser.instantiate_classes(parser.parse_object({"attack": attack})).attack
    assert built._evaluation.bound(CPU) == 300 * MB
    assert built._evaluation._micro_batch == micro_batch


def test_memory_of_this_machine():
    assert 2**20 < free_memory(CPU) < 2**50
    prior = TinyPrior()
    assert footprint(prior, lambda: prior(prior.sample(1))).largest == 4 * (6 + 3 * 64)


def test_how_candidates_are_evaluated_does_not_identify_a_case():
    plain = GenerativeGradientLeakage(NevergradSearch())
    other = GenerativeGradientLeakage(NevergradSearch(), max_memory_mb=7, micro_batch=3)
    assert describe(plain) == describe(other)


def objective(evaluation):
    torch.manual_seed(0)
    model, prior = TinyClient().double().eval(), TinyPrior().double()
    labels = torch.tensor([1, 0])
    received = client_update(model, prior(torch.randn(2, 6).double()), labels)
    distances = UpdateDistances(model, received, GradientUpdate(), evaluation=evaluation)
    return prior, Objective(LatentSpace(prior), distances, labels, None, kl_regularizer, 0.1)


@pytest.mark.parametrize("differentiable", [False, True])
def test_losses_and_gradients_do_not_depend_on_the_parts(differentiable, monkeypatch):
    latents = torch.randn(7, 2, 6, dtype=torch.float64)
    results = []
    for size in (100, 3, 1):
        prior, function = objective(MicroBatching(micro_batch=size))
        generated = []
        forward = prior.forward
        monkeypatch.setattr(
            prior, "forward", lambda z, y, f=forward, g=generated: (g.append(len(z)), f(z, y))[1]
        )
        given = latents.clone().requires_grad_(differentiable)
        losses = function(given)
        results.append([losses.detach()])
        if differentiable:
            (losses * torch.arange(7)).sum().backward()
            results[-1].append(given.grad)
        assert max(generated) <= 2 * size  # images are generated in the same parts
        assert sum(generated[1:]) == 2 * 7  # but one candidate's, to see what it takes
    for other in results[1:]:
        torch.testing.assert_close(results[0], other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("search", [NevergradSearch("DE", 6), AdamSearch(restarts=5)])
def test_an_attack_goes_on_without_memory_and_reports_it(search, monkeypatch):
    torch.manual_seed(0)
    model, prior = TinyClient().eval(), TinyPrior()
    image = prior(prior.sample(1))
    sent = received(model, client_update(model, image, torch.tensor([1])))
    classifier = find_classifier_layer(model, image)

    def attack(**settings):
        leakage = GenerativeGradientLeakage(search, budget=4, **settings)
        return leakage.run(sent, Target(model, classifier, prior), seed=3)

    whole = attack()
    assert whole.evaluation["way"] == "in closed form"
    assert whole.evaluation["general_parameters"] == 0
    again = attack()
    assert torch.equal(whole.artefacts["latent"], again.artefacts["latent"])
    forward = prior.forward

    def small(latents, labels=None):
        if len(latents) > 2:
            raise ACCELERATOR
        return forward(latents, labels)

    monkeypatch.setattr(prior, "forward", small)
    found = attack()
    assert found.evaluation["micro_batch"] <= 2
    assert found.evaluation["out_of_memory"] >= 1
    torch.testing.assert_close(found.loss, whole.loss, rtol=1e-3, atol=1e-6)
