"""How close every attack comes on real faces, under every defense, all on the same images.

The published client: a randomly initialised ResNet-18 (seed 0), 32x32 pixels, one image in an
update, the plain gradient in eval mode. Public images are of CelebA's train split, private ones of
its test split, whose people are in no public image. PSNR in dB with data range 2, means over images
with 95% bootstrap intervals. Attackers know which kind of defense was used and estimate its
parameters.

    python benchmarks/attack_strength.py --root DATA --prior prior.safetensors --json numbers.json
    python benchmarks/attack_strength.py --root DATA --width 16 --attacks learned cma --searched 20
    python benchmarks/attack_strength.py --root DATA --width 16 --attacks gias rog --share 0.1

Attacks by the names of ``configs/audit/attacks/`` are those configurations, with ``--share`` of
their budgets and at most ``--trials`` of their trials. Closed forms attack all ``--images``;
searches ``--searched`` of them, evenly spread, on which both are compared. The file is written anew
after every line, and lines that it holds are not run again.
"""

import ggl_lightning  # noqa: F401, I001  (first: it repairs torchvision beside a CPU-only torch)

import argparse
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from celeba_images import spread_images, spread_places
from defense_names import PUBLISHED, defense_named
from intervals import interval
from jsonargparse import ArgumentParser
from numbers_out import KeptLines
from torch import Tensor, nn
from torchvision.models import VisionTransformer

from ggl_lightning.attacks import (
    Attack,
    GenerativeGradientLeakage,
    LearnedInversion,
    Received,
    StandardAttack,
    Target,
    WarmStartedGGL,
)
from ggl_lightning.attacks.searches import AdamSearch, NevergradSearch
from ggl_lightning.attacks.searches.turbo import TuRBOSearch
from ggl_lightning.attacks.standard import BUDGET
from ggl_lightning.audit.run.received_update import sent_record
from ggl_lightning.clients import ConvNet, LeNet, ResNet18, find_classifier_layer
from ggl_lightning.clients.procedures import ClientState, PlainGradient
from ggl_lightning.command_line.shipped import ShippedConfigurations
from ggl_lightning.defenses import ClientSide, Defense
from ggl_lightning.priors import WGANGPPrior
from ggl_lightning.seeding import seeded


def attacks(options: argparse.Namespace) -> dict[str, tuple[Attack, bool]]:
    """By name: the attack with its published budget, and whether it is a search."""

    def ggl(search: Any, budget: int, **settings: Any) -> GenerativeGradientLeakage:
        budget = max(1, round(budget * options.share))
        return GenerativeGradientLeakage(search, budget=budget, adaptive=True, **settings)

    learned = LearnedInversion(public_images=options.public)
    return {
        "learned": (learned, False),
        "warm": (WarmStartedGGL(learned), False),
        "standard": (StandardAttack(max(1, round(BUDGET * options.share))), True),
        "cma": (ggl(NevergradSearch(), 500), True),
        "adam": (ggl(AdamSearch(), 2500, n_trials=4), True),
        "turbo": (ggl(TuRBOSearch(), 1000), True),
    }


def small_vit(width: int) -> nn.Module:
    """A vision transformer for 32x32: 64 patches of 4x4, 6 blocks of 4 heads.

    torchvision begins with a last layer of zeros, which sends no gradient to any other; this one
    begins as linear layers do.
    """
    model = VisionTransformer(32, 4, 6, 4, width, 2 * width, num_classes=2)
    model.heads.head.reset_parameters()
    return model


CLIENTS: dict[str, Callable[[int], nn.Module]] = {
    "ResNet18": lambda width: ResNet18(width=width),
    "ConvNet": lambda width: ConvNet(num_classes=2, width=width),
    "LeNet": lambda width: LeNet(num_classes=2, width=width),
    "ViT": small_vit,
}
"""By name: a client model of a width, before it is trained."""


def published(options: argparse.Namespace) -> dict[str, tuple[Attack, bool]]:
    """The attacks asked for that have a configuration, with a share of their budgets."""
    files, found = ShippedConfigurations("audit").files(), {}
    for name in options.attacks:
        if f"attacks/{name}" not in files:
            continue
        config = yaml.safe_load(files[f"attacks/{name}"].read_text())
        parser = ArgumentParser()
        parser.add_argument("--attack", type=GenerativeGradientLeakage | Attack)
        settings = {"attack": config["data"]["attacks"][name]}
        attack = parser.instantiate(parser.parse_object(settings)).attack
        attack.n_trials = min(attack.n_trials, options.trials or attack.n_trials)
        for budget in ("budget", "later_budget"):
            spent = getattr(attack, budget, None)
            if spent is not None:
                setattr(attack, budget, max(1, round(spent * options.share)))
        found[name] = (attack, True)
    return found


class Client:
    """The published client with its private images, and what it sends."""

    def __init__(self, options: argparse.Namespace, device: torch.device) -> None:
        torch.manual_seed(0)
        model = CLIENTS[options.client](options.width).to(device).eval()
        self.images, self.labels = (
            each.to(device) for each in spread_images(options.root, "test", options.images)
        )
        public, _ = spread_images(options.root, "train", options.public)
        self.mean_face = public.mean(dim=0)
        prior = WGANGPPrior(options.prior).to(device)
        classifier = find_classifier_layer(model, self.images[:2])
        self.target = Target(model, classifier, prior, public=lambda count: public[:count])
        self._procedure = PlainGradient()

    def sends(self, place: int, defense: Defense) -> Received:
        """The update of one image as the server receives it."""
        images, labels = self.images[place : place + 1], self.labels[place : place + 1]
        model, classifier = self.target.model, self.target.classifier
        order = self._procedure.order(1, torch.Generator())
        update = self._procedure.compute(ClientState.of(model), images, labels, order)
        noise = torch.Generator().manual_seed(place)
        side = ClientSide(model, images, labels, classifier, noise)
        sent = defense(list(update.tensors.values()), side)
        return Received(sent_record(update, sent), self._procedure, defense)


def psnr(found: Tensor, true: Tensor) -> float:
    """PSNR in dB of images in ``[-1, 1]``, data range 2."""
    mse = (found.double().cpu() - true.double().cpu()).square().mean()
    return float(10 * (4 / mse).log10())


def attacked(client: Client, defense: Defense, attack: Attack, count: int) -> dict[str, Any]:
    """One line of the table: an attack's PSNR on each of some images, spread over all of them."""
    places = spread_places(len(client.images), count)
    values, seconds, predicted = [], [], []
    chosen: list[object] = []
    members: dict[str, list[float]] = {}
    for place in places:
        received = client.sends(place, defense)
        started = time.perf_counter()
        with seeded(place):
            found = attack.run(received, client.target, seed=place)
        seconds.append(time.perf_counter() - started)
        assert found.images is not None
        values.append(round(psnr(found.images[0], client.images[place]), 3))
        chosen.append(found.evaluation.get("chosen"))
        for name, member in found.members.items():
            if member.images is not None:
                value = psnr(member.images[0], client.images[place])
                members.setdefault(name, []).append(round(value, 3))
        if found.predicted_mse is not None:
            predicted.append(10 * torch.tensor(4 / found.predicted_mse).log10().item())
    numbers: dict[str, Any] = {
        "psnr_db": round(sum(values) / count, 2),
        "interval": interval(values),
        "images": count,
        # The first update of a label waits for the fit.
        "seconds_first": round(seconds[0], 2),
        "seconds_per_image": round(sorted(seconds)[count // 2], 3),
        "evaluations": attack.evaluations,
    }
    if predicted:
        numbers["predicted_db"] = round(sum(predicted) / len(predicted), 2)
    if any(chosen):
        numbers["chosen"] = dict(Counter(str(each) for each in chosen))
    if members:
        # Of those that answered every update: others' means would be over other images.
        numbers["members_db"] = {
            name: round(sum(each) / count, 2)
            for name, each in members.items()
            if len(each) == count
        }
    return {**numbers, "places": places, "values": values}


def lines(options: argparse.Namespace) -> dict[str, Any]:
    """All lines, those of an earlier run included."""
    device = torch.device(options.device)
    settings = {"width": options.width, "public": options.public, "share": options.share}
    if options.client != "ResNet18" or options.trials:
        settings.update(client=options.client, trials=options.trials)
    kept = KeptLines(options.json, settings, hidden=("places", "values"))
    defenses = {name: defense_named(name) for name in options.defenses}
    client = Client(options, device)
    means = [psnr(client.mean_face, image) for image in client.images]
    print(f"mean face: {sum(means) / len(means):.2f} dB", flush=True)
    known = attacks(options) | published(options)
    missing = [name for name in options.attacks if name not in known]
    if missing:
        raise SystemExit(f"There is no attack {missing[0]!r}.")
    chosen = {name: known[name] for name in options.attacks}
    for name, (attack, searches) in chosen.items():
        count = min(options.searched if searches else options.images, len(client.images))
        for defense_name, defense in defenses.items():
            measure = partial(attacked, client, defense, attack, count)
            kept.measure(f"{name} | {defense_name}", measure)
    return kept.table


def compare(table: dict[str, Any], against: str = "cma") -> None:
    """Prints by how much each attack is above one of them, on the images that both attacked."""
    for line, found in table.items():
        attack, _, defense = line.partition(" | ")
        other = table.get(f"{against} | {defense}")
        if attack == against or other is None or "values" not in found:
            continue
        ours, theirs = (
            dict(zip(each["places"], each["values"], strict=True)) for each in (found, other)
        )
        gains = [ours[place] - theirs[place] for place in ours.keys() & theirs.keys()]
        gain = sum(gains) / len(gains)
        print(f"{line}: {gain:+.2f} dB above {against}, {interval(gains)}, {len(gains)} images")


def client_options(description: str) -> argparse.ArgumentParser:
    """A parser of what `Client` needs, but for how many images there are."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--root", required=True, help="CelebA's folder")
    parser.add_argument("--prior", help="a prior's file; the shipped prior if none")
    parser.add_argument("--client", default="ResNet18", choices=CLIENTS)
    parser.add_argument("--width", type=int, default=64)
    return parser


def main() -> None:
    """Measures, prints and writes."""
    parser = client_options(__doc__.splitlines()[0])
    parser.add_argument("--public", type=int, default=4000)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--searched", type=int, default=4)
    parser.add_argument("--share", type=float, default=1.0, help="of the searches' budgets")
    parser.add_argument("--trials", type=int, help="at most, of attacks by configuration")
    parser.add_argument("--attacks", nargs="+", default=["learned", "cma"])
    parser.add_argument("--defenses", nargs="+", default=PUBLISHED)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    compare(lines(parser.parse_args()))


if __name__ == "__main__":
    main()
