"""Independent streams of random numbers: what one draws leaves the others as they are."""

from __future__ import annotations

import numpy as np
import torch

IMAGES, PARTITION, SAMPLING, DEFENSE = range(4)


def stream(*entropy: int) -> np.random.Generator:
    """A generator that belongs to these numbers, the first of which names the stream.

    Args:
        entropy: None of them negative.
    """
    return np.random.default_rng(entropy)


def torch_stream(*entropy: int) -> torch.Generator:
    """The same as a CPU generator of torch's."""
    state = np.random.SeedSequence(entropy).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))
