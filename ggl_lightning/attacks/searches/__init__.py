"""Searches: what proposes candidates and learns from their losses."""

from ggl_lightning.attacks.searches.base import Search
from ggl_lightning.attacks.searches.nevergrad import NevergradSearch

__all__ = ["NevergradSearch", "Search"]
