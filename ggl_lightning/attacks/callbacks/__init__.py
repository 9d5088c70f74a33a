"""Callbacks around a search: progress, TensorBoard, time limit."""

from ggl_lightning.attacks.callbacks.base import SearchCallback, SearchHost
from ggl_lightning.attacks.callbacks.progress import SearchProgressBar
from ggl_lightning.attacks.callbacks.tensorboard import SearchTensorBoard
from ggl_lightning.attacks.callbacks.time_limit import SearchTimeLimit

__all__ = [
    "SearchCallback",
    "SearchHost",
    "SearchProgressBar",
    "SearchTensorBoard",
    "SearchTimeLimit",
]
