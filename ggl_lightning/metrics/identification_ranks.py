"""Which rank a private image has among decoys, by distance from its reconstruction."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch import Tensor, nn

from ggl_lightning.metrics.client_features import client_features

_VALUES_AT_A_TIME = 2**23  # of decoys that are compared: some 100 MB of temporaries
_ROUNDING = 1e-9  # relative; sums of equal numbers may round differently
_SCORE_ROUNDING = 1e-6  # relative; scores come from passes in single precision
_UNITS = 32
"""Of the last place of a vector's norm, by which features of one image differ at most if they were
computed in batches of other sizes: measured are 4."""

Features = Callable[[Tensor], Tensor]
"""From images ``(N, 3, H, W)`` in ``[-1, 1]`` to ``(N, F)``."""


def identification_ranks(
    reconstructions: Tensor,
    private: Tensor,
    decoys: Tensor | Iterable[Tensor],
    features: Features | None = None,
    computed: bool | None = None,
) -> Tensor:
    """Ranks each private image among decoys by mean squared distance from its reconstruction.

    Rank 1 says that the private image is the reconstruction's nearest neighbour. Ties count against
    the attacker: a decoy as near as the private image, or at a distance that is not a number,
    stands before it. So does one that is farther by no more than rounding: what is computed of one
    image differs with the size of the batch by some units in the last place of its norm. An
    attacker who always answers with the same grey image gains nothing.

    Memory is bounded, whatever the number of decoys: they are compared in parts, and may come in
    parts too.

    Args:
        reconstructions: ``(N, 3, H, W)`` in ``[-1, 1]``.
        private: Their private images, likewise.
        decoys: Other images of the private image's class ``(M, 3, H, W)``, or batches of them; none
            of them a private image. Each reconstruction is compared with all.
        features: What is compared, such as `representation_of`; the pixels themselves if None.
        computed: Whether what is compared was computed, hence rounded: by default if there are
            ``features``; true if features are given in the place of images.

    Returns:
        Ranks from 1 to ``M + 1``, ``(N,)``, int64, on the CPU.

    Raises:
        ValueError: If shapes differ.
    """
    if reconstructions.shape != private.shape or reconstructions.dim() < 2:
        raise ValueError(
            f"reconstructions are {tuple(reconstructions.shape)} and private images "
            f"{tuple(private.shape)}: expected (N, 3, H, W) twice."
        )
    found = _flat(reconstructions, features)
    own = _flat(private, features)
    own_distances = torch.stack([_distances(a, b[None]) for a, b in zip(found, own, strict=True)])
    rounded = features is not None if computed is None else computed
    nearer = torch.zeros(len(found), dtype=torch.int64)
    for part in _parts(decoys, max(1, _VALUES_AT_A_TIME // reconstructions[0].numel())):
        if part.shape[1:] != private.shape[1:]:
            raise ValueError(f"decoys are {tuple(part.shape)}: expected (M, *{private.shape[1:]}).")
        others = _flat(part.to(private.device), features)
        for i, one in enumerate(found):
            distances = _distances(one, others)
            # Not "nearer or equal", which NaN never is.
            beaten = distances > own_distances[i] * (1 + _ROUNDING)
            if rounded:
                farther = distances.sqrt() - own_distances[i].sqrt()
                beaten &= farther > _slack(own[i], others)
            nearer[i] += int((~beaten).sum())
    return nearer + 1


def rank_of_first(scores: Tensor) -> int:
    """The rank of the first image of a lineup by given scores, the lowest of the likeliest.

    Ties count against the attacker, as in `identification_ranks`; so does a score that is not a
    number, and one that is worse by no more than rounding.

    Args:
        scores: ``(M + 1,)``: of the private image, then of its decoys.

    Returns:
        From 1 to ``M + 1``.
    """
    values = scores.detach().double().flatten()
    own, others = values[0], values[1:]
    beaten = others - own > _SCORE_ROUNDING * (own.abs() + others.abs())
    return int((~beaten).sum()) + 1


def tells_apart(private: Tensor, decoys: Tensor) -> bool:
    """Whether features of a private image differ from any decoy's by more than rounding.

    Args:
        private: Its features ``(1, F)``.
        decoys: Theirs ``(M, F)``.
    """
    one, others = _flat(private, None), _flat(decoys, None)
    return bool((_distances(one[0], others).sqrt() > _slack(one[0], others)).any())


def representation_of(client_model: nn.Module, last_layer: nn.Linear) -> Features:
    """What the client model makes of images: the input of its last layer.

    Args:
        client_model: The client model, in eval mode.
        last_layer: Its layer that outputs the logits.

    Returns:
        A function from images ``(N, 3, H, W)`` in ``[-1, 1]`` to ``(N, F)``.
    """
    return partial(_representation, client_model, last_layer)


def _representation(client_model: nn.Module, last_layer: nn.Linear, images: Tensor) -> Tensor:
    return client_features(client_model, last_layer, images)[0]


def _parts(decoys: Tensor | Iterable[Tensor], size: int) -> Iterable[Tensor]:
    for given in [decoys] if isinstance(decoys, Tensor) else decoys:
        yield from given.split(size)


def _flat(images: Tensor, features: Features | None) -> Tensor:
    values = (images if features is None else features(images)).detach().flatten(1)
    return values if values.dtype == torch.float64 else values.float()


def _slack(one: Tensor, others: Tensor) -> Tensor:
    """By how much rounding moves one and each of the others together, ``(M,)``."""
    norms = [torch.linalg.vector_norm(each, dim=-1, dtype=torch.float64) for each in (one, others)]
    return _UNITS * torch.finfo(others.dtype).eps * (norms[0] + norms[1])


def _distances(one: Tensor, others: Tensor) -> Tensor:
    """Squared distances of one from each, ``(M,)``, summed in float64."""
    return (others - one).square().sum(dim=1, dtype=torch.float64)
