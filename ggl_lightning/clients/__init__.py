"""Client models and the update they send."""

from ggl_lightning.clients.classifier_layer import ClassifierLayer, find_classifier_layer
from ggl_lightning.clients.resnet import ResNet18
from ggl_lightning.clients.update import Update, client_update

__all__ = ["ClassifierLayer", "ResNet18", "Update", "client_update", "find_classifier_layer"]
