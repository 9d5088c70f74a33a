"""Uniform quantisation: a few bits an entry, and one scale a tensor."""

from __future__ import annotations

import torch
from torch import Tensor

from ggl_lightning.clients import ClassifierLayer, Update
from ggl_lightning.defenses.base import (
    Adaptation,
    ClientSide,
    Defense,
    TensorwiseAdaptation,
    Unchanged,
)
from ggl_lightning.defenses.sign import straight_through
from ggl_lightning.errors import UserError

_BITS = range(2, 17)


class Quantization(Defense):
    """Rounds every entry to one of ``2^bits - 1`` evenly spaced levels.

    The levels of a tensor are ``n / L * scale`` with ``L = 2^(bits - 1) - 1``, whole ``n`` from
    ``-L`` to ``L``, and ``scale`` the largest magnitude in it. Zero is a level, and so are the
    largest entries. With ``stochastic`` this is QSGD (Alistarh et al., NeurIPS 2017) at
    the scale of the largest entry instead of the norm.

    Args:
        bits: Bits an entry, from 2 to 16. For one bit there is `Sign`.
        stochastic: False rounds to the nearest level. True rounds up or down at random, with the
            probabilities that leave every entry unbiased.

    Raises:
        UserError: If ``bits`` is outside that range.
    """

    def __init__(self, bits: int = 8, stochastic: bool = False) -> None:
        if bits not in _BITS:
            raise UserError(
                f"bits of the quantization defense is {bits}: it must be a whole number from "
                f"{_BITS[0]} to {_BITS[-1]} (for one bit, use the Sign defense)."
            )
        self.bits = bits
        self.stochastic = stochastic

    def __call__(self, update: Update, client: ClientSide) -> Update:
        """Returns the rounded update; random numbers are drawn on the CPU, as for `Noise`."""
        if not self.stochastic:
            return [quantize(tensor, self.bits) for tensor in update]
        return [_quantize_at_random(tensor, self.bits, client.generator) for tensor in update]

    def adapt(self, received: Update, classifier: ClassifierLayer) -> Adaptation:
        """The attacker reads the number of bits off the received levels.

        Under stochastic rounding the estimate is only reported: what is expected of a candidate's
        rounded update is that update itself, and rounding it at random would scramble the ranking
        as fresh noise would.
        """
        bits = estimate_bits(received)
        return Unchanged({"bits": float(bits)}) if self.stochastic else RoundToLevels(bits)


class RoundToLevels(TensorwiseAdaptation):
    """Rounds a candidate's update to the nearest levels; gradients pass straight through.

    Args:
        bits: Bits an entry.
    """

    def __init__(self, bits: int) -> None:
        self._bits = bits
        self.estimate = {"bits": float(bits)}

    def adapt_tensor(self, tensor: Tensor, index: int) -> Tensor:
        """Returns the rounded tensor, at the candidate's own scale."""
        return straight_through(quantize(tensor, self._bits), tensor)


def quantize(tensor: Tensor, bits: int) -> Tensor:
    """Rounds each entry to the nearest level; see `Quantization`. Idempotent, to the last bit."""
    positions, scale = _positions(tensor, bits)
    return _values(positions.round(), scale, bits)


def estimate_bits(received: Update) -> int:
    """The fewest bits whose levels are the only ones that occur in an update.

    Counting distinct levels would say too little: of an 8-bit gradient few of the outer levels
    occur. Instead, the received update is quantised again with more and more bits until that
    leaves it as it is, to within the rounding of a later rescaling.

    Args:
        received: The received update.

    Returns:
        From 2 to 16; 16 if no number of bits fits, as after added noise.
    """
    return next((bits for bits in _BITS if _is_quantized(received, bits)), _BITS[-1])


def _is_quantized(update: Update, bits: int) -> bool:
    return all(
        bool((quantize(tensor, bits) - tensor).abs().max() <= _tolerance(tensor))
        for tensor in update
    )


def _tolerance(tensor: Tensor) -> Tensor:
    return 4 * torch.finfo(tensor.dtype).eps * tensor.abs().max()


def _positions(tensor: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Where entries lie between the levels, from ``-L`` to ``L``, and the tensor's scale."""
    tensor = tensor.detach()
    scale = tensor.abs().max()
    scale = torch.where(scale > 0, scale, 1)  # a zero tensor stays one
    return tensor / scale * _levels(bits), scale


def _values(positions: Tensor, scale: Tensor, bits: int) -> Tensor:
    # Divided first: the outermost level is then the scale itself, and quantising twice is exact.
    return positions / _levels(bits) * scale


def _levels(bits: int) -> int:
    return 2 ** (bits - 1) - 1


def _quantize_at_random(tensor: Tensor, bits: int, generator: torch.Generator) -> Tensor:
    positions, scale = _positions(tensor, bits)
    lower = positions.floor()
    draw = torch.rand(tensor.shape, generator=generator, dtype=tensor.dtype).to(tensor.device)
    return _values(lower + (draw < positions - lower), scale, bits)
