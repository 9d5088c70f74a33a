"""How often an audit's worst case takes chance for a leak, and how often it finds one.

Made-up results: attacks whose numbers on an update are distributed as on their nulls' updates, plus
a leak in standard deviations of an image. Attacks share an image's difficulty and an update's luck
as far as ``correlated`` says, and rank the private image among decoys by guessing. Every audit is
judged as real ones are. Rates have exact 95% intervals; the last line of each leak is of all its
settings together.

    python benchmarks/verdict_errors.py --audits 2000 --json numbers.json
"""

import ggl_lightning  # noqa: F401, I001  (first: it repairs torchvision beside a CPU-only torch)

import argparse
import json
from itertools import product
from pathlib import Path

import numpy as np
from scipy.stats import binomtest

from ggl_lightning.audit.statistics.result_index import ResultIndex
from ggl_lightning.audit.statistics.worst_case import worst_cases

DECOYS = 9
"""Beside the private image, in every lineup."""


def says_leak(
    rng: np.random.Generator, images: int, attacks: int, leak: float, correlated: bool
) -> bool:
    """The verdict of one audit of one defense, with one null and a ranking per attack."""
    shared = 2.0 * correlated
    table = shared * rng.standard_normal((images, 1, 1)) + rng.standard_normal((images, 2, attacks))
    table += shared * rng.standard_normal((images, 2, 1))
    table[:, 0] += leak
    size = (images, 1 if correlated else attacks)
    ranks = np.broadcast_to(rng.integers(1, DECOYS + 2, size), (images, attacks))
    rows = [
        {
            "role": role,
            "image_index": image,
            "seed": 0,
            "defense": "none",
            "attack": f"attack{attack}",
            "psnr": 12 + float(table[image, side, attack]),
            "rank_update": int(ranks[image, attack]),
            "decoys": DECOYS,
        }
        for side, role in enumerate(("attack", "null_noise"))
        for image in range(images)
        for attack in range(attacks)
    ]
    (found,) = worst_cases(ResultIndex(rows))
    return bool(found["verdict"] == "leak")


def _rate(times: int, audits: int) -> dict[str, object]:
    low, high = binomtest(times, audits).proportion_ci(method="exact")
    return {"audits": audits, "rate": times / audits, "interval": (round(low, 4), round(high, 4))}


def main() -> None:
    """Simulates, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--audits", type=int, default=1000)
    parser.add_argument("--images", type=int, nargs="+", default=[6, 10, 20, 100])
    parser.add_argument("--attacks", type=int, nargs="+", default=[1, 2, 4, 6])
    parser.add_argument("--leaks", type=float, nargs="+", default=[0.0, 0.5, 1.0])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    lines = []
    for leak in options.leaks:
        of_leak = 0
        settings = list(product(options.images, options.attacks, (False, True)))
        for number, (images, attacks, correlated) in enumerate(settings):
            rng = np.random.default_rng(number)
            times = sum(
                says_leak(rng, images, attacks, leak, correlated) for _ in range(options.audits)
            )
            of_leak += times
            where = {"images": images, "attacks": attacks, "correlated": correlated}
            lines.append({"leak": leak, **where, **_rate(times, options.audits)})
            print(lines[-1], flush=True)
        lines.append({"leak": leak, **_rate(of_leak, len(settings) * options.audits)})
        print(lines[-1], flush=True)
    if options.json:
        options.json.write_text(json.dumps(lines, indent=1) + "\n")


if __name__ == "__main__":
    main()
