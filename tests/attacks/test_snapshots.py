"""An interrupted search ends as an undisturbed one does, to the last bit."""

import contextlib
import csv
import io
import random
import threading
import time
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_lightning.utilities.exceptions import SIGTERMException

from ggl_lightning.attacks import GenerativeGradientLeakage, Progress, Target
from ggl_lightning.attacks.callbacks import (
    SearchHost,
    SearchSnapshots,
    SearchTimeLimit,
    kept_trials,
)
from ggl_lightning.attacks.searches import (
    AdamSearch,
    LBFGSSearch,
    NevergradSearch,
    RefinedSearch,
    Search,
)
from ggl_lightning.attacks.searches.loop import NonFiniteLossError, SearchLoop
from ggl_lightning.attacks.searches.snapshots import losses_csv, read_trials, write_trials
from ggl_lightning.attacks.searches.turbo import TuRBOSearch
from ggl_lightning.clients import client_update
from ggl_lightning.errors import UserError
from ggl_lightning.seeding import rng_state, seeded, set_rng_state
from tests.tiny import TinyPrior, client_side, received

# Nevergrad's optimisers that draw from NumPy's global generator, which a test below makes sure of.
GLOBAL_GENERATOR = ["QOTPDE", "OLNDiscreteOnePlusOne"]
BUDGET = 7
SEARCHES = {
    **{
        method: (lambda method=method: NevergradSearch(method, population=6), BUDGET)
        for method in ["CMA", "DE", "PSO", "TwoPointsDE", *GLOBAL_GENERATOR]
    },
    "OnePlusOne": (lambda: NevergradSearch("OnePlusOne", population=1), BUDGET),
    "Powell": (lambda: NevergradSearch("Powell", population=1), BUDGET),  # runs in a thread
    "Adam": (lambda: AdamSearch(restarts=3), BUDGET),
    "noisy Adam": (lambda: AdamSearch(restarts=2, signed=True, noise=0.1), BUDGET),
    "LBFGS": (lambda: LBFGSSearch(restarts=2), BUDGET),
    "TuRBO": (lambda: TuRBOSearch(batch_size=5, initial=8), 17),
    "refined CMA": (lambda: RefinedSearch(NevergradSearch("CMA", 6), refine_steps=4), BUDGET),
    "refined Adam": (lambda: RefinedSearch(AdamSearch(restarts=2), refine_steps=4), BUDGET),
}


class ProcessEndsError(Exception):
    """Stands in for the end of a process."""


def bumpy(latents):
    """A function of latents ``(C, 2, 2)`` with many minima, on whose way rounding shows."""
    return (latents - 0.3).square().flatten(1).sum(1) + latents.flatten(1).sin().prod(1)


def run(name, kept=None, until=None, seed=3):
    """Runs a search, from a snapshot if there is one; returns its loop and what it evaluated.

    With ``until`` it is interrupted before that round, and a snapshot takes the loop's place.
    """
    build, budget = SEARCHES[name]
    evaluated = []

    def objective(latents):
        evaluated.append(latents.detach().clone())
        return bumpy(latents)

    def notify(hook, loop):
        if hook == "on_round_start" and loop.round == until:
            raise ProcessEndsError

    with seeded(seed):
        search = build()
        search.start((2, 2), budget, seed)
        loop = SearchLoop(objective, search, search.rounds(budget), notify=notify)
        if kept is not None:
            loop.restore(kept)
        try:
            loop.run()
        except ProcessEndsError:
            return loop.snapshot(), evaluated
    return loop, evaluated


@cache
def undisturbed(name):
    return run(name)


def through_file(tmp_path, snapshot):
    path = tmp_path / "snapshot.safetensors"
    write_trials(path, "key", [snapshot])
    (read,) = read_trials(path, "key")
    return read


def assert_same_end(loop, expected):
    assert torch.equal(loop.best_latent, expected.best_latent)
    assert loop.best_loss == expected.best_loss
    assert torch.equal(loop.losses, expected.losses)
    assert loop.history == expected.history
    assert loop.round == expected.round
    assert loop.evaluations == expected.evaluations


@pytest.mark.parametrize("name", SEARCHES)
def test_every_search_goes_on_as_if_nothing_had_happened(name, tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("snapshots")
    expected, evaluated = undisturbed(name)

    @settings(max_examples=3 if name == "TuRBO" else 8)
    @given(stops=st.lists(st.integers(0, expected.rounds - 1), min_size=1, max_size=2).map(sorted))
    def check(stops):
        kept, again = None, []
        for stop in stops:
            kept, more = run(name, kept, until=stop)
            again += more
            kept = through_file(tmp_path, kept)
        loop, more = run(name, kept)
        again += more
        # Nothing is evaluated twice, nothing is left out, and everything is the same.
        assert [x.shape for x in again] == [x.shape for x in evaluated]
        assert all(torch.equal(x, y) for x, y in zip(again, evaluated, strict=True))
        assert_same_end(loop, expected)

    check()


@pytest.mark.parametrize("method", GLOBAL_GENERATOR)
def test_these_optimisers_do_draw_from_the_global_generator(method):
    with seeded(0):
        before = np.random.get_state()  # noqa: NPY002
        search = NevergradSearch(method, population=6)
        search.start((2, 2), BUDGET, 0)
        for _ in range(BUDGET):
            search.tell(bumpy(search.ask()))
        after = np.random.get_state()  # noqa: NPY002
    assert before[2] != after[2] or not np.array_equal(before[1], after[1])


def test_a_long_search_in_the_published_size_is_rebuilt_exactly():
    def started():
        search = NevergradSearch("CMA", population=50)
        search.start((128,), 60, 1)
        return search

    search, told = started(), []
    for _ in range(60):
        asked = search.ask()
        told.append((asked - 0.5).square().sum(1))
        search.tell(told[-1])
    again = started()
    again.restore({}, told, asked)
    assert torch.equal(search.recommend(), again.recommend())
    assert torch.equal(search.ask(), again.ask())


def test_trust_region_and_its_restarts_survive(monkeypatch):
    """Interrupts TuRBO wherever its region has another size, or is young."""
    monkeypatch.setattr("ggl_lightning.attacks.searches.trust_region._MINIMUM_LENGTH", 0.5)

    def started():
        search = TuRBOSearch(batch_size=3, initial=6)
        search.start((1,), 40, 0)
        return search

    def losses(latents):
        return 1 + 1e-4 * latents.square().sum(1)  # no improvement counts

    def play(search, rounds):
        for _ in range(rounds):
            search.tell(losses(search.ask()))

    whole = started()
    play(whole, 7)
    answers = whole.ask()
    assert len(whole.snapshot()["points"]) == 3 * 3  # the region was restarted after round 4
    for stop in (3, 5):
        first, second = started(), started()
        play(first, stop)
        kept = {name: tensor.clone() for name, tensor in first.snapshot().items()}
        second.restore(kept, [torch.zeros(3)] * stop, None)
        play(second, 7 - stop)
        assert torch.equal(second.ask(), answers)
        assert torch.equal(second.recommend(), whole.recommend())


def test_no_thread_outlives_a_search():
    before = threading.active_count()
    search = NevergradSearch("Powell", population=1)
    for objective in (bumpy, lambda latents: bumpy(latents) * float("nan")):
        search.start((2, 2), 5, 0)
        with contextlib.suppress(NonFiniteLossError):
            SearchLoop(objective, search, 5).run()
        deadline = time.monotonic() + 300
        while threading.active_count() > before and time.monotonic() < deadline:
            time.sleep(0.01)
        assert threading.active_count() == before


class Forgetful(Search):
    """Proposes something else every time, whatever its seed."""

    def evaluations(self, budget):
        return 2 * budget

    def start(self, latent_shape, budget, seed):
        self._shape = latent_shape

    def ask(self):
        return torch.randn(2, *self._shape, generator=_from_entropy())

    def tell(self, losses):
        pass

    def recommend(self):
        return torch.zeros(self._shape)


class Descends(Forgetful):
    def ask(self):
        return torch.zeros(2, *self._shape, requires_grad=True)

    def tell(self, losses):
        losses.sum().backward()


def _from_entropy():
    generator = torch.Generator()
    generator.seed()
    return generator


# The attack: trials, refinement, and what is done with a snapshot that does not help.


class Stop:
    """Keeps the attack's trials before a round of a trial, and ends the attack there."""

    def __init__(self, trial, round_):
        self.at = (trial, round_)
        self.kept = None

    def __call__(self, hook, loop):
        if hook == "on_round_start" and (loop.trial, loop.round) == self.at:
            self.kept = [trial.snapshot() for trial in (*loop.earlier, loop)]
            raise ProcessEndsError


def attack_once(search=None, resume=(), notify=lambda hook, loop: None, **arguments):
    client = client_side()
    update = client_update(client.model, client.images, client.labels)
    attack = GenerativeGradientLeakage(
        search or NevergradSearch("QOTPDE", population=5), budget=4, **arguments
    )
    target = Target(client.model, client.classifier, TinyPrior())
    return attack.run(received(client.model, update), target, 9, Progress(notify, resume))


@settings(max_examples=10)
@given(trial=st.integers(0, 2), round_=st.integers(0, 6))
def test_trials_that_are_finished_are_not_run_again(trial, round_):
    expected = attack_once(n_trials=3, refine_steps=3)
    stop = Stop(trial, round_)
    with pytest.raises(ProcessEndsError):
        attack_once(n_trials=3, refine_steps=3, notify=stop)
    rounds = []
    found = attack_once(
        n_trials=3,
        refine_steps=3,
        resume=stop.kept,
        notify=lambda hook, loop: rounds.append((loop.trial, hook)),
    )
    assert sum(hook == "on_round_end" for _, hook in rounds) == 7 * (3 - trial) - round_
    assert {number for number, _ in rounds} == set(range(trial, 3))
    for name in ("images", "labels"):
        assert torch.equal(getattr(found, name), getattr(expected, name))
    assert torch.equal(found.artefacts["latent"], expected.artefacts["latent"])
    for name in ("loss", "trial", "trial_losses", "rounds", "evaluations", "histories"):
        assert getattr(found, name) == getattr(expected, name)


def test_trials_do_not_depend_on_their_predecessors_draws():
    """The second of two trials is that of an attack whose first trial drew less."""
    one = attack_once(n_trials=2)
    heard = []

    def stir(hook, loop):
        if loop.trial == 0:
            np.random.rand(5)  # noqa: NPY002
            heard.append(hook)

    two = attack_once(n_trials=2, notify=stir)
    assert heard
    assert one.histories[1] == two.histories[1]


@pytest.mark.parametrize("search", [Forgetful(), Descends()])
def test_a_search_that_cannot_go_on_starts_afresh_and_says_so(search, caplog):
    stop = Stop(0, 2)
    with pytest.raises(ProcessEndsError):
        attack_once(search, notify=stop)
    found = attack_once(search, resume=stop.kept)
    assert found.rounds == 4
    assert f"starts afresh after its interruption: {type(search).__name__}" in caplog.text


def test_time_limits_count_the_time_before_an_interruption():
    search = NevergradSearch("PSO", population=3)
    search.start((2, 2), 5, 0)
    loop = SearchLoop(bumpy, search, 5)
    loop.started -= 100
    kept = loop.snapshot()
    assert kept.seconds == pytest.approx(100, abs=5)
    limit = SearchTimeLimit(seconds=100)
    search.start((2, 2), 5, 0)
    resumed = SearchLoop(
        bumpy, search, 5, notify=lambda hook, loop: getattr(limit, hook)(None, None, loop)
    )
    resumed.restore(kept)
    resumed.run()
    assert resumed.round == 1
    assert resumed.elapsed >= 100
    assert resumed.elapsed == resumed.elapsed  # it has ended


def test_a_trial_that_was_stopped_stays_so(tmp_path):
    search = NevergradSearch("PSO", population=3)
    search.start((2, 2), 5, 0)
    loop = SearchLoop(bumpy, search, 5, notify=lambda hook, loop: loop.request_stop("enough"))
    loop.run()
    kept = through_file(tmp_path, loop.snapshot())
    again = SearchLoop(bumpy, search, 5)
    again.restore(kept)
    assert (again.finished, again.stop_reason, again.elapsed) == (True, "enough", loop.elapsed)
    assert_same_end(again, loop)


# The file and the callback that writes it.


@pytest.fixture
def file(tmp_path):
    """A snapshot in mid-search."""
    path = tmp_path / "snapshot.safetensors"
    write_trials(path, "key", [run("CMA", until=3)[0]])
    return path


def test_any_damage_is_found(file):
    whole = file.read_bytes()
    numbers = random.Random(0)
    for _ in range(40):
        at = numbers.randrange(len(whole))
        file.write_bytes(whole[:at])
        with pytest.raises(UserError, match=r"damaged|not a snapshot"):
            read_trials(file, "key")
        flipped = bytearray(whole)
        flipped[at] ^= 1 << numbers.randrange(8)
        file.write_bytes(flipped)
        with pytest.raises(UserError, match=r"damaged|not a snapshot"):
            read_trials(file, "key")


def test_another_case_or_another_version_is_refused(file, monkeypatch):
    assert len(read_trials(file, "key")) == 1
    with pytest.raises(UserError, match="belongs to a case with another configuration"):
        read_trials(file, "another")
    monkeypatch.setattr(
        "ggl_lightning.attacks.searches.snapshots._versions", lambda: {"torch": "99"}
    )
    with pytest.raises(UserError, match="another version of torch"):
        read_trials(file, "key")


def host(folder):
    module = SearchHost()
    module.case_name, module.case_key, module.case_folder = "a case", "key", folder
    return module


def rounds_of(callback, module, trainer, rounds=5):
    """A search on which the callback is the only one."""
    search = NevergradSearch("CMA", population=3)
    search.start((2, 2), rounds, 0)
    loop = SearchLoop(
        bumpy,
        search,
        rounds,
        notify=lambda hook, loop: getattr(callback, hook)(trainer, module, loop),
    )
    loop.run()
    return loop


def test_snapshots_are_taken_when_due_and_removed_when_the_case_is_complete(tmp_path, monkeypatch):
    module, saved = host(tmp_path / "case"), []
    clock = iter(range(0, 1000, 4))
    monkeypatch.setattr(
        "ggl_lightning.attacks.callbacks.snapshots.time.monotonic", lambda: next(clock)
    )
    monkeypatch.setattr(
        "ggl_lightning.attacks.callbacks.snapshots.write_trials",
        lambda path, key, trials: (
            saved.append(len(trials[-1].told)),
            write_trials(path, key, trials),
        ),
    )
    snapshots = SearchSnapshots(every_seconds=7)
    rounds_of(snapshots, module, SimpleNamespace(received_sigterm=False), rounds=6)
    assert saved == [1, 3, 5]  # before the first round there is nothing to keep
    assert len(kept_trials(module)[0].told) == 5
    snapshots.on_test_batch_end(None, module, None, None, 0)
    assert kept_trials(module) == ()
    assert list(module.case_folder.iterdir()) == []


def test_sigterm_ends_the_search_between_rounds_with_all_rounds_kept(tmp_path):
    module, trainer = host(tmp_path), SimpleNamespace(received_sigterm=False)

    class Terminates(SearchSnapshots):
        def on_round_end(self, trainer, pl_module, loop):
            trainer.received_sigterm = loop.round == 3

    with pytest.raises(SIGTERMException):
        rounds_of(Terminates(), module, trainer)
    assert len(kept_trials(module)[0].told) == 3


def test_an_error_or_ctrl_c_in_mid_round_keeps_the_rounds_before(tmp_path):
    module, snapshots = host(tmp_path), SearchSnapshots()

    class Breaks(SearchSnapshots):
        def on_round_end(self, trainer, pl_module, loop):
            if loop.round == 3:
                raise KeyboardInterrupt

    snapshots = Breaks()
    with pytest.raises(KeyboardInterrupt) as interrupted:
        rounds_of(snapshots, module, SimpleNamespace(received_sigterm=False))
    assert kept_trials(module) == ()
    snapshots.on_exception(None, module, interrupted.value)
    assert len(kept_trials(module)[0].told) == 2


def test_a_useless_snapshot_is_ignored_and_logged(tmp_path, caplog):
    module = host(tmp_path)
    (tmp_path / "snapshot.safetensors").write_bytes(b"not what it was")
    assert kept_trials(module) == ()
    assert "a case starts afresh" in caplog.text
    assert "damaged" in caplog.text


def test_a_snapshot_that_cannot_be_written_does_not_end_the_search(tmp_path, caplog):
    (tmp_path / "file").touch()
    module = host(tmp_path / "file" / "case")  # a file where a folder should be
    loop = rounds_of(SearchSnapshots(0), module, SimpleNamespace(received_sigterm=False))
    assert loop.round == 5
    assert "goes on without a snapshot" in caplog.text
    assert rounds_of(SearchSnapshots(0), host(None), SimpleNamespace(received_sigterm=False))


def test_bad_seconds():
    with pytest.raises(UserError, match="every_seconds of the search snapshots is -1"):
        SearchSnapshots(-1)


# What a snapshot is made of.


def test_the_global_generators_go_on_where_they_were():
    def draw():
        return (
            [random.random(), random.gauss(0, 1)],
            np.random.standard_normal(3).tolist(),  # noqa: NPY002
            torch.rand(3).tolist(),
        )

    with seeded(1):
        draw()  # leaves half a pair of Gaussians behind in Python's and NumPy's
        state = rng_state()
        first = draw()
        set_rng_state(state)
        assert draw() == first


def test_loss_curves_as_csv():
    loops = [undisturbed("CMA")[0], undisturbed("Adam")[0]]
    text = losses_csv(loop.history for loop in loops)
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == 2 * BUDGET
    for trial, (name, population) in enumerate({"CMA": 6, "Adam": 3}.items()):
        *rounds, _ = undisturbed(name)[1]
        losses = [bumpy(latents) for latents in rounds]
        best = torch.stack([values.min() for values in losses]).cummin(0).values
        ours = [row for row in rows if row["trial"] == str(trial)]
        for number, row in enumerate(ours, 1):
            assert int(row["round"]) == number
            assert int(row["evaluations"]) == population * number
            values = losses[number - 1]
            assert float(row["loss_mean"]) == pytest.approx(values.mean().item(), rel=1e-6)
            assert float(row["loss_min"]) == values.min().item()
            assert float(row["loss_best"]) == best[number - 1].item()
