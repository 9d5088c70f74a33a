"""How often the 95% intervals hold the true value, and how wide they are, by number of images.

Draws made-up images whose true mean or leakage is known: ``psnr`` is normal with a standard
deviation of 1.5 dB, ``skewed`` is lognormal, ``leakage`` is 0.4 with noise of half the gain from
null to bound.

    python benchmarks/interval_coverage.py --draws 2000
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

from ggl_lightning.metrics import BootstrapMean, NormalizedLeakage, PairedDifference


def psnr(generator: np.random.Generator, images: int) -> tuple[BootstrapMean, float]:
    metric = BootstrapMean()
    metric.update(torch.from_numpy(generator.normal(20, 1.5, images)))
    return metric, 20.0


def skewed(generator: np.random.Generator, images: int) -> tuple[BootstrapMean, float]:
    metric = BootstrapMean()
    metric.update(torch.from_numpy(generator.lognormal(0, 0.7, images)))
    return metric, float(np.exp(0.7**2 / 2))


def leakage(generator: np.random.Generator, images: int) -> tuple[NormalizedLeakage, float]:
    metric = NormalizedLeakage(higher_is_better=True)
    null, gain = generator.normal(12, 1.5, images), generator.gamma(9, 1, images)
    attack = null + 0.4 * gain + generator.normal(0, 4.5, images)
    metric.update(*(torch.from_numpy(values) for values in (attack, null, null + gain)))
    return metric, 0.4


def false_alarms(generator: np.random.Generator, images: int, draws: int) -> float:
    """How often two defenses that do the same differ with p <= 0.05."""
    found = 0
    for _ in range(draws):
        metric = PairedDifference()
        a, b = generator.normal(20, 1.5, (2, images))
        metric.update(torch.arange(images), a=torch.from_numpy(a), b=torch.from_numpy(b))
        found += metric.compute()["p_value"].item() <= 0.05
    return found / draws


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=1000)
    draws = parser.parse_args().draws
    generator = np.random.default_rng(0)
    print("images  statistic   holds the truth  median width")
    for images in (5, 10, 20, 50, 100):
        for make in (psnr, skewed, leakage):
            held, widths = [], []
            for _ in range(draws):
                metric, true = make(generator, images)
                found = {name: value.item() for name, value in metric.compute().items()}
                if "low" in found:
                    held.append(found["low"] <= true <= found["high"])
                    widths.append(found["high"] - found["low"])
            name = make.__name__
            print(f"{images:6d}  {name:10s}  {np.mean(held):15.3f}  {np.median(widths):12.2f}")
        rate = false_alarms(generator, images, draws // 5)
        print(f"{images:6d}  p <= 0.05 between equal defenses: {rate:.3f}", flush=True)


if __name__ == "__main__":
    main()
