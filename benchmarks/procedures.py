"""A population's updates under a realistic procedure, vectorised and one by one.

The client trains in training mode: one epoch over its images in batches, with momentum, so that
candidates differ in weights, momentum and batch statistics from the first step on. Both sides
compute the same updates of the same candidates in turns within one process; the ratio is taken turn
by turn. Beside them stands the plainest loop there is, with ``torch.optim`` and a copied model.

    OMP_NUM_THREADS=2 taskset -c 0,1 python benchmarks/procedures.py --json procedures.json
    python benchmarks/procedures.py --width 16 --population 10
    python benchmarks/procedures.py --device cuda --width 64
"""

from __future__ import annotations

import argparse
import copy
import statistics
from collections.abc import Callable
from pathlib import Path

import torch
from numbers_out import hand_over
from timing import seconds
from torch import Tensor, nn
from torch.nn import functional as F

import ggl_lightning
from ggl_lightning.clients import ResNet18
from ggl_lightning.clients.procedures import (
    ClientSGD,
    ClientState,
    LocalTraining,
    Order,
    PopulationUpdates,
)

LEARNING_RATE = 0.01
MOMENTUM = 0.9


def plain_loop(model: nn.Module, images: Tensor, labels: Tensor, order: Order) -> list[Tensor]:
    """What the client does, as it is usually written."""
    trained = copy.deepcopy(model).train()
    optimizer = torch.optim.SGD(trained.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)
    for step in order.steps:
        optimizer.zero_grad()
        F.cross_entropy(trained(images[step.indices]), labels[step.indices]).backward()
        optimizer.step()
    pairs = zip(trained.parameters(), model.parameters(), strict=True)
    return [(after - before).detach() for after, before in pairs]


def ratio(above: list[float], below: list[float]) -> tuple[float, list[float]]:
    """Median and spread of the paired ratios."""
    ratios = [a / b for a, b in zip(above, below, strict=True)]
    return statistics.median(ratios), [min(ratios), max(ratios)]


def differences(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> Tensor:
    """How far each candidate's update is from another of it, relative to its norm: ``(C,)``."""

    def entries(update: dict[str, Tensor]) -> Tensor:
        return torch.cat([tensor.double().flatten(1) for tensor in update.values()], dim=1)

    expected = entries(theirs)
    return (entries(ours) - expected).norm(dim=1) / expected.norm(dim=1)


def measure(options: argparse.Namespace) -> dict[str, object]:
    """Times and ratios."""
    device = torch.device(options.device)
    torch.manual_seed(0)
    model = ResNet18(width=options.width).to(device)
    images = torch.rand(options.population, options.images, 3, 32, 32, device=device) * 2 - 1
    labels = torch.arange(options.images, device=device) % 2
    procedure = LocalTraining(
        ClientSGD(LEARNING_RATE, momentum=MOMENTUM), batch_size=options.batch_size
    )
    order = procedure.order(options.images, torch.Generator().manual_seed(0))
    state = ClientState.of(model)
    vmapped = PopulationUpdates(procedure, state, options.max_memory_mb)
    one_by_one = PopulationUpdates(procedure, state, vectorise=False)
    sides: dict[str, Callable[[], object]] = {
        "vmapped": lambda: vmapped(images, labels, order),
        "one_by_one": lambda: one_by_one(images, labels, order),
        "plain_loop": lambda: [plain_loop(model, each, labels, order) for each in images],
    }
    found = vmapped(images, labels, order)
    assert found.way == "vmapped", found.reason
    apart = differences(found.update.tensors, one_by_one(images, labels, order).update.tensors)
    times: dict[str, list[float]] = {name: [] for name in sides}
    for repetition in range(options.repetitions + 1):
        turn = {name: seconds(run, device) for name, run in sides.items()}
        if repetition:  # the first turn warms up
            for name, once in turn.items():
                times[name].append(once)
    speedup, spread = ratio(times["one_by_one"], times["vmapped"])
    over_plain, plain_spread = ratio(times["plain_loop"], times["vmapped"])
    numbers: dict[str, object] = {
        "speedup_vs_one_by_one": speedup,
        "speedup_vs_one_by_one_spread": spread,
        "speedup_vs_plain_loop": over_plain,
        "speedup_vs_plain_loop_spread": plain_spread,
        # Where rounding takes an activation across a ReLU's kink, a gradient jumps: also between
        # the loop in float32 and in float64.
        "relative_difference": float(apart.median()),
        "relative_difference_largest": float(apart.max()),
        "steps": found.update.steps,
        "mode": found.update.mode,
        "way": found.way,
        "candidates_at_once": vmapped.at_once(images, order),
    }
    for name, taken in times.items():
        numbers[f"ms_per_candidate_{name}"] = 1e3 * statistics.median(taken) / len(images)
    return numbers


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--width", type=int, default=8, help="the client model's width")
    parser.add_argument("--population", type=int, default=50)
    parser.add_argument("--images", type=int, default=8, help="images of the client")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--max-memory-mb", type=float, help="bound on the memory")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 ...")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--json", type=Path, help="file to write the numbers to")
    options = parser.parse_args()
    names = ("width", "population", "images", "batch_size", "device", "repetitions")
    numbers: dict[str, object] = {name: getattr(options, name) for name in names}
    numbers |= measure(options)
    if torch.device(options.device).type == "cuda":
        numbers["gpu"] = torch.cuda.get_device_name(options.device)
    numbers |= {
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "ggl_lightning": ggl_lightning.__version__,
    }
    hand_over(numbers, options.json)


if __name__ == "__main__":
    main()
