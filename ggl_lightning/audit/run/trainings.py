"""Federated trainings under the defenses of an audit."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from ggl_lightning.audit.plan.case import UtilitySpec
from ggl_lightning.audit.plan.data_module import AuditDataModule
from ggl_lightning.audit.plan.keys import describe, key_of
from ggl_lightning.audit.results.schema import Row
from ggl_lightning.audit.results.utility_row import utility_row
from ggl_lightning.federated import FederatedResult, FederatedTraining
from ggl_lightning.identity import identity
from ggl_lightning.seeding import seeded
from ggl_lightning.tensor_hash import hash_tensors

_MEASURED_ROUNDS = 3
_SEED = 0  # of partition and sampling: defenses are compared on the same ones


class Trainings:
    """Trains the client model under every defense of an audit.

    Args:
        utility: How to train.
        client_model: The initial client model.
        client_hash: `module_hash` of it.
        grid: The audit's cases, set up: its defenses, and the images' train and test splits.
        circumstances: What else a training's result depends on, ready for JSON.

    Attributes:
        keys: The key of every training, by its name.

    Raises:
        UserError: If there is no train split.
    """

    def __init__(
        self,
        utility: FederatedTraining,
        client_model: nn.Module,
        client_hash: str,
        grid: AuditDataModule,
        circumstances: dict[str, Any],
    ) -> None:
        self._utility = utility
        self._client_model = client_model
        self._client_hash = client_hash
        self._defenses = grid.defenses
        for split in ("train", "test"):
            grid.image_data.open_split(split)
        self._train, self._test = (grid.image_data.dataset(split) for split in ("train", "test"))
        common = {
            **circumstances,
            "utility": identity(utility),
            "client": client_hash,
            "images": hash_tensors(utility.load(self._train, self._test).tensors()),
            "seed": _SEED,
        }
        self.keys = {
            name: key_of({**common, "defense_name": name, "defense": identity(defense)})
            for name, defense in grid.defenses.items()
        }

    def run(self, spec: UtilitySpec, device: torch.device) -> Row:
        """Trains under one defense and returns the row."""
        defense = self._defenses[spec.defense_name]
        with seeded(_SEED), torch.enable_grad():
            result = self._utility.run(
                self._client_model, self._train, self._test, defense, device, _SEED
            )
        return self._row(spec, result)

    def estimate(self, spec: UtilitySpec, device: torch.device) -> float:
        """About how many seconds a training takes, from two short ones."""
        one, more = (self._seconds(spec, device, rounds) for rounds in (1, 1 + _MEASURED_ROUNDS))
        each = max(0.0, more - one) / _MEASURED_ROUNDS
        measurement = max(0.0, one - each) / 2  # of accuracy: before the first round and at the end
        measurements = 1 + self._utility.rounds / self._utility.evaluate_every
        return each * self._utility.rounds + measurement * measurements

    def _seconds(self, spec: UtilitySpec, device: torch.device, rounds: int) -> float:
        short = copy.copy(self._utility)
        short.rounds = short.evaluate_every = rounds
        defense = self._defenses[spec.defense_name]
        with seeded(_SEED), torch.enable_grad():
            return short.run(
                self._client_model, self._train, self._test, defense, device, _SEED
            ).seconds

    def failed_row(self, spec: UtilitySpec, reason: str) -> Row:
        """The row of a training that raised."""
        images = self._utility.load(self._train, self._test)
        result = FederatedResult(
            accuracy=None,
            curve=[],
            rounds=self._utility.rounds,
            clients=self._utility.clients,
            train_images=len(images.train),
            test_images=len(images.test),
            majority_share=images.test.majority_share(),
            seconds=0.0,
            error=reason,
        )
        return self._row(spec, result)

    def _row(self, spec: UtilitySpec, result: FederatedResult) -> Row:
        defense = self._defenses[spec.defense_name]
        found = utility_row(
            result,
            name=spec.name,
            key=self.keys[spec.name],
            defense_name=spec.defense_name,
            defense=defense,
            seed=_SEED,
            defense_parameters=describe(defense),
            settings=describe(self._utility),
        )
        return {**found, "client": self._client_hash[:32]}
