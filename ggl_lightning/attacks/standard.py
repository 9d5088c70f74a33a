"""The attacks that are tried where none are named."""

from __future__ import annotations

from ggl_lightning.attacks.analytic import FirstLinearInversion
from ggl_lightning.attacks.attack import GenerativeGradientLeakage
from ggl_lightning.attacks.base import Attack
from ggl_lightning.attacks.searches import NevergradSearch

BUDGET = 500
"""Rounds of the search: the published number (Li et al. 2022)."""


def standard_attacks(budget: int | None = None) -> dict[str, Attack]:
    """The attacks under the name ``standard``, cheap ones first.

    Args:
        budget: Rounds of the search; `BUDGET` if None.

    Returns:
        By name: ``linear``, exact where a first linear layer gives its input away, and ``ggl``,
        CMA-ES over the prior's latents with the published settings, which knows which kind of
        defense was used. Those that do not fit a client model are to be left out.
    """
    return {
        "linear": FirstLinearInversion(),
        "ggl": GenerativeGradientLeakage(
            NevergradSearch(), budget=BUDGET if budget is None else budget, adaptive=True
        ),
    }
