"""Accuracy and time of federated training under each defense, on synthetic faces.

Settings of `FederatedTraining` are its defaults unless an option says otherwise; the client model
is the demo's (ResNet-18 of width 8 at 32x32, attribute Male). One seed after the other::

    python benchmarks/federated_training.py                        # faces written for it
    python benchmarks/federated_training.py --root data --defenses none noise_0.1 --seeds 0 1 2
"""

import ggl_lightning  # noqa: F401, I001  (first: it repairs torchvision beside a CPU-only torch)

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from ggl_lightning.clients import ResNet18
from ggl_lightning.data.celeba import CelebADataModule
from ggl_lightning.defenses import (
    DPSGD,
    Clipping,
    Compression,
    NoDefense,
    Noise,
    Representation,
    Sign,
)
from ggl_lightning.federated import FederatedTraining, ServerSGD
from ggl_lightning.seeding import seeded

DEFENSES = {
    "none": NoDefense(),
    "noise_0.01": Noise(0.01),
    "noise_0.1": Noise(0.1),
    "clipping_4": Clipping(4),
    "clipping_1": Clipping(1),
    "compression_90": Compression(90),
    "sign": Sign(),
    "dpsgd_1": DPSGD(),
    "dpsgd_0.1": DPSGD(noise_multiplier=0.1),
    "representation_80": Representation(80),
}
SLOW = {"representation_80"}


def measure(
    root: Path, names: list[str], seeds: list[int], training: FederatedTraining
) -> list[dict]:
    data = CelebADataModule(root)
    with seeded(0):
        model = ResNet18(num_classes=2, width=8)
    rows = []
    for name in names:
        for seed in seeds:
            start = time.process_time()
            result = training.run(
                model,
                data.dataset("train"),
                data.dataset("test"),
                DEFENSES[name],
                seed=seed,
            )
            rows.append(
                {
                    "defense": name,
                    "seed": seed,
                    "accuracy": result.accuracy,
                    "error": result.error,
                    "majority_share": result.majority_share,
                    "test_images": result.test_images,
                    "cpu_seconds": time.process_time() - start,
                    "wall_seconds": result.seconds,
                }
            )
            print(json.dumps(rows[-1]), flush=True)
    return rows


def main() -> None:
    """Prints mean and range of the accuracies; writes all numbers with ``--json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, help="a CelebA tree; default: synthetic faces")
    parser.add_argument("--images", type=int, default=3000, help="synthetic faces to write")
    parser.add_argument(
        "--defenses", nargs="+", choices=DEFENSES, default=[d for d in DEFENSES if d not in SLOW]
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--clients-per-round", type=int, default=8)
    parser.add_argument("--images-per-update", type=int, default=8)
    parser.add_argument("--sgd", type=float, help="learning rate of ServerSGD; default: ServerAdam")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    training = FederatedTraining(
        rounds=args.rounds,
        clients_per_round=args.clients_per_round,
        images_per_client_update=args.images_per_update,
        server=None if args.sgd is None else ServerSGD(args.sgd),
    )
    with tempfile.TemporaryDirectory() as folder:
        root = args.root
        if root is None:
            root = Path(folder, "faces")
            command = [sys.executable, "-m", "ggl_lightning.data.synthetic", "--root", str(root)]
            subprocess.run([*command, "--count", str(args.images), "--seed", "2203"], check=True)
        rows = measure(root, args.defenses, args.seeds, training)
    for name in args.defenses:
        mine = [row for row in rows if row["defense"] == name]
        accuracies = [row["accuracy"] for row in mine if row["error"] is None]
        seconds = statistics.median(row["cpu_seconds"] for row in mine)
        if not accuracies:
            print(f"{name:20} failed: {mine[0]['error']}")
            continue
        print(
            f"{name:20} accuracy {statistics.mean(accuracies):.3f} "
            f"({min(accuracies):.3f} to {max(accuracies):.3f}, {len(accuracies)} seeds), "
            f"{seconds:.0f} s of CPU"
        )
    print(f"commonest class: {rows[0]['majority_share']:.3f} of {rows[0]['test_images']} images")
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
