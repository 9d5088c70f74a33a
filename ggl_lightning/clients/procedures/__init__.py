"""Procedures: how a client turns its private images into an update.

A procedure is a pure function of the client model's weights and buffers, the images, and an order
that holds every random choice. The client applies it to its private images; an attacker applies the
procedure that it believes in to its candidates, one by one or as a population.
"""

from ggl_lightning.clients.procedures.augmentation import (
    Augmentation,
    HorizontalFlip,
    Normalisation,
    PaddedCrop,
)
from ggl_lightning.clients.procedures.base import ClientProcedure
from ggl_lightning.clients.procedures.gradient import PlainGradient
from ggl_lightning.clients.procedures.optimizer import (
    ClientAdam,
    ClientAdamW,
    ClientOptimizer,
    ClientSGD,
)
from ggl_lightning.clients.procedures.order import LocalStep, Order
from ggl_lightning.clients.procedures.population import PopulationUpdate, PopulationUpdates
from ggl_lightning.clients.procedures.schedule import (
    ConstantRate,
    CosineRate,
    ListedRates,
    Schedule,
    StepwiseRate,
    TorchRates,
)
from ggl_lightning.clients.procedures.state import ClientState, Mode
from ggl_lightning.clients.procedures.statistics import (
    BatchStatistics,
    RunningStatistics,
    batch_statistics,
    layer_statistics,
    sent_statistics,
    statistics_penalty,
)
from ggl_lightning.clients.procedures.training import LocalTraining
from ggl_lightning.clients.procedures.unknown_order import (
    first_order,
    mean_over_orders,
    sample_orders,
)
from ggl_lightning.clients.procedures.update import ClientUpdate, Kind

__all__ = [
    "Augmentation",
    "BatchStatistics",
    "ClientAdam",
    "ClientAdamW",
    "ClientOptimizer",
    "ClientProcedure",
    "ClientSGD",
    "ClientState",
    "ClientUpdate",
    "ConstantRate",
    "CosineRate",
    "HorizontalFlip",
    "Kind",
    "ListedRates",
    "LocalStep",
    "LocalTraining",
    "Mode",
    "Normalisation",
    "Order",
    "PaddedCrop",
    "PlainGradient",
    "PopulationUpdate",
    "PopulationUpdates",
    "RunningStatistics",
    "Schedule",
    "StepwiseRate",
    "TorchRates",
    "batch_statistics",
    "first_order",
    "layer_statistics",
    "mean_over_orders",
    "sample_orders",
    "sent_statistics",
    "statistics_penalty",
]
