"""Total variation of reconstruction and private image: how smooth each of them is."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torchmetrics.image import TotalVariation


class ReconstructionTV(TotalVariation):
    """Total variation of the reconstructions, the mean over images.

    Per image the sum, over channels and pixels, of the absolute differences between vertical and
    between horizontal neighbours (anisotropic; torchmetrics): at least 0, in units of ``[-1, 1]``.
    The published code takes means instead of sums; for square images of size ``S`` its value is
    this one divided by ``3 S (S - 1)``.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(reduction="mean", **kwargs)

    # torchmetrics types `update` for one image batch; a collection gives every metric both.
    def update(self, preds: Tensor, target: Tensor) -> None:  # type: ignore[override]
        """Adds images.

        Args:
            preds: Reconstructions ``(N, 3, H, W)`` in ``[-1, 1]``.
            target: Their private images; not used.
        """
        super().update(preds)


class PrivateTV(TotalVariation):
    """Total variation of the private images: `ReconstructionTV` of ``target``."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(reduction="mean", **kwargs)

    def update(self, preds: Tensor, target: Tensor) -> None:  # type: ignore[override]
        """Adds images.

        Args:
            preds: Reconstructions; not used.
            target: Their private images ``(N, 3, H, W)`` in ``[-1, 1]``.
        """
        super().update(target)
