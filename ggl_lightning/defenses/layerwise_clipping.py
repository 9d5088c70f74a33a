"""Layer-wise clipping: every tensor of the update is scaled down to a bounded norm."""

from __future__ import annotations

from torch import Tensor

from ggl_lightning.clients import ClassifierLayer, Update
from ggl_lightning.defenses.base import ClientSide, Defense, TensorwiseAdaptation
from ggl_lightning.defenses.clipping import clip_factor, factor_down_to, tensor_norm
from ggl_lightning.errors import check_positive


class LayerwiseClipping(Defense):
    """Scales each tensor by its own ``min(1, bound / (||tensor||_2 + 1e-6))``.

    Clipping as the text of Li et al. 2022 describes it; their published code scales the whole
    update by one factor, which is `Clipping`.

    Args:
        bound: The largest norm of a tensor that is sent.

    Raises:
        UserError: If ``bound`` is not a positive number.
    """

    def __init__(self, bound: float = 4.0) -> None:
        check_positive("bound of the layer-wise clipping defense", bound)
        self.bound = bound

    @property
    def hides_scale(self) -> bool:
        """True: an update is scaled by what its norm is above the bound."""
        return True

    @property
    def adds_noise(self) -> bool:
        """No."""
        return False

    def norm_bound(self, before: float | None) -> float | None:
        """That of what it is given: no tensor becomes longer."""
        return before

    def __call__(self, update: Update, client: ClientSide) -> Update:
        """Returns the update with each tensor scaled down if its norm is above the bound."""
        return [tensor * clip_factor(tensor_norm(tensor), self.bound) for tensor in update]

    def adapt(self, received: Update, classifier: ClassifierLayer) -> ClipToNorms:
        """The attacker takes the norm it received for the bound, tensor by tensor."""
        return ClipToNorms([tensor_norm(tensor).item() for tensor in received])


class ClipToNorms(TensorwiseAdaptation):
    """Scales each tensor of a candidate's update down to the norm that the received one had.

    Args:
        norms: The norm of each tensor; the largest is the estimate of the common bound.
    """

    only_scales = True

    def __init__(self, norms: list[float]) -> None:
        self.norms = norms
        self.estimate = {"bound": max(norms)}

    def adapt_tensor(self, tensor: Tensor, index: int) -> Tensor:
        """Returns the tensor, scaled down if its norm is above the received one's."""
        return tensor * factor_down_to(tensor_norm(tensor), self.norms[index])
