"""How often update matching names the right face, under every defense and over noise.

The published client: a randomly initialised ResNet-18 (seed 0), 32x32 pixels, one image in an
update, the plain gradient in eval mode. The lineup are ``--images`` faces of one class of CelebA's
test split; the first ``--private`` of them are private once, among all others. Rates are top-1,
with exact 95% intervals. The attacker reads the label off the update.

All private images have one lineup, so each of its images' updates is computed once for a defense
and compared with all that was received, which `UpdateMatching` would compute anew for each: the
same ranks, which is checked for the first ``--checked`` private images of every defense. Of
adaptive compression the attacker's estimate is shared too (`Adaptation.shared`), and not checked.

The curve is of releases that are clipped to one norm and noised, in units of that norm, and of
updates that are noised only, in the updates' own units. What noise adds to the products with all
updates of a lineup has a normal distribution, whose covariance is their Gram matrix: it is drawn
from there, ``--releases`` times for each private image, with the label known.

    python benchmarks/update_matching.py --root DATA --json numbers.json --width 64

The file is written anew after every line, and lines that it holds are not run again.
"""

import ggl_lightning  # noqa: F401, I001  (first: it repairs torchvision beside a CPU-only torch)

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from celeba_images import spread_images
from defense_names import PUBLISHED, defense_named
from torch import Tensor

from ggl_lightning.attacks import Received, Target, UpdateMatching
from ggl_lightning.audit.run.received_update import sent_record
from ggl_lightning.clients import ResNet18, find_classifier_layer
from ggl_lightning.clients.procedures import ClientState, PlainGradient
from ggl_lightning.defenses import ClientSide, Defense, NoDefense, Representation
from ggl_lightning.metrics import BinomialRate, identification_bound, rank_of_first
from ggl_lightning.priors import WGANGPPrior

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
        self.label = label
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


def rank(candidates: Candidates, waiting: list[tuple[int, Tensor]], ranks: list[int]) -> None:
    """Ranks the private images of updates that wait, and empties the list."""
    if waiting:
        scores = candidates.scores(torch.stack([update for _, update in waiting]))
        for (place, _), of_lineup in zip(waiting, scores, strict=True):
            ranks[place] = rank_in(of_lineup, place)
        waiting.clear()


def check(client: Client, candidates: Candidates, received: Received, place: int) -> None:
    """Compares the rank with that of the attack itself."""
    attack = UpdateMatching()
    finding = attack.run(received, client.target, seed=0)
    alone = attack.rank(received, finding, client.images, client.target)
    assert alone is not None
    flat = torch.cat([each.flatten() for each in received.update])
    shared = candidates.scores(flat.unsqueeze(0))[0]
    if rank_in(alone, place) != rank_in(shared, place):
        raise SystemExit(f"image {place}: the rank is not that of UpdateMatching itself")


def under(client: Client, defense: Defense, private: int, checked: int) -> dict[str, object]:
    """The rate under one defense, and how many labels were read rightly."""
    count, started = min(private, len(client.images)), time.perf_counter()
    attack, target = UpdateMatching(), client.target
    ranks, assumed = [0] * count, [0] * count
    left = list(range(count))
    while left:  # once for each label that was read
        candidates: Candidates | None = None
        others: list[int] = []
        waiting: list[tuple[int, Tensor]] = []
        for place in left:
            received = client.sends(place, defense)
            finding = attack.run(received, target, seed=0)
            label = int(finding.labels[0])
            if candidates is None:
                candidates = Candidates(client, received, label)
            if label != candidates.label:
                others.append(place)
                continue
            assumed[place] = label
            if place < checked:
                check(client, candidates, received, place)
            waiting.append((place, torch.cat([each.flatten() for each in received.update])))
            if len(waiting) == _TOGETHER:
                rank(candidates, waiting, ranks)
        if candidates is not None:
            rank(candidates, waiting, ranks)
        left = others
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
    """Prints a line for each noise and defense; the file is written anew after each."""
    defenses = {name: defense_named(name) for name in options.defenses}
    client = Client(options)
    numbers: dict[str, object] = {"images": len(client.images), "width": options.width}
    if options.json and options.json.exists():
        before = json.loads(options.json.read_text())
        if any(before.get(name) != value for name, value in numbers.items()):
            raise SystemExit(f"{options.json} is of other images or another width: name a new file")
        numbers = before

    def keep(name: str, found: object) -> None:
        numbers[name] = found
        print(f"{name}: {found}", flush=True)
        if options.json:
            options.json.write_text(json.dumps(numbers, indent=2) + "\n")

    with torch.no_grad():
        if "norms of updates" not in numbers:
            for name, found in curve(client, options.releases):
                keep(name, found)
        for name, defense in defenses.items():
            if name not in numbers:
                checked = 0 if name.startswith("compression") else options.checked
                keep(name, under(client, defense, options.private, checked))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, required=True, help="CelebA's folder")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--images", type=int, default=100, help="in the lineup")
    parser.add_argument("--private", type=int, default=100, help="of them, under each defense")
    parser.add_argument("--label", type=int, default=0, help="of all of them")
    parser.add_argument("--checked", type=int, default=2, help="compared with the attack itself")
    parser.add_argument("--releases", type=int, default=100, help="of an image, for the curve")
    parser.add_argument("--defenses", nargs="*", default=PUBLISHED)
    parser.add_argument("--json", type=Path, help="where to write the numbers to")
    main(parser.parse_args())
