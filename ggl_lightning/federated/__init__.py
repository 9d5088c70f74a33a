"""Federated training of the client model under a defense: what the defense costs."""

from ggl_lightning.federated.images import FederatedImages, LabelledImages
from ggl_lightning.federated.partition import DirichletPartition, IIDPartition, Partition
from ggl_lightning.federated.result import FederatedResult
from ggl_lightning.federated.server import ServerAdam, ServerOptimizer, ServerSGD
from ggl_lightning.federated.training import FederatedTraining

__all__ = [
    "DirichletPartition",
    "FederatedImages",
    "FederatedResult",
    "FederatedTraining",
    "IIDPartition",
    "LabelledImages",
    "Partition",
    "ServerAdam",
    "ServerOptimizer",
    "ServerSGD",
]
