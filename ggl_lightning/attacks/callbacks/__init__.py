"""Callbacks around a search: progress, TensorBoard, snapshots, time limit."""

from ggl_lightning.attacks.callbacks.base import SearchCallback, SearchHost
from ggl_lightning.attacks.callbacks.progress import SearchProgressBar
from ggl_lightning.attacks.callbacks.snapshots import SearchSnapshots, kept_trials
from ggl_lightning.attacks.callbacks.tensorboard import SearchTensorBoard
from ggl_lightning.attacks.callbacks.time_limit import SearchTimeLimit

__all__ = [
    "SearchCallback",
    "SearchHost",
    "SearchProgressBar",
    "SearchSnapshots",
    "SearchTensorBoard",
    "SearchTimeLimit",
    "kept_trials",
]
