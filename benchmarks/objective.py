"""Candidate evaluations per second of the objective, beside a plain one-by-one loop.

Both evaluate the same population of images on the same client model, in turns within one process.

    python benchmarks/objective.py --json objective.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import ggl_lightning
from ggl_lightning.attacks.distances import UpdateDistances
from ggl_lightning.clients import ResNet18, client_update


def one_by_one(model: nn.Module, received: list[Tensor], images: Tensor, labels: Tensor) -> Tensor:
    """The plain loop: one candidate's gradient and its squared distance after the other."""
    losses = []
    for i in range(len(images)):
        model.zero_grad()
        F.cross_entropy(model(images[i : i + 1]), labels[i : i + 1]).backward()
        total = torch.zeros(())
        for parameter, target in zip(model.parameters(), received, strict=True):
            assert parameter.grad is not None
            total += (parameter.grad - target).pow(2).sum()
        losses.append(total)
    return torch.stack(losses) / len(received)


def seconds(run: Callable[[], object]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description="Objective beside a one-by-one loop.")
    parser.add_argument("--width", type=int, default=64, help="client model's width")
    parser.add_argument("--population", type=int, default=50)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--json", type=Path, help="file to write the numbers to")
    options = parser.parse_args()

    torch.manual_seed(0)
    model = ResNet18(width=options.width).eval()
    images = torch.rand(options.population, 3, 32, 32) * 2 - 1
    labels = torch.ones(options.population, dtype=torch.long)
    received = client_update(model, images[:1].flip(-1), labels[:1])
    distances = UpdateDistances(model, received)
    ours, loop = [], []
    for repetition in range(options.repetitions + 1):
        times = (
            seconds(lambda: distances(images, labels).mean(dim=1)),
            seconds(lambda: one_by_one(model, received, images, labels)),
        )
        if repetition:  # the first turn warms up
            ours.append(times[0])
            loop.append(times[1])
    ratios = [b / a for a, b in zip(ours, loop, strict=True)]
    numbers = {
        "width": options.width,
        "population": options.population,
        "evaluations_per_second": options.population / statistics.median(ours),
        "evaluations_per_second_loop": options.population / statistics.median(loop),
        "speedup_vs_loop": statistics.median(ratios),
        "speedup_vs_loop_spread": [min(ratios), max(ratios)],
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
