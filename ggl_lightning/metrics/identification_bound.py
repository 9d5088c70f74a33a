"""How often any attacker can name an image at most, by the noise in what was sent."""

from __future__ import annotations

from ggl_lightning.errors import check_positive


def identification_bound(noise_multiplier: float, decoys: int, k: int = 1) -> float:
    """The largest rate at which a private image is among ``k`` that an attacker names.

    One of ``m = decoys + 1`` images, each as likely as any other, made what was sent: ``f_i + n``
    with ``||f_i|| <= C`` and ``n ~ N(0, (z C)^2)`` in every entry, ``z`` being the noise
    multiplier. No attacker does better than ``Phi(Phi^-1(k / m) + 1 / z)``, whatever it knows of
    the images (reconstruction robustness: Hayes et al. 2023, arXiv 2302.07225, theorem 2 and
    corollary 4 for a uniform prior).

    Derivation, since ``1 / z`` or ``2 / z`` depends on what neighbours are. Let ``A_i`` be the
    event that image ``i`` is named, ``P_i = N(f_i, (z C)^2)``, and ``Q = N(0, (z C)^2)``, which is
    sent by nobody. By Neyman and Pearson ``P_i(A_i) <= B(Q(A_i))`` with ``B(q) = Phi(Phi^-1(q) +
    ||f_i|| / (z C)) <= Phi(Phi^-1(q) + 1 / z)``, for any event. The success is the mean over ``i``
    of ``P_i(A_i)``; ``B`` is concave, and the ``Q(A_i)`` sum to ``k``, as ``k`` images are named:
    by Jensen it is at most ``B(k / m)``. Each image is compared with one fixed distribution, which
    is at most ``C`` away, so the adjacency is adding or removing an image (``1 / z``), though two
    images may be ``2 C`` apart: replacement (``2 / z``) would be true too, but loose. For two
    images at opposite ends, ``f = -C`` and ``C``, the matched filter reaches ``Phi(1 / z)``, which
    is the bound. Among more it cannot be reached, since no set of ``f_i`` makes all events
    half-spaces.

    Of DP-SGD with several images ``f_i`` is what one adds to the sum; the others may be known.

    Args:
        noise_multiplier: Standard deviation of the noise over the largest norm under it, ``z``.
        decoys: Images beside the private one, ``m - 1``.
        k: How many images the attacker may name.

    Returns:
        From ``k / m``, chance, to 1.

    Raises:
        UserError: If a number is not positive.
    """
    # Only here: importing it takes a second.
    from scipy.special import ndtr, ndtri

    check_positive("noise_multiplier", noise_multiplier)
    check_positive("decoys", decoys)
    check_positive("k", k)
    chance = k / (decoys + 1)
    return 1.0 if chance >= 1 else float(ndtr(ndtri(chance) + 1 / noise_multiplier))
