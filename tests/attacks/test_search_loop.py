import math
from types import SimpleNamespace

import pytest
import torch

from ggl_lightning.attacks.callbacks import SearchCallback, SearchHost, SearchTimeLimit
from ggl_lightning.attacks.searches import Search
from ggl_lightning.attacks.searches.loop import NonFiniteLossError, SearchLoop
from ggl_lightning.errors import UserError


class ScriptedSearch(Search):
    """Asks for given one-dimensional populations and recommends a given latent."""

    population = 2

    def __init__(self, populations, recommendation):
        self.populations = [torch.tensor(p)[:, None] for p in populations]
        self.recommendation = torch.tensor([recommendation])
        self.told = []

    def evaluations(self, budget):
        return budget * self.population

    def start(self, latent_shape, budget, seed):
        pass

    def ask(self):
        return self.populations[len(self.told)]

    def tell(self, losses):
        self.told.append(losses.tolist())

    def recommend(self):
        return self.recommendation


def square(latents):
    return latents.square().sum(1)


def test_hooks_come_in_order_and_losses_reach_the_search():
    hooks = []
    search = ScriptedSearch([[3.0, 2.0], [1.0, 4.0]], 1.5)
    loop = SearchLoop(square, search, 2, notify=lambda hook, loop: hooks.append((hook, loop.round)))
    loop.run()
    assert hooks == [
        ("on_search_start", 0),
        ("on_round_start", 0),
        ("on_round_end", 1),
        ("on_round_start", 1),
        ("on_round_end", 2),
        ("on_search_end", 2),
    ]
    assert search.told == [[9.0, 4.0], [1.0, 16.0]]
    assert loop.evaluations == 5


def test_answer_is_the_recommendation_when_it_is_best():
    loop = SearchLoop(square, ScriptedSearch([[3.0, 2.0]], 0.5), 1)
    loop.run()
    assert loop.best_latent.item() == 0.5
    assert loop.best_loss == 0.25


def test_answer_is_the_best_candidate_when_the_optimiser_forgot_it():
    loop = SearchLoop(square, ScriptedSearch([[3.0, 0.25], [2.0, 2.0]], 1.0), 2)
    loop.run()
    assert loop.best_latent.item() == 0.25


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_non_finite_losses_end_the_search_with_the_count(bad):
    search = ScriptedSearch([[1.0, bad]], 0.0)
    with pytest.raises(NonFiniteLossError, match=r"1 of 2 candidates of round 0"):
        SearchLoop(square, search, 1).run()
    assert search.told == []


def test_time_limit_stops_after_the_round_and_says_why(monkeypatch):
    search = ScriptedSearch([[3.0, 2.0]] * 5, 1.0)
    limit = SearchTimeLimit(seconds=10)
    ticks = iter(range(0, 1000, 6))
    monkeypatch.setattr(
        "ggl_lightning.attacks.searches.loop.time.perf_counter", lambda: next(ticks)
    )

    def notify(hook, loop):
        getattr(limit, hook)(None, None, loop)

    loop = SearchLoop(square, search, 5, notify=notify)
    loop.run()
    assert loop.round == 2
    assert loop.stop_reason == "time limit of 10 s reached at round 2"
    assert loop.best_loss == 1.0


def test_time_limit_must_be_positive():
    with pytest.raises(UserError, match="time limit"):
        SearchTimeLimit(seconds=0)


def test_host_tells_search_callbacks_only():
    heard = []

    class Listener(SearchCallback):
        def on_round_end(self, trainer, pl_module, loop):
            heard.append((trainer, pl_module, loop))

    host = SearchHost()
    host._trainer = SimpleNamespace(callbacks=[object(), Listener()])
    host.notify("on_round_end", "the loop")
    assert heard == [(host._trainer, host, "the loop")]
