"""How often update matching names the right face, under every defense and over noise.

The published client: a randomly initialised ResNet-18 (seed 0), 32x32 pixels, one image in an
update, the plain gradient in eval mode. The lineup are ``--images`` faces of one class of CelebA's
test split; each of them is private once, among all others. Rates are top-1, with exact 95%
intervals. The attacker reads the label off the update.

All private images have one lineup, so each of its images' updates is computed once for a defense
and compared with all that was received, which `UpdateMatching` would compute anew for each: the
same ranks, which is checked for the first ``--checked`` private images of every defense. Of
adaptive compression the attacker's estimate is shared too (`Adaptation.shared`), and not checked.

The curve is of releases that are clipped to one norm and noised, in units of that norm, and of
updates that are noised only, in the updates' own units. What noise adds to the products with all
updates of a lineup has a normal distribution, whose covariance is their Gram matrix: it is drawn
from there, ``--releases`` times for each private image, with the label known.

    python benchmarks/update_matching.py --root DATA --json numbers.json --width 64
"""

import ggl_lightning  # noqa: F401, I001  (first: it repairs torchvision beside a CPU-only torch)

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from celeba_images import spread_images
from torch import Tensor

from ggl_lightning.attacks import Received, Target, UpdateMatching
from ggl_lightning.audit.run.received_update import sent_record
from ggl_lightning.clients import ResNet18, find_classifier_layer
from ggl_lightning.clients.procedures import ClientState, PlainGradient
from ggl_lightning.defenses import (
    ClientSide,
    Clipping,
    Compression,
    Defense,
    NoDefense,
    Noise,
    Representation,
)
from ggl_lightning.metrics import BinomialRate, identification_bound, rank_of_first
from ggl_lightning.priors import WGANGPPrior

DEFENSES: dict[str, Defense] = {
    "none": NoDefense(),
    "noise 0.01": Noise(0.01),
    "noise 0.1": Noise(0.1),
    "clipping 4": Clipping(4),
    "compression 90": Compression(90),
    "representation 80": Representation(80),
}

NOISES = (0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 100.0)

_TOGETHER = 10
"""Received updates that are compared at a time: bounds memory."""


class Client:
    """The published client with faces of one class, and what it sends."""

    def __init__(self, options: argparse.Namespace) -> None:
        torch.manual_seed(0)
        model = ResNet18(width=options.width).eval()
        images, labels = spread_images(options.root, "test", 4 * options.images)
        kept = (labels == options.label).nonzero()[: options.images, 0]
        self.images, self.labels = images[kept], labels[kept]
        classifier = find_classifier_layer(model, self.images[:2])
        self.target = Target(model, classifier, WGANGPPrior())
        self._procedure = PlainGradient()
        self._state = ClientState.of(model)

    def gradient(self, place: int, label: int) -> list[Tensor]:
        """The update of one image under a label."""
        image, labels = self.images[place : place + 1], torch.tensor([label])
        order = self._procedure.order(1, torch.Generator())
        record = self._procedure.compute(self._state, image, labels, order)
        return list(record.tensors.values())

    def sends(self, place: int, defense: Defense) -> Received:
        """The update of one image as the server receives it."""
        image, label = self.images[place : place + 1], self.labels[place : place + 1]
        order = self._procedure.order(1, torch.Generator())
        update = self._procedure.compute(self._state, image, label, order)
        noise = torch.Generator().manual_seed(place)
        side = ClientSide(self.target.model, image, label, self.target.classifier, noise)
        sent = defense(list(update.tensors.values()), side)
        return Received(sent_record(update, sent), self._procedure, defense)


class Candidates:
    """The updates of all images of a lineup under one label, as an attacker compares them."""

    def __init__(self, client: Client, received: Received, label: int) -> None:
        adaptation = received.defense.adapt(received.update, client.target.classifier)
        shared = None if adaptation is None else adaptation.shared()
        self._by_direction = received.defense.hides_scale
        self._masks = isinstance(received.defense, Representation)
        last = client.target.classifier.weight_index
        assert last is not None
        self._columns = received.update[last].shape[1]
        self._place = sum(each.numel() for each in received.update[:last])
        self._entries = received.update[last].numel()
        entries = sum(each.numel() for each in received.update)
        self.matrix = torch.empty(len(client.images), entries)
        for place in range(len(client.images)):
            update = client.gradient(place, label)
            if shared is not None and not self._masks and not self._by_direction:
                update = shared(update)
            self.matrix[place] = torch.cat([tensor.flatten() for tensor in update])
        self.squares = squares(self.matrix)

    def scores(self, received: Tensor) -> Tensor:
        """How unlikely each is ``(B, M)`` to be behind updates ``(B, D)``; see `UpdateMatching`."""
        products = (received @ self.matrix.T).double()
        if self._by_direction:
            return -products / self.squares.sqrt()
        norms = self.squares.expand_as(products)
        if self._masks:  # columns that were not received count for no candidate
            block = slice(self._place, self._place + self._entries)
            rows = self.matrix[:, block].unflatten(1, (-1, self._columns)).double()
            columns = rows.square().sum(dim=1)
            gone = received[:, block].unflatten(1, (-1, self._columns)).abs().sum(dim=1) == 0
            norms = norms - gone.double() @ columns.T
        return norms - 2 * products


def squares(matrix: Tensor) -> Tensor:
    """Squared norms ``(M,)`` of rows, in float64; row by row, for their memory."""
    return torch.stack([row.double().square().sum() for row in matrix])


def rank_in(scores: Tensor, place: int) -> int:
    """The rank of one image of a lineup by scores ``(M,)``."""
    others = torch.cat([scores[:place], scores[place + 1 :]])
    return rank_of_first(torch.cat([scores[place : place + 1], others]))


def rate(hits: Tensor) -> dict[str, float]:
    """A rate with its exact interval."""
    statistic = BinomialRate()
    statistic.update(hits.double())
    return {name: float(value) for name, value in statistic.compute().items()}


def under(client: Client, defense: Defense, checked: int) -> dict[str, object]:
    """The rate under one defense, and how many labels were read rightly."""
    count, started = len(client.images), time.perf_counter()
    attack, target = UpdateMatching(), client.target
    assumed: list[int] = []
    checks: dict[int, int] = {}
    for place in range(count):
        received = client.sends(place, defense)
        finding = attack.run(received, target, seed=0)
        assumed.append(int(finding.labels[0]))
        if place < checked:
            scores = attack.rank(received, finding, client.images, target)
            assert scores is not None
            checks[place] = rank_in(scores, place)
    ranks = [0] * count
    for label in sorted(set(assumed)):
        places = [place for place in range(count) if assumed[place] == label]
        candidates = Candidates(client, client.sends(places[0], defense), label)
        for part in torch.tensor(places).split(_TOGETHER):
            sent = [client.sends(int(place), defense).update for place in part]
            flat = torch.stack([torch.cat([each.flatten() for each in one]) for one in sent])
            for place, scores in zip(part.tolist(), candidates.scores(flat), strict=True):
                ranks[place] = rank_in(scores, place)
    if any(ranks[place] != rank for place, rank in checks.items()):
        raise SystemExit(f"ranks are {ranks}, but by UpdateMatching itself {checks}")
    found: dict[str, object] = {**rate(torch.tensor(ranks) == 1)}
    right = sum(int(client.labels[place]) == label for place, label in enumerate(assumed))
    return {**found, "labels_right": right, "seconds": round(time.perf_counter() - started)}


def curve(client: Client, releases: int) -> Iterator[tuple[str, dict[str, float]]]:
    """Rates over noise, clipped first and not, each by its name."""
    received = client.sends(0, NoDefense())
    candidates = Candidates(client, received, int(client.labels[0]))
    matrix, norms = candidates.matrix, candidates.squares.sqrt()
    gram = sum((part @ part.T).double() for part in matrix.split(2**18, dim=1))
    assert isinstance(gram, Tensor)
    count = len(gram)
    directions = gram / norms / norms.unsqueeze(1)
    own = torch.arange(count).repeat_interleave(releases)
    for kind, products in (("clipped to norm 1, noise", directions), ("not clipped, noise", gram)):
        values, vectors = torch.linalg.eigh(products)
        factor = vectors * values.clamp(min=0).sqrt()
        for std in NOISES:
            draws = torch.randn(
                len(own), count, generator=torch.Generator().manual_seed(1), dtype=torch.float64
            )
            scores = products.diagonal() - 2 * (products[own] + std * draws @ factor.T)
            named = (scores.argmin(dim=1) == own).view(count, releases).double().mean(dim=1)
            found = rate(named)
            if products is directions:
                found["bound"] = identification_bound(std, count - 1)
            yield f"{kind} {std:g}", found
    yield "norms of updates", {"least": float(norms.min()), "largest": float(norms.max())}


def main(options: argparse.Namespace) -> None:
    """Prints a line for each defense and each noise; the file is written anew after each."""
    client = Client(options)
    numbers: dict[str, object] = {"images": len(client.images), "width": options.width}

    def keep(name: str, found: object) -> None:
        numbers[name] = found
        print(f"{name}: {found}", flush=True)
        if options.json:
            options.json.write_text(json.dumps(numbers, indent=2) + "\n")

    with torch.no_grad():
        for name in options.defenses:
            keep(
                name,
                under(client, DEFENSES[name], options.checked if name != "compression 90" else 0),
            )
        for name, found in curve(client, options.releases):
            keep(name, found)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, required=True, help="CelebA's folder")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--images", type=int, default=100, help="in the lineup, each private once")
    parser.add_argument("--label", type=int, default=0, help="of all of them")
    parser.add_argument("--checked", type=int, default=2, help="compared with the attack itself")
    parser.add_argument("--releases", type=int, default=100, help="of an image, for the curve")
    parser.add_argument("--defenses", nargs="*", choices=DEFENSES, default=list(DEFENSES))
    parser.add_argument("--json", type=Path, help="where to write the numbers to")
    main(parser.parse_args())
