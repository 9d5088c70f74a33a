"""What each strength of each defense leaks of real faces, and what it costs, one line each.

- Leakage: `LearnedInversion` from ``--public`` faces of CelebA's train split, the mean PSNR (dB,
  data range 2) of ``--images`` faces of its test split with a 95% bootstrap interval; and the share
  of 100 faces of one class that `UpdateMatching` names among each other, with an exact one. One
  image in an update, the plain gradient in eval mode, an untrained ResNet-18 (seed 0).
- Utility: accuracy on the test split of the same model after `FederatedTraining` under the
  defense, for each of ``--attributes`` and ``--seeds``. Its clients send gradients of eight images.
  Beside it, undefended training in one place on the same images by Adam.

    python benchmarks/defense_strength.py --root DATA --json numbers.json

The file is written anew after every line, and lines that it holds are not run again.
"""

import ggl_lightning  # noqa: F401, I001  (first: it repairs torchvision beside a CPU-only torch)

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import update_matching
from attack_strength import Client, attacked, client_options
from client_leakage import accuracy, trained
from defense_names import defense_named
from numbers_out import KeptLines
from torch import nn

from ggl_lightning.attacks import LearnedInversion
from ggl_lightning.clients import ResNet18
from ggl_lightning.data.celeba import CelebADataModule
from ggl_lightning.defenses import Defense
from ggl_lightning.federated import FederatedTraining
from ggl_lightning.seeding import seeded

DEFENSES = (
    "none",
    *(f"noise {std}" for std in (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1)),
    *(f"clipping {bound}" for bound in (4, 1, 0.1)),
    *(f"compression {percent}" for percent in (50, 90, 99, 99.9)),
    *(f"representation {percent}" for percent in (40, 80, 95)),
    *("sign", "bits 2", "bits 4", "bits 8"),
    *(f"epsilon {epsilon}" for epsilon in (1, 10, 100)),
)
_MASKS_SLOWLY = "representation"  # its training takes ten times the others'


def learned(client: Client, defense: Defense, count: int, public: int) -> dict[str, object]:
    """PSNR of what learned inversion finds."""
    found = attacked(client, defense, LearnedInversion(public_images=public), count)
    return {"psnr_db": found["psnr_db"], "interval": found["interval"],
            "predicted_db": found["predicted_db"]}  # fmt: skip


def named(client: update_matching.Client, defense: Defense) -> dict[str, object]:
    """How often update matching names the right face among all of one class."""
    with torch.no_grad():
        return update_matching.under(client, defense, len(client.images), 0)


def timed(measure: Callable[[], dict[str, object]]) -> dict[str, object]:
    """What is measured, and in how many seconds."""
    started = time.perf_counter()
    return {**measure(), "seconds": round(time.perf_counter() - started, 1)}


class Utility:
    """Accuracy of a client model that is trained on one attribute."""

    def __init__(self, options: argparse.Namespace, attribute: str) -> None:
        self._training = FederatedTraining(rounds=options.rounds, evaluate_every=options.rounds)
        self._width = options.width
        data = CelebADataModule(
            options.root, image_size=32, target_attribute=attribute, cache_dir=options.cache
        )
        for split in ("train", "test"):
            data.open_split(split)
        self._splits = data.dataset("train"), data.dataset("test")

    def _model(self, seed: int) -> nn.Module:
        with seeded(seed):
            return ResNet18(num_classes=2, width=self._width)

    def federated(self, defense: Defense, seed: int) -> dict[str, object]:
        """After federated training under a defense."""
        found = self._training.run(self._model(seed), *self._splits, defense, seed=seed)
        return {"accuracy": found.accuracy, "error": found.error,
                "majority_share": found.majority_share}  # fmt: skip

    def central(self, epochs: int, seed: int) -> dict[str, object]:
        """After training in one place, in eval mode as the clients' is, by Adam."""
        images = self._training.load(*self._splits)
        train, test = images.train, images.test
        model = trained(self._model(seed), train.images, train.labels, epochs, False, seed)
        return {"accuracy": accuracy(model, test.images, test.labels)}


def main() -> None:
    """Prints a line as soon as it is measured."""
    parser = client_options(__doc__.splitlines()[0])
    parser.set_defaults(width=16)
    parser.add_argument("--public", type=int, default=1000)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--attributes", nargs="*", default=["Male", "Smiling"])
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=5, help="of training in one place")
    parser.add_argument("--defenses", nargs="*", default=DEFENSES)
    parser.add_argument("--only", nargs="*", default=["learned", "matching", "utility"])
    parser.add_argument("--cache", type=Path, help="where decoded images are kept")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    defenses = {name: defense_named(name) for name in options.defenses}
    settings = {"width": options.width, "public": options.public, "rounds": options.rounds}
    kept = KeptLines(options.json, settings)

    def line(name: str, measure: Callable[[], dict[str, object]]) -> None:
        kept.measure(name, partial(timed, measure))

    if "learned" in options.only:
        client = Client(options, torch.device("cpu"))
        for name, defense in defenses.items():
            measure = partial(learned, client, defense, options.images, options.public)
            line(f"learned | {name}", measure)
    if "matching" in options.only:
        lineup = argparse.Namespace(
            root=options.root, width=options.width, images=options.images, label=0
        )
        faces = update_matching.Client(lineup)
        for name, defense in defenses.items():
            line(f"matching | {name}", partial(named, faces, defense))
    if "utility" in options.only:
        for attribute in options.attributes:
            utility = Utility(options, attribute)
            for seed in options.seeds:
                who = f"{attribute}, seed {seed}"
                line(f"{who} | in one place", partial(utility.central, options.epochs, seed))
            for name, defense in defenses.items():
                for seed in options.seeds[: 1 if name.startswith(_MASKS_SLOWLY) else None]:
                    who = f"{attribute}, seed {seed}"
                    line(f"{who} | {name}", partial(utility.federated, defense, seed))


if __name__ == "__main__":
    main()
