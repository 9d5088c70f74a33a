"""Recorded updates: what a real system's client sent, their files, and recorders for such systems.

Nothing here needs more than PyTorch and safetensors, so that it runs inside the systems whose
updates it records. The recorders for Flower and NVFlare are in modules of their own, which import
these packages: `ggl_lightning.updates.flower` and `ggl_lightning.updates.nvflare`.
"""

from ggl_lightning.updates.conversions import (
    gradient_sum,
    mean_gradient,
    one_step_difference,
    weights_after,
)
from ggl_lightning.updates.fit import fit_to_model, restore
from ggl_lightning.updates.record import Kind, Mode, Recording, UpdateRecord, hash_by_name
from ggl_lightning.updates.recorder import record_gradient, record_update
from ggl_lightning.updates.recording_file import read_recording, write_recording

__all__ = [
    "Kind",
    "Mode",
    "Recording",
    "UpdateRecord",
    "fit_to_model",
    "gradient_sum",
    "hash_by_name",
    "mean_gradient",
    "one_step_difference",
    "read_recording",
    "record_gradient",
    "record_update",
    "restore",
    "weights_after",
    "write_recording",
]
