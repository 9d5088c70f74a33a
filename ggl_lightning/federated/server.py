"""What the server does with the average of the updates it received."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable

import torch
from torch import nn

from ggl_lightning.errors import UserError, check_positive


class ServerOptimizer(ABC):
    """The server's optimiser, which takes the average of the clients' updates for a gradient.

    Its public attributes are its parameters: they identify it in results.
    """

    @abstractmethod
    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimiser of one training.

        Args:
            parameters: The parameters of the server's model.
        """


class ServerSGD(ServerOptimizer):
    """Subtracts ``learning_rate`` times the average (FedAvg; McMahan et al. 2017).

    Updates of local SGD are sums of gradients, so that clients' weights are averaged exactly if
    ``learning_rate`` is that of the local steps. With ``momentum`` it is FedAvgM (Hsu et al. 2019,
    arXiv 1909.06335).

    Args:
        learning_rate: Step size.
        momentum: Share of the last step that is taken again, from 0 to below 1.

    Raises:
        UserError: If a number is out of its range.
    """

    def __init__(self, learning_rate: float = 0.01, momentum: float = 0.9) -> None:
        check_positive("learning_rate of the server", learning_rate)
        _check_share("momentum of the server", momentum)
        self.learning_rate = learning_rate
        self.momentum = momentum

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """See `ServerOptimizer.build`."""
        return torch.optim.SGD(parameters, lr=self.learning_rate, momentum=self.momentum)


class ServerAdam(ServerOptimizer):
    """Adam on the average (FedAdam; Reddi et al. 2021, "Adaptive federated optimization").

    Its steps do not depend on the scale of the updates, so one learning rate serves defenses that
    shrink updates and defenses that send signs.

    Args:
        learning_rate: Step size.
        beta1: Decay of the running mean of the averages, from 0 to below 1.
        beta2: Decay of the running mean of their squares, likewise.

    Raises:
        UserError: If a number is out of its range.
    """

    def __init__(
        self, learning_rate: float = 0.001, beta1: float = 0.9, beta2: float = 0.999
    ) -> None:
        check_positive("learning_rate of the server", learning_rate)
        _check_share("beta1 of the server", beta1)
        _check_share("beta2 of the server", beta2)
        self.learning_rate = learning_rate
        self.beta1 = beta1
        self.beta2 = beta2

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """See `ServerOptimizer.build`."""
        return torch.optim.Adam(parameters, lr=self.learning_rate, betas=(self.beta1, self.beta2))


def _check_share(name: str, value: float) -> None:
    if not 0 <= value < 1:
        raise UserError(f"{name} is {value}: it must be a number from 0 to below 1.")
