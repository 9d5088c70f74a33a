"""A learnable task, a federation whose parts are given one by one, and defenses that look on."""

import copy

import torch
from torch.utils.data import TensorDataset

from ggl_lightning.defenses import Defense, NoDefense
from ggl_lightning.federated import FederatedImages, LabelledImages
from ggl_lightning.federated.federation import Federation
from ggl_lightning.federated.sampling import Sampling
from ggl_lightning.seeding import seeded
from tests.clients.tiny_task import bright_or_dark
from tests.tiny import TinyClient

TRAIN = bright_or_dark(96, 0)
TEST = bright_or_dark(100, 1)
SHORT = {
    "rounds": 3,
    "clients": 6,
    "clients_per_round": 3,
    "images_per_client_update": 4,
    "evaluate_every": 2,
}


def tiny_client(seed=0):
    with seeded(seed):
        return TinyClient().eval()


def labelled(dataset: TensorDataset) -> LabelledImages:
    return LabelledImages(*dataset.tensors)


def federation(model, shares, rule, server, images_per_update=None, defense=None, seed=0):
    """All clients take part in every round."""
    return Federation(
        model,
        FederatedImages(labelled(TRAIN), labelled(TEST)),
        Sampling(shares, len(shares), images_per_update, seed),
        rule,
        NoDefense() if defense is None else defense,
        server,
        seed,
    )


def weights(model):
    return [parameter.detach().clone() for parameter in model.parameters()]


class Onlooker(Defense):
    """Writes down what clients were given before another defense has its turn."""

    def __init__(self, inner: Defense) -> None:
        self.inner = inner
        self.seen: list[dict] = []

    def __call__(self, update, client):
        self.seen.append(
            {
                "update": [tensor.clone() for tensor in update],
                "images": client.images.clone(),
                "labels": client.labels.clone(),
                "noise": client.generator.initial_seed(),
                "model": copy.deepcopy(client.model.state_dict()),
                "eval": not client.model.training,
            }
        )
        sent = self.inner(update, client)
        self.seen[-1]["sent"] = [tensor.clone() for tensor in sent]
        return sent


class Broken(Defense):
    """Sends NaN from some call on."""

    def __init__(self, from_call: int) -> None:
        self._from_call = from_call
        self._calls = 0

    def __call__(self, update, client):
        self._calls += 1
        return [t * torch.nan for t in update] if self._calls >= self._from_call else update
