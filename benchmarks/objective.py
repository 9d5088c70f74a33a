"""The objective's speed and memory beside a one-by-one loop and beside one training step.

All three work on the same images and the same client model, in turns within one process; ratios
are taken turn by turn. The training step, one forward and backward pass of the whole population
with gradients of the summed loss, is the practical floor: it gives no candidate's own gradient.
Memory is the growth of the peak resident set, in a fresh process per population.

    python benchmarks/objective.py --json objective.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import ggl_lightning
from ggl_lightning.attacks.distances import UpdateDistances
from ggl_lightning.clients import GradientUpdate, ResNet18, client_update

POPULATIONS = (10, 50, 100, 200)


def one_by_one(model: nn.Module, received: list[Tensor], images: Tensor, labels: Tensor) -> Tensor:
    """The plain loop: one candidate's gradient and its squared distance after the other."""
    losses = []
    for image in images:
        model.zero_grad()
        F.cross_entropy(model(image), labels).backward()
        total = torch.zeros(())
        for parameter, target in zip(model.parameters(), received, strict=True):
            assert parameter.grad is not None
            total += (parameter.grad - target).pow(2).sum()
        losses.append(total)
    return torch.stack(losses) / len(received)


def training_step(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    """Forward and backward pass over all images at once."""
    model.zero_grad()
    flat = images.flatten(0, 1)
    F.cross_entropy(model(flat), labels.repeat(len(images))).backward()


def problem(width: int, population: int) -> tuple[nn.Module, list[Tensor], Tensor, Tensor]:
    """A client model, a received update, and a population ``(C, 1, 3, 32, 32)`` with its label."""
    torch.manual_seed(0)
    model = ResNet18(width=width).eval()
    images = torch.rand(population, 1, 3, 32, 32) * 2 - 1
    labels = torch.ones(1, dtype=torch.long)
    return model, client_update(model, torch.rand(1, 3, 32, 32) * 2 - 1, labels), images, labels


def seconds(run: Callable[[], object]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def ratio(name: str, above: list[float], below: list[float]) -> dict[str, float | list[float]]:
    """Median and spread of the paired ratios."""
    ratios = [a / b for a, b in zip(above, below, strict=True)]
    return {name: statistics.median(ratios), f"{name}_spread": [min(ratios), max(ratios)]}


def speed(width: int, population: int, repetitions: int) -> dict[str, float | list[float]]:
    """Candidates per second, beside the loop and the training step."""
    model, received, images, labels = problem(width, population)
    distances = UpdateDistances(model, received, GradientUpdate())
    times: dict[str, list[float]] = {"ours": [], "loop": [], "floor": []}
    for repetition in range(repetitions + 1):
        turn = {
            "ours": seconds(lambda: distances(images, labels).mean(dim=1)),
            "floor": seconds(lambda: training_step(model, images, labels)),
            "loop": seconds(lambda: one_by_one(model, received, images, labels)),
        }
        if repetition:  # the first turn warms up
            for name, taken in turn.items():
                times[name].append(taken)
    assert not distances.one_by_one
    per_candidate = {
        f"ms_per_candidate_{name}": 1e3 * statistics.median(taken) / population
        for name, taken in times.items()
    }
    return {
        **ratio("speedup_vs_loop", times["loop"], times["ours"]),
        **ratio("ratio_to_floor", times["ours"], times["floor"]),
        "evaluations_per_second": population / statistics.median(times["ours"]),
        **per_candidate,
    }


def peak_mb() -> float:
    """This process's peak resident set so far, in 2^20 bytes (Linux).

    Not ``getrusage``: a process begins with its parent's ``ru_maxrss``.
    """
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 2**10


def peak_growth_mb(width: int, population: int) -> float:
    """How far two evaluations of a population raise this process's peak memory, in 2^20 bytes."""
    model, received, images, labels = problem(width, population)
    client_update(model, images[0], labels)  # libraries and their work space are loaded by now
    before = peak_mb()
    distances = UpdateDistances(model, received, GradientUpdate())
    for _ in range(2):
        distances(images, labels)
    return peak_mb() - before


def peak_in_fresh_process(width: int, population: int) -> float:
    arguments = ["--width", str(width), "--population", str(population), "--only-peak"]
    command = [sys.executable, __file__, *arguments]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--width", type=int, default=64, help="client model's width")
    parser.add_argument("--population", type=int, default=50)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--json", type=Path, help="file to write the numbers to")
    parser.add_argument(
        "--only-peak", action="store_true", help="print this population's peak memory in MB and end"
    )
    options = parser.parse_args()
    if options.only_peak:
        print(peak_growth_mb(options.width, options.population))
        return

    numbers: dict[str, object] = {"width": options.width, "population": options.population}
    numbers |= speed(options.width, options.population, options.repetitions)
    for population in POPULATIONS:
        numbers[f"peak_mb_population_{population}"] = peak_in_fresh_process(
            options.width, population
        )
    numbers |= {
        "repetitions": options.repetitions,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "ggl_lightning": ggl_lightning.__version__,
    }
    for name, value in numbers.items():
        print(f"{name}: {value}")
    if options.json:
        options.json.write_text(json.dumps(numbers, indent=2) + "\n")


if __name__ == "__main__":
    main()
