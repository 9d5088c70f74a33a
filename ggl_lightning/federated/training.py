"""Federated training of a client model whose clients defend every update they send."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from tqdm import tqdm

from ggl_lightning.clients.procedures import ClientProcedure
from ggl_lightning.clients.update import given_procedure
from ggl_lightning.defenses import Defense
from ggl_lightning.errors import UserError, check_non_negative, check_positive
from ggl_lightning.federated.federation import DivergedError, Federation
from ggl_lightning.federated.images import (
    FederatedImages,
    check_not_empty,
    choose_images,
    load_images,
)
from ggl_lightning.federated.partition import IIDPartition, Indices, Partition
from ggl_lightning.federated.result import FederatedResult
from ggl_lightning.federated.sampling import Sampling
from ggl_lightning.federated.server import ServerAdam, ServerOptimizer
from ggl_lightning.federated.streams import IMAGES, PARTITION, stream
from ggl_lightning.problems import Problems


class FederatedTraining:
    """Trains a client model over federated rounds and measures its accuracy.

    In every round the server picks ``clients_per_round`` clients. Each takes
    ``images_per_client_update`` of its images, turns them into an update by the ``procedure``,
    defends it exactly as in an audit, and sends it. The server averages what it received, weighted
    by the numbers of images, and gives the average to its optimiser in place of a gradient; of
    differences, their negative. Buffers, if clients send them, become their average.

    Where clients do not send buffers, the statistics of batch-norm are the initial model's
    throughout.

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
        procedure: How a client's images become an update; their gradient if None. Take that of
            the audit whose leakage is compared.
        server: The server's optimiser; `ServerAdam` if None.
        partition: How the images are dealt out; `IIDPartition` if None.
        train_images: Training images that are used, at most; None uses all. They are held in
            memory.
        test_images: Likewise, for the test.
        evaluate_every: Rounds between two measurements of accuracy; the last round is always
            measured.
        seed: Seeds the choice of images, which is the same in all runs.
        update_rule: The former name of ``procedure``.

    Raises:
        UserError: If a number is out of its range.
    """

    def __init__(
        self,
        rounds: int = 200,
        clients: int = 20,
        clients_per_round: int = 8,
        images_per_client_update: int | None = 8,
        procedure: ClientProcedure | None = None,
        server: ServerOptimizer | None = None,
        partition: Partition | None = None,
        train_images: int | None = 10000,
        test_images: int | None = 2000,
        evaluate_every: int = 20,
        seed: int = 0,
        update_rule: ClientProcedure | None = None,
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
        self.procedure = given_procedure(procedure, update_rule, "federated training")
        self.server = ServerAdam() if server is None else server
        self.partition = IIDPartition() if partition is None else partition
        self.train_images = train_images
        self.test_images = test_images
        self.evaluate_every = evaluate_every
        self.seed = seed
        self._loaded: tuple[Dataset, Dataset, FederatedImages] | None = None

    @property
    def cost(self) -> float:
        """What it costs, in forward and backward passes of one image."""
        images = self.images_per_client_update
        if images is None:
            images = max(1, (self.train_images or 10000) // self.clients)
        return float(self.rounds * self.clients_per_round * images)

    def choose(self, train_count: int, test_count: int) -> tuple[list[int], list[int]]:
        """Indices of the images that are read, of the clients' split and of the test's.

        Args:
            train_count: Images in the clients' split.
            test_count: Likewise, in the test's.
        """
        return (
            choose_images(train_count, self.train_images, stream(IMAGES, self.seed, 0)),
            choose_images(test_count, self.test_images, stream(IMAGES, self.seed, 1)),
        )

    def problems(self, train_labels: Tensor, test_labels: Tensor, seed: int = 0) -> list[str]:
        """What stands in the way of a training on images, found out from their labels alone.

        Args:
            train_labels: Labels of all images of the clients' split, ``(N,)``.
            test_labels: Likewise, of the test's.
            seed: As in `run`.

        Returns:
            Texts for the user.
        """
        train, test = self.choose(len(train_labels), len(test_labels))
        found = Problems()
        for name, indices in (("train", train), ("test", test)):
            found.of(partial(check_not_empty, indices, name))
        if train:
            found.of(partial(self._check_clients, len(train)))
        return list(found)

    def procedure_problems(
        self,
        model: nn.Module,
        image_shape: tuple[int, int, int],
        train_labels: Tensor,
        seed: int = 0,
    ) -> list[str]:
        """What stands in the way of the clients' procedure.

        Args:
            model: The initial client model.
            image_shape: ``(3, H, W)``.
            train_labels: Labels of all images of the clients' split, ``(N,)``.
            seed: As in `run`.

        Returns:
            Texts for the user; none where `problems` has some.
        """
        found = Problems()
        train, _ = self.choose(len(train_labels), 0)
        if len(train) >= self.clients:
            for size in self._update_sizes(train_labels[train], seed):
                found.extend(self.procedure.problems(model, image_shape, size))
        return list(found)

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
            chosen = self.choose(len(train), len(test))  # type: ignore[arg-type]
            images = FederatedImages(
                load_images(train, chosen[0], "train"), load_images(test, chosen[1], "test")
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
        federation = self._federation(model, images, defense, torch.device(device), seed)
        curve: list[tuple[int, float]] = []
        error = None
        number = 0
        try:
            curve.append((0, federation.accuracy()))
            for number in self._rounds_with_progress(defense):
                federation.round(number)
                if number % self.evaluate_every == 0 or number == self.rounds:
                    curve.append((number, federation.accuracy()))
        except DivergedError as failure:
            error = f"training diverged in round {number} of {self.rounds}: {failure}"
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

    def _federation(
        self,
        model: nn.Module,
        images: FederatedImages,
        defense: Defense,
        device: torch.device,
        seed: int,
    ) -> Federation:
        self._check_clients(len(images.train))
        return Federation(
            copy.deepcopy(model).to(device).eval(),
            images,
            Sampling(
                self._shares(images.train.labels, seed),
                self.clients_per_round,
                self.images_per_client_update,
                seed,
            ),
            self.procedure,
            defense,
            self.server,
            seed,
        )

    def _check_clients(self, images: int) -> None:
        if images < self.clients:
            raise UserError(
                f"clients of federated training is {self.clients}, more than the {images} training "
                "images: lower it, or give more images."
            )

    def _shares(self, labels: Tensor, seed: int) -> list[Indices]:
        """The indices of each client's images."""
        return self.partition(labels.numpy(), self.clients, stream(PARTITION, seed))

    def _update_sizes(self, labels: Tensor, seed: int) -> list[int]:
        """How many images may be behind an update."""
        held = {len(share) for share in self._shares(labels, seed)} - {0}
        most = self.images_per_client_update
        return sorted(held if most is None else {min(most, size) for size in held})

    def _rounds_with_progress(self, defense: Defense) -> Iterator[int]:
        numbers = range(1, self.rounds + 1)
        what = f"training under {type(defense).__name__}"
        # disable=None: only on a terminal.
        yield from tqdm(numbers, desc=what, unit="round", leave=False, disable=None)
