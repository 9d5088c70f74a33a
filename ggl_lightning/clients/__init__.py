"""Client models, their training and the update they send."""

from ggl_lightning.clients.classifier_layer import ClassifierLayer, find_classifier_layer
from ggl_lightning.clients.convnet import ConvNet
from ggl_lightning.clients.lenet import LeNet
from ggl_lightning.clients.mlp import MLP
from ggl_lightning.clients.resnet import ResNet18
from ggl_lightning.clients.torchvision_model import TorchvisionClassifier
from ggl_lightning.clients.trained import ClientMetadata, load_trained_client
from ggl_lightning.clients.trained_classifier import TrainedClassifier
from ggl_lightning.clients.update import (
    GradientUpdate,
    LocalSGDUpdate,
    Update,
    UpdateRule,
    client_update,
    gradients_of,
    trainable_parameters,
)

__all__ = [
    "MLP",
    "ClassifierLayer",
    "ClientMetadata",
    "ConvNet",
    "GradientUpdate",
    "LeNet",
    "LocalSGDUpdate",
    "ResNet18",
    "TorchvisionClassifier",
    "TrainedClassifier",
    "Update",
    "UpdateRule",
    "client_update",
    "find_classifier_layer",
    "gradients_of",
    "load_trained_client",
    "trainable_parameters",
]
