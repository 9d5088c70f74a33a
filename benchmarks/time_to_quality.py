"""Seconds until reconstructions of real faces are as good as CMA-ES is at its end.

The quality asked for is the mean PSNR over faces that our CMA-ES, 500 rounds of 50, ends at; an
attack has reached it when the mean over all faces of what it has in hand first does. Seconds are
those of one face, means over faces, which are attacked one after the other:

- ``published``: CMA-ES as the paper describes it, one candidate after the other: generate its
  image, one forward and backward pass of the client model, degrade the update as the defense is
  believed to, measure the distance. Unless ``--published-rounds`` is the whole search, only these
  rounds are run and timed; later ones are taken to be as quick, and to find what our CMA-ES finds,
  which proposes the same candidates and has the same losses. Those of the first round are compared:
  they agree to rounding, but for single candidates where rounding puts a ReLU on its other side.
- ``own_cma``: the same search with the exact batched objective.
- ``standard``: `StandardAttack` from ``--public`` images to its end, its search run or spared as it
  decides itself, with the learned member's fits, one for each of the two labels, shared by 8 and by
  100 faces.
- ``learned``: its learned member alone, with the same fits.

Only who knows the truth sees that a search is good enough, and it may be so by chance at its start.
``..._to_end`` are ratios to the time of whole searches, which is what an attacker waits for.

    python benchmarks/time_to_quality.py --root DATA --prior prior.safetensors --json numbers.json
    python benchmarks/time_to_quality.py --root DATA --quick --json numbers.json

``--quick`` takes 2 faces, a client of width 16, 500 public images and 10 of the published way's
rounds. The client is that of ``attack_strength.py``: untrained, one image in an update, the plain
gradient in eval mode.
The file is written anew after every face. On a machine that is busy with other work, ``--clock
cpu`` with ``OMP_NUM_THREADS=1`` counts the process's own time instead: what it would take on a core
of its own.
"""

import ggl_lightning  # noqa: F401, I001  (first: it repairs torchvision beside a CPU-only torch)

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from attack_strength import Client, client_options, psnr
from celeba_images import spread_places
from defense_names import defense_named
from numbers_out import hand_over
from timing import wait
from torch import Tensor
from torch.nn import functional as F

from ggl_lightning.attacks import GenerativeGradientLeakage, Received, StandardAttack, Target
from ggl_lightning.attacks.base import Finding, Progress
from ggl_lightning.attacks.penalties.latents import kl_regularizer
from ggl_lightning.attacks.searches import NevergradSearch
from ggl_lightning.attacks.searches.loop import SearchLoop
from ggl_lightning.seeding import seeded

Clock = Callable[[], float]

CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "cpu": time.process_time}

ROUNDS = 500
POPULATION = 50
SHARED_BY = (8, 100)
"""Faces that share a fit."""

KL_WEIGHT = 0.1
SAME = 1e-4
"""Median relative difference between losses of candidates by two ways, beyond which they differ."""


@dataclass(frozen=True)
class Point:
    """What an attack on one face has in hand, and how long after its start, in seconds."""

    seconds: float
    psnr_db: float


class Watched:
    """A search's best candidate after every round, with the time.

    Args:
        clock: Tells it.

    Attributes:
        first_losses: Those of the first round.
    """

    def __init__(self, clock: Clock) -> None:
        self.first_losses = torch.empty(0)
        self._clock = clock
        self._started = clock()
        self._seen: list[tuple[float, Tensor]] = []

    def notify(self, hook: str, loop: SearchLoop) -> None:
        """See `Progress.notify`."""
        if hook == "on_round_end":
            assert loop.best_latent is not None
            self.add(loop.best_latent)
            if loop.round == 1:
                self.first_losses = loop.losses

    def add(self, latent: Tensor) -> None:
        """Notes the best candidate as it is now."""
        self._seen.append((self.seconds, latent))

    @property
    def seconds(self) -> float:
        """Since it watches."""
        return self._clock() - self._started

    def trace(self, target: Target, label: Tensor, truth: Tensor) -> list[Point]:
        """The PSNR of every round's best candidate."""
        prior, points = target.required_prior, []
        known: dict[int, float] = {}
        for seconds, latent in self._seen:
            if id(latent) not in known:
                with torch.no_grad():
                    image = prior(latent.to(target.device), label)[0]
                known[id(latent)] = psnr(image, truth)
            points.append(Point(seconds, known[id(latent)]))
        return points


def seed_of_search(seed: int) -> int:
    """What our attack seeds its first trial with."""
    return int(np.random.SeedSequence([seed, 0]).generate_state(1)[0])


def one_loss(received: Received, target: Target, latent: Tensor, label: Tensor) -> float:
    """The objective of one candidate, as the paper writes it."""
    model, sent = target.model, received.update
    adaptation = received.defense.adapt(sent, target.classifier)
    with torch.no_grad():
        image = target.required_prior(latent.to(target.device), label)
    error = F.cross_entropy(model(image), label)
    update: Sequence[Tensor] = torch.autograd.grad(error, list(model.parameters()))
    if adaptation is not None:
        update = adaptation(list(update))
    with torch.no_grad():
        pairs = zip(update, sent, strict=True)
        distance = sum(float((ours - theirs).square().sum()) for ours, theirs in pairs)
        return distance / len(sent) + KL_WEIGHT * float(kl_regularizer(latent))


def published(received: Received, target: Target, seed: int, rounds: int, clock: Clock) -> Watched:
    """CMA-ES, one candidate after the other."""
    watched = Watched(clock)
    _, labels = received.assumed_labels(target.model, target.classifier)
    label = labels.to(target.device)
    own_seed = seed_of_search(seed)
    search = NevergradSearch("CMA", POPULATION)
    best = float("inf")
    with seeded(own_seed):
        search.start((1, *target.required_prior.latent_shape), ROUNDS, own_seed)
        for number in range(rounds):
            latents = search.ask()
            losses = [one_loss(received, target, latent, label) for latent in latents]
            search.tell(torch.tensor(losses))
            if min(losses) < best:
                best = min(losses)
                answer = latents[losses.index(best)]
            watched.add(answer)
            if number == 0:
                watched.first_losses = torch.tensor(losses)
    search.stop()
    return watched


def own_cma(
    received: Received, target: Target, seed: int, clock: Clock
) -> tuple[Watched, float, Finding]:
    """Our CMA-ES, with its seconds and what it found."""
    attack = GenerativeGradientLeakage(
        NevergradSearch("CMA", POPULATION), budget=ROUNDS, adaptive=True, kl_weight=KL_WEIGHT
    )
    watched = Watched(clock)
    finding = attack.run(received, target, seed, Progress(watched.notify))
    return watched, watched.seconds, finding


def mean_trace(traces: Sequence[list[Point]]) -> list[Point]:
    """What attacks have in hand after the same number of rounds, means over faces."""
    return [
        Point(
            statistics.mean(point.seconds for point in points),
            statistics.mean(point.psnr_db for point in points),
        )
        for points in zip(*traces, strict=True)
    ]


def reached(trace: Sequence[Point], quality: float) -> int | None:
    """The first place of a trace that is as good; None if there is none."""
    return next((k for k, point in enumerate(trace) if point.psnr_db >= quality), None)


class Measured:
    """All that is run, face by face, so that all ways meet the machine in the same moods."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._rounds = options.published_rounds
        self._defense = defense_named(options.defense)
        self._client = Client(options, torch.device(options.device))
        self._device = torch.device(options.device)
        self.published: list[list[Point]] = []
        self.cma: list[list[Point]] = []
        self.standard: list[Point] = []
        self.learned: list[Point] = []
        self.searched = 0
        self.difference = self.largest_difference = 0.0
        self._clock = CLOCKS[options.clock]
        self._attack = StandardAttack()
        self.fit_seconds = self._fits()
        self._places = spread_places(len(self._client.images), options.faces)

    def faces(self) -> Iterator[int]:
        """Attacks one face after the other, and says after each how many that were."""
        for done, place in enumerate(self._places, start=1):
            self._search(place)
            self._standard(place)
            yield done

    def _fits(self) -> float:
        """Seconds that the first update of each label takes longer than any other."""
        learned, total = self._attack.members["learned"], 0.0
        for label in self._client.labels.unique().tolist():
            place = self._client.labels.tolist().index(label)
            received, target = self._client.sends(place, self._defense), self._client.target

            def once(received: Received = received, target: Target = target) -> Finding:
                return learned.run(received, target, seed=0)

            cold, _ = self._timed(once)
            warm, _ = self._timed(once)
            total += cold - warm
            print(f"fit for label {label}: {cold:.1f} s", flush=True)
        return total

    def _search(self, place: int) -> None:
        """The published way and our CMA-ES on one face."""
        client, truth = self._client, self._client.images[place]
        received, target = client.sends(place, self._defense), client.target
        _, labels = received.assumed_labels(target.model, target.classifier)
        label = labels.to(self._device)
        theirs = published(received, target, place, self._rounds, self._clock)
        ours, seconds, finding = own_cma(received, target, place, self._clock)
        apart = (theirs.first_losses / ours.first_losses - 1).abs()
        self.difference = max(self.difference, float(apart.median()))
        self.largest_difference = max(self.largest_difference, float(apart.max()))
        if self.difference > SAME:
            raise SystemExit(
                f"The two ways' losses of candidates differ by {self.difference:.2%}: they do not "
                "measure the same."
            )
        self.published.append(theirs.trace(target, label, truth))
        trace = ours.trace(target, label, truth)
        assert finding.images is not None
        trace.append(Point(seconds, psnr(finding.images[0], truth)))
        self.cma.append(trace)
        print(
            f"face {place}: published {self.published[-1][-1].seconds:.1f} s for {self._rounds} "
            f"rounds, CMA-ES {trace[-1].seconds:.1f} s to {trace[-1].psnr_db:.2f} dB",
            flush=True,
        )

    def _standard(self, place: int) -> None:
        """The standard attack on one face, once what it has to learn is learnt."""
        client, truth = self._client, self._client.images[place]
        received = client.sends(place, self._defense)

        def run() -> Finding:
            return self._attack.run(received, client.target, place)

        taken, found = self._timed(run)
        before = found.members["learned"]
        learning = self._attack.members["learned"]
        alone, learned = self._timed(lambda: learning.run(received, client.target, place))
        assert found.images is not None
        assert learned.images is not None
        assert before.images is not None
        assert torch.equal(learned.images, before.images)
        self.standard.append(Point(taken, psnr(found.images[0], truth)))
        self.learned.append(Point(alone, psnr(learned.images[0], truth)))
        self.searched += "ggl" in found.members
        print(
            f"face {place}: standard {taken:.1f} s to {self.standard[-1].psnr_db:.2f} dB "
            f"({found.evaluation['chosen']}), learned {self.learned[-1].psnr_db:.2f} dB",
            flush=True,
        )

    def _timed(self, run: Callable[[], Finding]) -> tuple[float, Finding]:
        """A finding, and the seconds it took."""
        wait(self._device)
        started = self._clock()
        found = run()
        wait(self._device)
        return self._clock() - started, found


class Numbers:
    """What is handed over: seconds of each way, and ratios of them.

    Args:
        measured: What was run.
    """

    def __init__(self, measured: Measured) -> None:
        self._measured = measured
        self._cma = mean_trace(measured.cma)
        self.quality = self._cma[-1].psnr_db
        self.reasons: dict[str, str] = {}

    def all(self) -> dict[str, Any]:
        """Every number by name."""
        measured = self._measured
        place = reached(self._cma, self.quality)
        assert place is not None  # its end, at the latest
        cma, theirs = self._cma[place].seconds, self._published(place)
        numbers: dict[str, Any] = {
            "quality_db": round(self.quality, 2),
            **self._published_numbers(theirs),
            "own_cma_seconds": round(cma, 1),
            "own_cma_seconds_to_end": round(self._cma[-1].seconds, 1),
            "own_cma_rounds_to_quality": min(place + 1, ROUNDS),
            "own_cma_speedup_vs_published": _ratio(theirs, cma),
            "fit_seconds_both_labels": round(measured.fit_seconds, 1),
            "standard_searched_faces": measured.searched,
        }
        for name, points in (("standard", measured.standard), ("learned", measured.learned)):
            numbers |= self._fitted(name, points, theirs, cma)
        numbers["speedup_vs_published"] = numbers["standard_speedup_vs_published_by_8"]
        numbers["speedup_vs_own_cma"] = numbers["standard_speedup_vs_own_cma_by_8"]
        numbers["reasons"] = self.reasons
        return numbers

    @property
    def _published_per_round(self) -> float:
        trace = mean_trace(self._measured.published)
        return trace[-1].seconds / len(trace)

    @property
    def _is_extrapolated(self) -> bool:
        return len(self._measured.published[0]) < ROUNDS

    def _published(self, place: int) -> float | None:
        """Seconds of the published way; by our CMA-ES's rounds if only some of its own were run."""
        trace = mean_trace(self._measured.published)
        if self._is_extrapolated:
            return self._published_per_round * min(place + 1, ROUNDS)
        own = reached(trace, self.quality)
        if own is None:
            best = max(point.psnr_db for point in trace)
            self.reasons["published"] = (
                f"it was never better than {best:.2f} dB in {ROUNDS} rounds: rounding led it "
                "elsewhere than our CMA-ES"
            )
            return None
        return trace[own].seconds

    def _published_numbers(self, seconds: float | None) -> dict[str, Any]:
        trace = mean_trace(self._measured.published)
        per_candidate = self._published_per_round / POPULATION
        return {
            "published_seconds": None if seconds is None else round(seconds, 1),
            "published_is_extrapolated": self._is_extrapolated,
            "published_rounds_run": len(trace),
            "published_seconds_a_candidate": round(per_candidate, 5),
            "published_seconds_to_end": round(per_candidate * ROUNDS * POPULATION, 1),
            "median_relative_difference_of_losses": self._measured.difference,
            "largest_relative_difference_of_losses": self._measured.largest_difference,
        }

    def _fitted(
        self, name: str, points: Sequence[Point], theirs: float | None, cma: float
    ) -> dict[str, Any]:
        """Of an attack that has one answer, once its fits are made."""
        (answer,) = mean_trace([[point] for point in points])
        numbers: dict[str, Any] = {
            f"{name}_db": round(answer.psnr_db, 2),
            f"{name}_seconds_without_fit": round(answer.seconds, 3),
        }
        good = reached([answer], self.quality) is not None
        if not good:
            self.reasons[name] = f"it ends at {answer.psnr_db:.2f} dB, below {self.quality:.2f}"
        cma_end = self._cma[-1].seconds
        published_end = self._published_per_round * ROUNDS
        for faces in SHARED_BY:
            taken = self._measured.fit_seconds / faces + answer.seconds if good else None
            numbers |= {
                f"{name}_seconds_by_{faces}": None if taken is None else round(taken, 2),
                f"{name}_speedup_vs_published_by_{faces}": _ratio(theirs, taken),
                f"{name}_speedup_vs_own_cma_by_{faces}": _ratio(cma, taken),
                f"{name}_speedup_vs_published_to_end_by_{faces}": _ratio(published_end, taken),
                f"{name}_speedup_vs_own_cma_to_end_by_{faces}": _ratio(cma_end, taken),
            }
        return numbers


def _ratio(above: float | None, below: float | None) -> float | None:
    return None if above is None or below is None else round(above / below, 2)


def main() -> None:
    """Measures, prints and writes."""
    parser = client_options(__doc__.splitlines()[0])
    parser.set_defaults(width=None)  # 64; 16 with --quick
    parser.add_argument("--public", type=int, help="4000; 500 with --quick")
    parser.add_argument("--faces", type=int, help="8; 2 with --quick")
    parser.add_argument("--published-rounds", type=int, help=f"{ROUNDS}; 10 with --quick")
    parser.add_argument("--defense", default="none")
    parser.add_argument("--quick", action="store_true", help="2 faces, the rest extrapolated")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--clock", default="wall", choices=CLOCKS)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    usual = (16, 500, 2, 10) if options.quick else (64, 4000, 8, ROUNDS)
    for name, value in zip(("width", "public", "faces", "published_rounds"), usual, strict=True):
        if getattr(options, name) is None:
            setattr(options, name, value)
    options.images = max(options.faces, SHARED_BY[-1])  # among so many are faces of both labels
    if not 1 <= options.published_rounds <= ROUNDS:
        raise SystemExit(f"--published-rounds is 1 to {ROUNDS}.")
    if options.clock == "cpu" and (options.device != "cpu" or torch.get_num_threads() > 1):
        raise SystemExit("--clock cpu is for one thread on the CPU: set OMP_NUM_THREADS=1.")
    settings = ("client", "width", "public", "faces", "defense", "device", "clock", "quick")
    used = {name: getattr(options, name) for name in settings}
    used |= {"threads": torch.get_num_threads(), "torch": torch.__version__}
    measured = Measured(options)
    for done in measured.faces():
        numbers = {**Numbers(measured).all(), "faces_done": done, "settings": used}
        if done < options.faces and options.json:
            options.json.write_text(json.dumps(numbers, indent=2) + "\n")
    if numbers["published_is_extrapolated"]:
        print(
            f"The published way was run for {options.published_rounds} of {ROUNDS} rounds: its "
            "seconds are extrapolated from these."
        )
    hand_over(numbers, options.json)


if __name__ == "__main__":
    main()
