"""What a client's way of training changes about what its update gives away, on real faces.

For each way: Adam over the prior's latents (Li et al. 2022's search for undefended updates) from
updates of images of CelebA's test split, undefended, and the mean PSNR of the images it finds, with
a bootstrap interval over updates. Beside it stands what the same search finds from an update of
other images of the same labels: what the prior and the matching of a batch give without a leak.

    python benchmarks/client_leakage.py --root DATA --prior prior.safetensors --json numbers.json
    python benchmarks/client_leakage.py --root DATA --attack learned --images 50 --learned 1000

With ``--attack learned`` ways of one image in an update are attacked by learned inversion from
``--learned`` public images instead.
All updates of one way hold ``--images`` private images together, so that ways are equally sure.
"""

import ggl_lightning  # noqa: F401, I001  (first: it repairs torchvision beside a CPU-only torch)

import argparse
import copy
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from celeba_images import spread_images
from intervals import interval
from numbers_out import hand_over
from torch import Tensor, nn
from torch.nn import functional as F

from ggl_lightning.attacks import (
    Attack,
    GenerativeGradientLeakage,
    LearnedInversion,
    Received,
    Target,
)
from ggl_lightning.attacks.searches import AdamSearch
from ggl_lightning.audit.run.matching import match_to_originals
from ggl_lightning.audit.run.received_update import sent_record
from ggl_lightning.clients import ResNet18, find_classifier_layer
from ggl_lightning.clients.procedures import (
    ClientProcedure,
    ClientSGD,
    ClientState,
    LocalTraining,
    PlainGradient,
)
from ggl_lightning.defenses import NoDefense
from ggl_lightning.metrics import mean_psnr
from ggl_lightning.priors import WGANGPPrior


@dataclass(frozen=True)
class Way:
    """A client's way of training: one row of the table."""

    name: str
    images: int
    procedure: ClientProcedure
    epochs_trained: int = 0


def local(rate: float, **settings: object) -> LocalTraining:
    """Flower's kind of client: SGD with momentum in training mode."""
    return LocalTraining(ClientSGD(rate, momentum=0.9), **settings)  # type: ignore[arg-type]


def ways(rate: float) -> Iterator[Way]:
    """The rows of the table."""
    for images in (1, 2, 4, 8):
        yield Way(f"gradient, eval mode, batch {images}", images, PlainGradient())
    train = "gradient, train mode, batch 4, buffers"
    yield Way(f"{train} withheld", 4, PlainGradient(mode="train", send_buffers=False))
    yield Way(f"{train} sent", 4, PlainGradient(mode="train", send_buffers=True))
    for steps in (1, 2, 4):
        name = f"difference, train mode, batch 4, buffers sent, local steps {steps}"
        yield Way(name, 4, local(rate, steps=steps))
    name = "difference, train mode, 8 images in batches of 4, order unknown"
    yield Way(name, 8, local(rate, epochs=1, batch_size=4))
    for mode in ("train", "frozen"):
        yield Way(f"gradient, {mode} mode, batch 1", 1, PlainGradient(mode=mode))
    for steps in (1, 2, 4, 8):
        name = f"difference, train mode, batch 1, local steps {steps}"
        yield Way(name, 1, local(rate, steps=steps))
    for epochs in (1, 4):
        yield Way(f"gradient, eval mode, batch 1, trained {epochs} epochs", 1, PlainGradient(),
                  epochs_trained=epochs)  # fmt: skip


def trained(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    epochs: int,
    uses_batch_statistics: bool = True,
    seed: int = 0,
) -> nn.Module:
    """A client model after some epochs of Adam in one place, in eval mode."""
    model = copy.deepcopy(model).train(uses_batch_statistics)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        for places in torch.randperm(len(images), generator=generator).split(64):
            optimizer.zero_grad()
            F.cross_entropy(model(images[places]), labels[places]).backward()
            optimizer.step()
    return model.eval()


def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Share of images that a model classifies rightly."""
    with torch.no_grad():
        found = torch.cat([model(some).argmax(dim=1) for some in images.split(256)])
    return (found == labels).float().mean().item()


def found_psnr(
    way: Way, target: Target, attack: Attack, batch: tuple[Tensor, Tensor],
    behind: tuple[Tensor, Tensor], seed: int,
) -> float:  # fmt: skip
    """Mean PSNR in dB of ``batch`` in what is found from the update of ``behind``."""
    order = way.procedure.order(way.images, torch.Generator().manual_seed(seed))
    update = way.procedure.compute(ClientState.of(target.model), *behind, order)
    record = sent_record(update, list(update.tensors.values()))
    received = Received(record, way.procedure, NoDefense(), labels=behind[1])
    found = attack.run(received, target, seed)
    assert found.images is not None
    matched = found.images[match_to_originals(found.images, batch[0].cpu())]
    return float(mean_psnr(matched, batch[0].cpu()))


def others(labels: Tensor, pool_labels: Tensor, seed: int) -> Tensor:
    """Places of other images with the same labels."""
    generator = torch.Generator().manual_seed(seed)
    places = []
    for label in labels:
        same = (pool_labels == label).nonzero().flatten()
        places.append(int(same[torch.randint(len(same), (1,), generator=generator)]))
    return torch.tensor(places)


def main() -> None:
    """Prints a line per way as soon as it is measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", required=True, help="CelebA's folder")
    parser.add_argument("--prior", help="a prior's file; the shipped prior if none")
    parser.add_argument("--images", type=int, default=16, help="private images of each way")
    parser.add_argument("--attack", choices=["adam", "learned"], default="adam")
    parser.add_argument("--learned", type=int, default=1000, help="public images to learn from")
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--restarts", type=int, default=2)
    parser.add_argument("--rate", type=float, default=0.01)
    parser.add_argument("--public", type=int, default=14000, help="images to train the model on")
    parser.add_argument("--only", default="", help="ways with this in their name")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    device = torch.device(options.device)
    prior = WGANGPPrior(options.prior).to(device)
    torch.manual_seed(0)
    model: nn.Module = ResNet18(width=options.width).to(device).eval()
    private, labels = (
        each.to(device) for each in spread_images(options.root, "test", options.images)
    )
    pool = tuple(each.to(device) for each in spread_images(options.root, "valid", 200))
    attack: Attack = GenerativeGradientLeakage(
        AdamSearch(restarts=options.restarts), budget=options.steps, known_label=True
    )
    learns = options.attack == "learned"
    if learns:
        attack = LearnedInversion(public_images=options.learned, known_label=True)
        public, _ = spread_images(options.root, "train", options.learned)
    models = {0: model}
    numbers: dict[str, object] = {"arguments": {k: str(v) for k, v in vars(options).items()}}
    for way in ways(options.rate):
        if options.only not in way.name or (learns and way.images > 1):
            continue
        if way.epochs_trained not in models:
            images, answers = spread_images(options.root, "train", options.public)
            models[way.epochs_trained] = trained(
                model, images.to(device), answers.to(device), way.epochs_trained
            )
        client = models[way.epochs_trained]
        classifier = find_classifier_layer(client, private[:2])
        target = Target(
            client, classifier, prior, (lambda count: public[:count]) if learns else None
        )
        started, leaked, without = time.perf_counter(), [], []
        for first in range(0, len(private) - way.images + 1, way.images):
            batch = private[first : first + way.images], labels[first : first + way.images]
            places = others(batch[1], pool[1], first)
            other = pool[0][places], batch[1]
            leaked.append(found_psnr(way, target, attack, batch, batch, first))
            without.append(found_psnr(way, target, attack, batch, other, first))
        row = {
            "psnr_db": round(sum(leaked) / len(leaked), 2),
            "interval": interval(leaked),
            "without_db": round(sum(without) / len(without), 2),
            "gain_db": round(sum(leaked) / len(leaked) - sum(without) / len(without), 2),
            "gain_interval": interval([a - b for a, b in zip(leaked, without, strict=True)]),
            "accuracy": round(accuracy(client, *pool), 3),
            "seconds_per_update": round((time.perf_counter() - started) / (2 * len(leaked)), 1),
        }
        print(way.name, row, flush=True)
        numbers[way.name] = row
    hand_over(numbers, options.json)


if __name__ == "__main__":
    main()
