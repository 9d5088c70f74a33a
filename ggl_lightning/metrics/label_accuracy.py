"""Share of a client's labels that the attacker inferred."""

from __future__ import annotations

import torch
from torch import Tensor

from ggl_lightning.metrics.mean_over_images import MeanOverImages


class InferredLabelAccuracy(MeanOverImages):
    """Share of private labels that were inferred: 0 to 1.

    Labels of a batch are inferred without their order, so each client's labels are compared as a
    multiset: of every class, as many count as right as are both inferred and true. With one image
    that is whether the two labels are equal.
    """

    higher_is_better = True

    def update(self, inferred: Tensor, true: Tensor) -> None:
        """Adds one client's labels.

        Args:
            inferred: What the attacker inferred, ``(N,)``, int64.
            true: The private labels, ``(N,)``, int64, in any order.

        Raises:
            ValueError: If there are not as many of one as of the other.
        """
        if inferred.shape != true.shape or inferred.dim() != 1:
            raise ValueError(
                f"inferred and true labels have shapes {tuple(inferred.shape)} and "
                f"{tuple(true.shape)}: expected (N,) twice."
            )
        classes = torch.cat([inferred, true]).unique()
        counts = [(labels[:, None] == classes).sum(dim=0) for labels in (inferred, true)]
        self.total += torch.minimum(*counts).sum()
        self.images += len(true)
