"""Randomness that follows from one seed and leaves no trace."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from pytorch_lightning.utilities.seed import isolate_rng
from torch import Tensor

_PYTHON_STATE_VERSION = 3  # of `random.getstate`, since Python 3.2


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seeds Python's, NumPy's and torch's global generators, and puts them back afterwards.

    Args:
        seed: Not negative.
    """
    with isolate_rng():
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002 - libraries draw from the global generator
        torch.manual_seed(seed)
        yield


def torch_generator(*entropy: int) -> torch.Generator:
    """A CPU generator of a stream of its own: what others draw leaves it as it is.

    Args:
        entropy: Numbers that the stream belongs to, none of them negative.
    """
    state = np.random.SeedSequence(entropy).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))


def rng_state() -> dict[str, Tensor]:
    """The states of Python's, NumPy's and torch's global generators, as tensors.

    Of CUDA's generators it has the current device's, once CUDA is in use.
    """
    _, words, gauss = random.getstate()
    numpy_state = np.random.get_state(legacy=False)  # noqa: NPY002
    state = {
        "python": torch.from_numpy(
            np.array(words, dtype=np.int64)
        ),  # much faster than torch.tensor
        "python_gauss": torch.tensor([] if gauss is None else [gauss], dtype=torch.float64),
        "numpy": torch.from_numpy(numpy_state["state"]["key"].astype(np.int64)),
        "numpy_position": torch.tensor([numpy_state["state"]["pos"], numpy_state["has_gauss"]]),
        "numpy_gauss": torch.tensor(numpy_state["gauss"], dtype=torch.float64),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_rng_state(state: Mapping[str, Tensor]) -> None:
    """Puts the global generators into a state that `rng_state` returned."""
    gauss = state["python_gauss"].tolist()
    random.setstate(
        (_PYTHON_STATE_VERSION, tuple(state["python"].tolist()), gauss[0] if gauss else None)
    )
    position, has_gauss = state["numpy_position"].tolist()
    np.random.set_state(  # noqa: NPY002
        (
            "MT19937",
            state["numpy"].numpy().astype(np.uint32),
            position,
            has_gauss,
            state["numpy_gauss"].item(),
        )
    )
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
