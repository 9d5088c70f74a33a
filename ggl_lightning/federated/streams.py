"""Independent streams of random numbers: what one draws leaves the others as they are."""

from __future__ import annotations

import numpy as np

IMAGES, PARTITION, SAMPLING, DEFENSE, ORDER = range(5)


def stream(*entropy: int) -> np.random.Generator:
    """A generator that belongs to these numbers, the first of which names the stream.

    Args:
        entropy: None of them negative.
    """
    return np.random.default_rng(entropy)
