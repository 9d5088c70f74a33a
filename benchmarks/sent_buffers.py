"""How well the objective orders candidates by their distance from the private images.

A client trains in training mode and sends its weights and buffers; candidates lie between its
images and others of the prior. The rank correlation between their objective and their squared error
says what a search can follow, by the weight of the batch statistics and the number of orders that
the attacker tries. It chose the defaults of ``buffer_weight`` and ``orders``.

    python benchmarks/sent_buffers.py --json FILE
    python benchmarks/sent_buffers.py --batch-size 8
    python benchmarks/sent_buffers.py --learning-rate 0.1
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from numbers_out import hand_over
from scipy.stats import spearmanr

from ggl_lightning.attacks.matching.update_distances import UpdateDistances
from ggl_lightning.clients import ResNet18
from ggl_lightning.clients.procedures import (
    ClientSGD,
    ClientState,
    LocalTraining,
    sample_orders,
)
from ggl_lightning.priors import WGANGPPrior
from ggl_lightning.seeding import torch_generator

WEIGHTS = (0.0, 0.001, 0.01, 0.1, 1.0, 10.0)
STEPS_AWAY = (0.1, 0.2, 0.3, 0.5, 0.7, 0.85, 1.0, 1.0, 1.0)


def correlations(options: argparse.Namespace, client: int) -> dict[str, list[float]]:
    """Of one client: for each number of orders, one correlation per weight."""
    prior = WGANGPPrior().eval()
    torch.manual_seed(0)
    model = ResNet18(width=options.width).eval()
    procedure = LocalTraining(
        ClientSGD(options.learning_rate, momentum=0.9), batch_size=options.batch_size
    )
    generator = torch_generator(client, 0)
    private = prior.sample(options.images, generator)
    away = [step for step in STEPS_AWAY for _ in range(3)]
    latents = [
        (1 - step**2) ** 0.5 * private + step * prior.sample(options.images, generator)
        for step in away
    ]
    with torch.no_grad():
        images = torch.stack([prior(each) for each in (private, *latents)])
    labels = torch.arange(options.images) % 2
    errors = (images - images[0]).square().flatten(1).mean(dim=1)
    order = procedure.order(options.images, torch_generator(client, 1))
    sent = procedure(ClientState.of(model), images[0], labels, order)
    found = {}
    for count in options.orders:
        orders = sample_orders(procedure, model, options.images, count, torch_generator(client, 2))
        distances = UpdateDistances(
            model, list(sent.tensors.values()), procedure, orders=orders, buffers=sent.buffers
        )
        tensors, statistics = distances.measured(images, labels)
        assert statistics is not None  # buffers are sent
        update = tensors.mean(dim=1) / procedure.gradient_unit(options.images) ** 2
        found[f"orders_{count}"] = [
            float(spearmanr(update + weight * statistics, errors).statistic) for weight in WEIGHTS
        ]
    return found


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--learning-rate", type=float, default=0.01)
    parser.add_argument("--clients", type=int, default=3)
    parser.add_argument("--orders", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    each = [correlations(options, client) for client in range(options.clients)]
    mean = {
        name: [
            round(sum(column) / len(each), 3)
            for column in zip(*(one[name] for one in each), strict=True)
        ]
        for name in each[0]
    }
    hand_over({"weights": list(WEIGHTS), **mean}, options.json)


if __name__ == "__main__":
    main()
