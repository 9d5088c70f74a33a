"""Sign compression: one bit an entry."""

from __future__ import annotations

from torch import Tensor

from ggl_lightning.clients import ClassifierLayer, Update
from ggl_lightning.defenses.base import ClientSide, Defense, TensorwiseAdaptation


def straight_through(value: Tensor, source: Tensor) -> Tensor:
    """``value``, with the gradient of ``source``.

    For steps, whose own gradient is zero almost everywhere (Bengio et al. 2013, arXiv 1308.3432).
    """
    return value.detach() + (source - source.detach())


class Sign(Defense):
    """Sends the sign of every entry: -1, 0 or 1 (signSGD: Bernstein et al., ICML 2018)."""

    @property
    def adds_noise(self) -> bool:
        """No."""
        return False

    def __call__(self, update: Update, client: ClientSide) -> Update:
        """Returns the signs, in the update's own dtype."""
        return [tensor.sign() for tensor in update]

    def adapt(self, received: Update, classifier: ClassifierLayer) -> TakeSign:
        """The attacker compares signs with signs; there is no parameter to estimate."""
        return TakeSign()


class TakeSign(TensorwiseAdaptation):
    """Takes the sign of a candidate's update; gradients pass straight through."""

    def __init__(self) -> None:
        self.estimate = {}

    def adapt_tensor(self, tensor: Tensor, index: int) -> Tensor:
        """Returns the signs."""
        return straight_through(tensor.sign(), tensor)
