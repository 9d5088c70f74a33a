"""MSE-R and RMSE-R: distance of reconstruction and private image in the client's features."""

from __future__ import annotations

from torch import Tensor

from ggl_lightning.metrics.client_features import ClientFeatureDistance


class RepresentationMSE(ClientFeatureDistance):
    """Mean squared difference of the input of the client model's last layer.

    Per image ``(1/F) sum_f (r_f(reconstruction) - r_f(private image))^2`` over the ``F`` features
    ``r`` that the last layer gets, then the mean over images: at least 0, in squared units of
    features. This is the "MSE-R" of the GGL paper's tables (Li et al. 2022, arXiv 2203.15696),
    which the published code logs as "RMSE" although it takes no root. Values compare only between
    audits of one client model.
    """

    def distance(self, found: tuple[Tensor, Tensor], private: tuple[Tensor, Tensor]) -> Tensor:
        """See `ClientFeatureDistance.distance`."""
        return (found[0] - private[0]).square().mean(dim=1)


class RepresentationRMSE(RepresentationMSE):
    """The root of each image's `RepresentationMSE`, then the mean over images.

    In units of features, and what the name "RMSE-R" says; square one image's value to compare it
    with the published tables.
    """

    def distance(self, found: tuple[Tensor, Tensor], private: tuple[Tensor, Tensor]) -> Tensor:
        """See `ClientFeatureDistance.distance`."""
        return super().distance(found, private).sqrt()
