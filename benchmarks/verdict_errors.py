"""How often an audit's worst case takes chance for a leak, and how often it finds one.

Made-up results: attacks whose numbers on an update are distributed as on their nulls' updates, plus
a leak in standard deviations of an image. Attacks share an image's difficulty and an update's luck
as far as ``correlated`` says. Rates have exact 95% intervals.

    python benchmarks/verdict_errors.py --audits 2000 --json numbers.json
"""

import ggl_lightning  # noqa: F401, I001  (first: it repairs torchvision beside a CPU-only torch)

import argparse
import json
from itertools import product
from pathlib import Path

import numpy as np
import torch
from scipy.stats import binomtest

from ggl_lightning.audit.statistics.worst_case import LEVEL
from ggl_lightning.metrics import MaxLeakage

EVIDENCE = 2
"""Kinds of evidence that a verdict is adjusted for: reconstruction and identification."""


def says_leak(
    rng: np.random.Generator, images: int, attacks: int, leak: float, correlated: bool
) -> bool:
    """One audit of one defense, with two kinds of null."""
    shared = 2.0 * correlated
    table = shared * rng.standard_normal((images, 1, 1)) + rng.standard_normal((images, 3, attacks))
    table += shared * rng.standard_normal((images, 3, 1))
    statistic = MaxLeakage(True, attacks, 2, has_bound=False)
    found = torch.tensor(table)
    statistic.update(found[:, 0] + leak, found[:, 1:])
    return EVIDENCE * statistic.compute()["p_value"].item() < LEVEL


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
    for leak, images, attacks, correlated in product(
        options.leaks, options.images, options.attacks, (False, True)
    ):
        rng = np.random.default_rng(0)
        times = sum(
            says_leak(rng, images, attacks, leak, correlated) for _ in range(options.audits)
        )
        low, high = binomtest(times, options.audits).proportion_ci(method="exact")
        line = {
            "leak": leak,
            "images": images,
            "attacks": attacks,
            "correlated": correlated,
            "rate": times / options.audits,
            "interval": (round(low, 4), round(high, 4)),
        }
        print(line, flush=True)
        lines.append(line)
    if options.json:
        options.json.write_text(json.dumps(lines, indent=1) + "\n")


if __name__ == "__main__":
    main()
