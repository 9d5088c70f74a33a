"""Defenses: what a client does to its update before sending it. One file each."""

from ggl_lightning.defenses.base import Adaptation, ClientSide, Defense
from ggl_lightning.defenses.noise import Noise
from ggl_lightning.defenses.none import NoDefense

__all__ = ["Adaptation", "ClientSide", "Defense", "NoDefense", "Noise"]
