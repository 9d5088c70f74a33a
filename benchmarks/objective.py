"""The objective's speed and memory beside a one-by-one loop and beside one training step.

All three work on the same images and the same client model, in turns within one process; ratios
are taken turn by turn. The training step, one forward and backward pass of the whole population
with gradients of the summed loss, is the practical floor: it gives no candidate's own gradient.

    python benchmarks/objective.py --json objective.json
    python benchmarks/objective.py --defense noise
    python benchmarks/objective.py --setting imagenet --population 4 --repetitions 2
    python benchmarks/objective.py --device cuda

What the client sends decides part of the cost. An update that is undefended, clipped or without
some columns has layers of low rank, which the objective makes use of; noise takes that away.

Memory is the growth of the peak resident set in a fresh process per population, or what the device
had allocated at most.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from numbers_out import hand_over
from random_biggan import random_biggan
from timing import seconds
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import resnet18

import ggl_lightning
from ggl_lightning.attacks.matching.update_distances import UpdateDistances
from ggl_lightning.clients import GradientUpdate, ResNet18, client_update

POPULATIONS = (10, 50, 100, 200)
POPULATIONS_ON_A_DEVICE = (1, 2, 4, 8, 16, 32, 64, 128, 256)
NOISE = 0.01
"""Standard deviation of the published defense."""


def one_by_one(model: nn.Module, received: list[Tensor], images: Tensor, labels: Tensor) -> Tensor:
    """The plain loop: one candidate's gradient and its squared distance after the other."""
    losses = []
    for image in images:
        model.zero_grad()
        F.cross_entropy(model(image), labels).backward()
        total = torch.zeros((), device=images.device)
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


def problem(options: argparse.Namespace) -> tuple[nn.Module, list[Tensor], Tensor, Tensor]:
    """A client model, a received update, and a population ``(C, 1, 3, H, W)`` with its label."""
    torch.manual_seed(0)
    if options.setting == "imagenet":
        model, size = resnet18().eval(), 224
    else:
        model, size = ResNet18(width=options.width).eval(), 32
    images = torch.rand(options.population, 1, 3, size, size) * 2 - 1
    labels = torch.ones(1, dtype=torch.long)
    update = client_update(model, torch.rand(1, 3, size, size) * 2 - 1, labels)
    if options.defense == "noise":
        update = [tensor + NOISE * torch.randn_like(tensor) for tensor in update]
    device = torch.device(options.device)
    received = [tensor.to(device) for tensor in update]
    return model.to(device), received, images.to(device), labels.to(device)


def ratio(name: str, above: list[float], below: list[float]) -> dict[str, float | list[float]]:
    """Median and spread of the paired ratios."""
    ratios = [a / b for a, b in zip(above, below, strict=True)]
    return {name: statistics.median(ratios), f"{name}_spread": [min(ratios), max(ratios)]}


def speed(options: argparse.Namespace) -> dict[str, object]:
    """Candidates per second, beside the loop and the training step."""
    model, received, images, labels = problem(options)
    distances = UpdateDistances(model, received, GradientUpdate())
    sides: dict[str, Callable[[], object]] = {
        "ours": lambda: distances(images, labels).mean(dim=1),
        "floor": lambda: training_step(model, images, labels),
        "loop": lambda: one_by_one(model, received, images, labels),
    }
    if options.setting == "imagenet":
        prior = random_biggan().to(images.device)
        latents = prior.sample(len(images))
        assert prior(latents[:1], labels).isfinite().all()
        sides["generator"] = torch.no_grad()(lambda: prior(latents, labels.repeat(len(latents))))
    times: dict[str, list[float]] = {name: [] for name in sides}
    for repetition in range(options.repetitions + 1):
        turn = {name: seconds(run, images.device) for name, run in sides.items()}
        if repetition:  # the first turn warms up
            for name, once in turn.items():
                times[name].append(once)
    assert not distances.one_by_one
    numbers: dict[str, object] = {
        **ratio("speedup_vs_loop", times["loop"], times["ours"]),
        **ratio("ratio_to_floor", times["ours"], times["floor"]),
        "evaluations_per_second": len(images) / statistics.median(times["ours"]),
    }
    if "generator" in times:
        both = [a + b for a, b in zip(times["ours"], times["generator"], strict=True)]
        with_generator = len(images) / statistics.median(both)
        numbers["evaluations_per_second_with_generator"] = with_generator
    for name, taken in times.items():
        numbers[f"ms_per_candidate_{name}"] = 1e3 * statistics.median(taken) / len(images)
    return numbers


def sizes(options: argparse.Namespace) -> dict[str, float]:
    """What memory could grow with: a candidate's activations, or its gradients (2^20 bytes)."""
    model, received, images, _ = problem(options)
    outputs = 0

    def count(_layer: nn.Module, _arguments: object, output: Tensor) -> None:
        nonlocal outputs
        outputs += output.nbytes

    for module in model.modules():
        if not list(module.children()):
            module.register_forward_hook(count)
    with torch.no_grad():
        model(images[0])
    return {
        "mb_activations_per_candidate": outputs / 2**20,
        "mb_gradients_per_candidate": sum(tensor.nbytes for tensor in received) / 2**20,
    }


def peak_mb(device: torch.device) -> float:
    """What this process has used at most so far, in 2^20 bytes (Linux)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    # Not getrusage: a process begins with its parent's ru_maxrss.
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 2**10


def peak_growth_mb(options: argparse.Namespace) -> float:
    """How far two evaluations of a population raise this process's peak memory, in 2^20 bytes."""
    model, received, images, labels = problem(options)
    client_update(model, images[0], labels)  # libraries and their work space are loaded by now
    before = peak_mb(images.device)
    distances = UpdateDistances(model, received, GradientUpdate())
    for _ in range(2):
        distances(images, labels)
    return peak_mb(images.device) - before


def in_fresh_process(options: argparse.Namespace, population: int) -> float:
    """The peak's growth for a population, in 2^20 bytes."""
    names = ("setting", "width", "defense", "device")
    arguments = [text for name in names for text in (f"--{name}", str(getattr(options, name)))]
    command = [sys.executable, __file__, *arguments, f"--population={population}", "--only-peak"]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def curve(options: argparse.Namespace) -> dict[str, float]:
    """Time of the objective alone, by population, in milliseconds."""
    numbers = {}
    largest = argparse.Namespace(**{**vars(options), "population": max(POPULATIONS_ON_A_DEVICE)})
    model, received, images, labels = problem(largest)
    distances = UpdateDistances(model, received, GradientUpdate())
    for population in POPULATIONS_ON_A_DEVICE:
        run = partial(distances, images[:population], labels)
        times = [seconds(run, images.device) for _ in range(options.repetitions + 1)]
        numbers[f"ms_population_{population}"] = 1e3 * statistics.median(times[1:])
    return numbers


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--setting",
        choices=["celeba", "imagenet"],
        default="celeba",
        help="ResNet-18 for 32x32 images; torchvision's at 224x224, beside BigGAN-deep-256",
    )
    parser.add_argument("--width", type=int, default=64, help="the 32x32 client model's width")
    parser.add_argument("--population", type=int, default=50)
    parser.add_argument("--defense", choices=["none", "noise"], default="none")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 ...")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--json", type=Path, help="file to write the numbers to")
    parser.add_argument(
        "--only-peak", action="store_true", help="print this population's peak memory in MB and end"
    )
    options = parser.parse_args()
    if options.only_peak:
        print(peak_growth_mb(options))
        return

    names = ("setting", "width", "population", "defense", "device", "repetitions")
    numbers: dict[str, object] = {name: getattr(options, name) for name in names}
    numbers |= speed(options) | sizes(options)
    on_cpu = torch.device(options.device).type == "cpu"
    if not on_cpu:
        numbers |= {"gpu": torch.cuda.get_device_name(options.device), **curve(options)}
    if options.setting == "celeba":
        for population in POPULATIONS if on_cpu else POPULATIONS_ON_A_DEVICE:
            numbers[f"peak_mb_population_{population}"] = in_fresh_process(options, population)
    numbers |= {
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "ggl_lightning": ggl_lightning.__version__,
    }
    hand_over(numbers, options.json)


if __name__ == "__main__":
    main()
