"""FMSE: how differently the client model classifies reconstruction and private image."""

from __future__ import annotations

from torch import Tensor

from ggl_lightning.metrics.client_features import ClientFeatureDistance


class FeatureMSE(ClientFeatureDistance):
    """Mean squared difference of the client model's logits.

    Per image ``(1/K) sum_k (f_k(reconstruction) - f_k(private image))^2`` over the ``K`` logits
    ``f``, then the mean over images: at least 0, in squared units of logits. The "FMSE" of Geiping
    et al. 2020 (arXiv 2003.14053) and of the published GGL code. Values compare only between
    audits of one client model.
    """

    def distance(self, found: tuple[Tensor, Tensor], private: tuple[Tensor, Tensor]) -> Tensor:
        """See `ClientFeatureDistance.distance`."""
        return (found[1] - private[1]).square().mean(dim=1)
