"""Federated training of a client model whose clients defend every update they send."""

from __future__ import annotations

import copy
import time

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from tqdm import tqdm

from ggl_lightning.clients import (
    ClassifierLayer,
    GradientUpdate,
    Update,
    UpdateRule,
    find_classifier_layer,
)
from ggl_lightning.defenses import ClientSide, Defense
from ggl_lightning.errors import UserError, check_non_negative, check_positive
from ggl_lightning.federated.images import FederatedImages, LabelledImages, load_images
from ggl_lightning.federated.partition import IIDPartition, Partition
from ggl_lightning.federated.result import FederatedResult
from ggl_lightning.federated.server import ServerAdam, ServerOptimizer

_TEST_BATCH = 256

# Streams of randomness: what one draws leaves the others as they are.
_IMAGES, _PARTITION, _SAMPLING, _DEFENSE = range(4)


class FederatedTraining:
    """Trains a client model over federated rounds and measures its accuracy.

    In every round the server picks ``clients_per_round`` clients. Each takes
    ``images_per_client_update`` of its images, turns them into an update by the ``update_rule``,
    defends it exactly as in an audit, and sends it. The server averages what it received, weighted
    by the numbers of images, and gives the average to its optimiser in place of a gradient.

    The model stays in eval mode, as in an audit: the statistics of batch-norm are the initial
    model's throughout, and only parameters are trained.

    Two runs with one seed differ in nothing but what their defenses do: same images, shares,
    choice of clients and of their images, same initial weights, and generators of the same state
    for the defenses' noise.

    Public attributes are the parameters. The result follows from them, the defense and its
    parameters, the initial model, the images (`load`) and the seed of `run`.

    Args:
        rounds: Rounds of training.
        clients: Number of clients among whom the training images are dealt out.
        clients_per_round: Clients that send an update in a round.
        images_per_client_update: Images behind an update, drawn without replacement in every
            round; None takes all that the client has, and so does a client that has fewer.
        update_rule: How a client's images become an update; their gradient if None. Take the rule
            of the audit whose leakage is compared.
        server: The server's optimiser; `ServerAdam` if None.
        partition: How the images are dealt out; `IIDPartition` if None.
        train_images: Training images that are used, at most; None uses all. They are held in
            memory.
        test_images: Likewise, for the test.
        evaluate_every: Rounds between two measurements of accuracy; the last round is always
            measured.
        seed: Seeds the choice of images, which is the same in all runs.

    Raises:
        UserError: If a number is out of its range.
    """

    def __init__(
        self,
        rounds: int = 240,
        clients: int = 20,
        clients_per_round: int = 8,
        images_per_client_update: int | None = 8,
        update_rule: UpdateRule | None = None,
        server: ServerOptimizer | None = None,
        partition: Partition | None = None,
        train_images: int | None = 10000,
        test_images: int | None = 2000,
        evaluate_every: int = 20,
        seed: int = 0,
    ) -> None:
        check_positive("rounds of federated training", rounds)
        check_positive("clients of federated training", clients)
        check_positive("clients_per_round", clients_per_round)
        check_positive("evaluate_every of federated training", evaluate_every)
        check_non_negative("seed of federated training", seed)
        for name, count in (
            ("images_per_client_update", images_per_client_update),
            ("train_images", train_images),
            ("test_images", test_images),
        ):
            if count is not None:
                check_positive(name, count)
        if clients_per_round > clients:
            raise UserError(
                f"clients_per_round is {clients_per_round}, but there are only {clients} clients: "
                "lower it, or raise clients."
            )
        self.rounds = rounds
        self.clients = clients
        self.clients_per_round = clients_per_round
        self.images_per_client_update = images_per_client_update
        self.update_rule = GradientUpdate() if update_rule is None else update_rule
        self.server = ServerAdam() if server is None else server
        self.partition = IIDPartition() if partition is None else partition
        self.train_images = train_images
        self.test_images = test_images
        self.evaluate_every = evaluate_every
        self.seed = seed
        self._loaded: tuple[Dataset, Dataset, FederatedImages] | None = None

    def load(self, train: Dataset, test: Dataset) -> FederatedImages:
        """Chooses the images and reads them into memory; kept for the next call.

        Args:
            train: Has a length; item ``i`` is ``(image, label)``: float ``(3, H, W)`` in
                ``[-1, 1]``, and an int.
            test: Likewise.

        Raises:
            UserError: If a dataset is empty, or an image cannot be read.
        """
        if self._loaded is None or self._loaded[0] is not train or self._loaded[1] is not test:
            images = FederatedImages(
                load_images(train, self.train_images, _rng(self.seed, _IMAGES, 0), "train"),
                load_images(test, self.test_images, _rng(self.seed, _IMAGES, 1), "test"),
            )
            self._loaded = (train, test, images)
        return self._loaded[2]

    def run(
        self,
        model: nn.Module,
        train: Dataset,
        test: Dataset,
        defense: Defense,
        device: torch.device | str = "cpu",
        seed: int = 0,
    ) -> FederatedResult:
        """Trains a copy of a client model under a defense.

        Args:
            model: The initial client model; it stays as it is.
            train: The clients' images, see `load`.
            test: Others, to measure accuracy on.
            defense: What clients do to their updates.
            device: Where to train.
            seed: Seeds the partition, the choice of clients and images in every round, and the
                defense's noise; not negative.

        Returns:
            The outcome. A training whose weights, updates or logits are not finite any more has
            failed: it has no accuracy, but the reason in ``error``.

        Raises:
            UserError: If a dataset is empty, clients would hold no images, labels do not fit the
                model, or the defense refuses the updates.
        """
        check_non_negative("seed of the training", seed)
        images = self.load(train, test)
        started = time.perf_counter()
        federation = _Federation(self, model, images, defense, torch.device(device), seed)
        curve: list[tuple[int, float]] = []
        error = None
        try:
            curve.append((0, federation.accuracy()))
            progress = tqdm(
                range(1, self.rounds + 1),
                desc=f"training under {type(defense).__name__}",
                unit="round",
                leave=False,
                disable=None,
            )
            for number in progress:
                federation.round(number)
                if number % self.evaluate_every == 0 or number == self.rounds:
                    curve.append((number, federation.accuracy()))
        except _NotFiniteError as failure:
            error = str(failure)
        return FederatedResult(
            accuracy=curve[-1][1] if error is None else None,
            curve=curve,
            rounds=self.rounds,
            clients=self.clients,
            train_images=len(images.train),
            test_images=len(images.test),
            majority_share=images.test.majority_share(),
            seconds=time.perf_counter() - started,
            error=error,
        )


class _NotFiniteError(Exception):
    """The training has left the numbers; the message says where."""


class _Federation:
    """The server and its clients during one training."""

    def __init__(
        self,
        settings: FederatedTraining,
        model: nn.Module,
        images: FederatedImages,
        defense: Defense,
        device: torch.device,
        seed: int,
    ) -> None:
        self._settings = settings
        self._images = images
        self._defense = defense
        self._device = device
        self._seed = seed
        self._model = copy.deepcopy(model).to(device).eval()
        self._parameters = list(self._model.parameters())
        self._optimizer = settings.server.build(self._parameters)
        self._classifier = self._find_classifier()
        self._shares = self._deal_out()
        self._rounds = 0

    def round(self, number: int) -> None:
        """One round: chosen clients send defended updates, the server takes a step.

        Raises:
            _NotFiniteError: If the update or the weights are not finite.
        """
        self._rounds = number
        rng = _rng(self._seed, _SAMPLING, number)
        able = [client for client, share in enumerate(self._shares) if len(share)]
        count = min(self._settings.clients_per_round, len(able))
        chosen = {
            int(client): torch.from_numpy(self._choose_images(int(client), rng))
            for client in rng.choice(able, count, replace=False)
        }
        total = sum(len(indices) for indices in chosen.values())
        average = [torch.zeros_like(parameter) for parameter in self._parameters]
        for client, indices in chosen.items():
            update = self._defended_update(client, indices)
            for mean, tensor in zip(average, update, strict=True):
                mean += len(indices) / total * tensor
        self._check_finite("the average of the updates", average)
        for parameter, gradient in zip(self._parameters, average, strict=True):
            parameter.grad = gradient
        self._optimizer.step()
        self._check_finite("the weights", self._parameters)

    @torch.no_grad()
    def accuracy(self) -> float:
        """The share of test images that the model classifies right.

        Raises:
            _NotFiniteError: If its logits are not finite.
        """
        test = self._images.test
        right = 0
        for images, labels in zip(
            test.images.split(_TEST_BATCH), test.labels.split(_TEST_BATCH), strict=True
        ):
            logits = self._model(images.to(self._device))
            self._check_finite("the logits", [logits])
            right += int((logits.argmax(dim=1).cpu() == labels).sum())
        return right / len(test)

    def _defended_update(self, client: int, indices: Tensor) -> Update:
        images = self._images.train.images[indices].to(self._device)
        labels = self._images.train.labels[indices].to(self._device)
        side = ClientSide(
            model=self._model,
            images=images,
            labels=labels,
            classifier=self._classifier,
            generator=_generator(self._seed, _DEFENSE, self._rounds, client),
        )
        return self._defense(self._settings.update_rule(self._model, images, labels), side)

    def _choose_images(self, client: int, rng: np.random.Generator) -> np.ndarray:
        share = self._shares[client]
        wanted = self._settings.images_per_client_update
        if wanted is None or wanted >= len(share):
            return share
        return rng.choice(share, wanted, replace=False)

    def _deal_out(self) -> list[np.ndarray]:
        train, clients = self._images.train, self._settings.clients
        if len(train) < clients:
            raise UserError(
                f"{clients} clients cannot share {len(train)} training images: lower clients, or "
                "give more images."
            )
        return self._settings.partition(
            train.labels.numpy(), clients, _rng(self._seed, _PARTITION)
        )

    def _find_classifier(self) -> ClassifierLayer:
        classifier = find_classifier_layer(
            self._model, self._images.train.images[:1].to(self._device)
        )
        classes = classifier.layer.out_features
        for part in (self._images.train, self._images.test):
            low, high = int(part.labels.min()), int(part.labels.max())
            if low < 0 or high >= classes:
                raise UserError(
                    f"The images have labels from {low} to {high}, but the client model has "
                    f"{classes} classes, numbered from 0: set num_classes of the client model to "
                    "fit the images."
                )
        return classifier

    def _check_finite(self, what: str, tensors: list[Tensor]) -> None:
        if not all(bool(tensor.isfinite().all()) for tensor in tensors):
            raise _NotFiniteError(
                f"training diverged: {what} are not finite after round {self._rounds} of "
                f"{self._settings.rounds}"
            )


def _rng(*entropy: int) -> np.random.Generator:
    return np.random.default_rng(entropy)


def _generator(*entropy: int) -> torch.Generator:
    state = np.random.SeedSequence(entropy).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))
