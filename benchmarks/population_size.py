"""Time of a candidate by the size of the population it is evaluated in: would batching cases pay?

A round evaluates one population. Were several cases evaluated together, the populations would be
larger; if a candidate then takes as long as before, that gains nothing. Times are of the CPU (user
and system) on one thread, for the objective and the generator of the published CelebA setting, all
sizes in turns; the prior is the shipped one and the update undefended or noisy.

    OMP_NUM_THREADS=1 python benchmarks/population_size.py --width 64 --json population_size.json
    OMP_NUM_THREADS=1 python benchmarks/population_size.py --width 8 --defense noise
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import torch
from numbers_out import hand_over
from objective import problem

import ggl_lightning
from ggl_lightning.attacks.matching.update_distances import UpdateDistances
from ggl_lightning.clients import GradientUpdate
from ggl_lightning.priors import WGANGPPrior

POPULATIONS = (1, 2, 5, 10, 25, 50, 100, 200)


def measure(options: argparse.Namespace) -> dict[str, float]:
    """Milliseconds of the CPU per candidate, by population: the median over turns."""
    model, received, _, labels = problem(options)
    prior = WGANGPPrior()
    distances = UpdateDistances(model, received, GradientUpdate())

    def evaluate(population: int) -> None:
        with torch.no_grad():
            images = prior(prior.sample(population), labels.repeat(population))
        distances(images.unsqueeze(1), labels)

    times: dict[int, list[float]] = {population: [] for population in POPULATIONS}
    for turn in range(options.repetitions + 1):
        for population, taken in times.items():
            calls = max(1, 10 // population)  # small ones are short: several together
            started = time.process_time()
            for _ in range(calls):
                evaluate(population)
            if turn:  # the first one warms up
                taken.append(1e3 * (time.process_time() - started) / (calls * population))
    return {f"ms_population_{size}": statistics.median(taken) for size, taken in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--width", type=int, default=64, help="the client model's width")
    parser.add_argument("--defense", choices=["none", "noise"], default="none")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--json", type=Path, help="file to write the numbers to")
    options = parser.parse_args()
    options.setting, options.device, options.population = "celeba", "cpu", 1
    numbers: dict[str, object] = {"width": options.width, "defense": options.defense}
    numbers |= measure(options)
    numbers |= {
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "ggl_lightning": ggl_lightning.__version__,
    }
    hand_over(numbers, options.json)


if __name__ == "__main__":
    main()
