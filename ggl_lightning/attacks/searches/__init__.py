"""Searches: what proposes candidates and learns from their losses.

`ggl_lightning.attacks.searches.turbo.TuRBOSearch` is not imported here: BoTorch takes seconds to
load, which only those who use it should wait for.
"""

from ggl_lightning.attacks.searches.adam import AdamSearch, Schedule
from ggl_lightning.attacks.searches.base import NotRepeatableError, Search
from ggl_lightning.attacks.searches.lbfgs import LBFGSSearch
from ggl_lightning.attacks.searches.nevergrad import NevergradSearch
from ggl_lightning.attacks.searches.refined import RefinedSearch

__all__ = [
    "AdamSearch",
    "LBFGSSearch",
    "NevergradSearch",
    "NotRepeatableError",
    "RefinedSearch",
    "Schedule",
    "Search",
]
