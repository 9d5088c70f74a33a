"""Defenses as benchmarks' options name them: a word, and its strength where it has one."""

from __future__ import annotations

from collections.abc import Callable

from ggl_lightning.defenses import (
    DPSGD,
    Clipping,
    Compression,
    Defense,
    NoDefense,
    Noise,
    Quantization,
    Representation,
    Sign,
)

_LEAST, _MOST = 1e-3, 1e3  # noise multipliers, between which an epsilon's is sought


def dp_sgd(epsilon: float) -> DPSGD:
    """DP-SGD to norm 1 whose one update promises an epsilon at delta 1e-5, to 0.1%."""
    low, high = _LEAST, _MOST
    while high / low > 1.0005:
        middle = (low * high) ** 0.5
        if DPSGD(noise_multiplier=middle).guarantee()["epsilon"] > epsilon:
            low = middle
        else:
            high = middle
    return DPSGD(noise_multiplier=high)


_WITHOUT: dict[str, Callable[[], Defense]] = {"none": NoDefense, "sign": Sign}
_WITH: dict[str, Callable[[float], Defense]] = {
    "noise": Noise,
    "clipping": Clipping,
    "compression": Compression,
    "representation": Representation,
    "bits": lambda bits: Quantization(int(bits)),
    "epsilon": dp_sgd,
}

PUBLISHED = (
    *("none", "clipping 4", "noise 0.01", "noise 0.1", "compression 90", "representation 80"),
)
"""Those of the published audit (Li et al. 2022), and a tenth of its noise."""


def defense_named(name: str) -> Defense:
    """A defense by a name such as ``none``, ``noise 0.01`` or ``epsilon 10``.

    Args:
        name: ``none``, ``sign``; or with a number ``noise`` (standard deviation), ``clipping``
            (norm), ``compression`` and ``representation`` (percent that is pruned), ``bits`` (of
            an entry), ``epsilon`` (of one update by `dp_sgd`).

    Raises:
        ValueError: If there is no such defense.
    """
    word, _, strength = name.partition(" ")
    if word in _WITHOUT and not strength:
        return _WITHOUT[word]()
    if word in _WITH and strength:
        return _WITH[word](float(strength))
    known = [*_WITHOUT, *(f"'{each} NUMBER'" for each in _WITH)]
    raise ValueError(f"There is no defense {name!r}: name one of {', '.join(known)}.")
