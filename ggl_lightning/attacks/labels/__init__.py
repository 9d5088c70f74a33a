"""Labels read off an update, one rule per file."""

from ggl_lightning.attacks.labels.infer import infer_labels
from ggl_lightning.attacks.labels.inferred import FROZEN_LAST_LAYER, InferredLabels

__all__ = ["FROZEN_LAST_LAYER", "InferredLabels", "infer_labels"]
