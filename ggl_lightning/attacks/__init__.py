"""Attacks on updates: what an attacker may use, an objective, and the searches that minimise it."""

from ggl_lightning.attacks.analytic import FirstLinearInversion
from ggl_lightning.attacks.attack import GenerativeGradientLeakage
from ggl_lightning.attacks.base import Attack, Finding, Progress, Target
from ggl_lightning.attacks.inversion import GradientInversion
from ggl_lightning.attacks.learned import LearnedInversion
from ggl_lightning.attacks.received import Received
from ggl_lightning.attacks.standard import StandardAttack
from ggl_lightning.attacks.update_matching import UpdateMatching
from ggl_lightning.attacks.warm_start import WarmStartedGGL

__all__ = [
    "Attack",
    "Finding",
    "FirstLinearInversion",
    "GenerativeGradientLeakage",
    "GradientInversion",
    "LearnedInversion",
    "Progress",
    "Received",
    "StandardAttack",
    "Target",
    "UpdateMatching",
    "WarmStartedGGL",
]
