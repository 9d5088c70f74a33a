"""Learned inversion: a regression from updates to images, fitted on public images."""

from __future__ import annotations

import copy
import logging
import time

from torch import nn

from ggl_lightning.attacks.base import UNWATCHED, Attack, Finding, Progress, Target
from ggl_lightning.attacks.learned.fit import LearnedFit
from ggl_lightning.attacks.matching.layer_rule import MatrixRule
from ggl_lightning.attacks.matching.rules import find_rules
from ggl_lightning.attacks.received import Received
from ggl_lightning.clients import trainable_parameters
from ggl_lightning.clients.procedures import ClientProcedure
from ggl_lightning.clients.update import is_plain_gradient
from ggl_lightning.errors import UserError, check_positive

_log = logging.getLogger(__name__)

_BLOCK_BYTES = 2**28


class LearnedInversion(Attack):
    """Kernel ridge regression from an update to its image, in closed form.

    The attacker computes the updates of public images under the label that it has inferred, and
    regresses images on updates (see `LearnedFit`); the received update then takes milliseconds.
    Relatives train a network for the same (Wu et al. 2023, "Learning to invert", arXiv
    2210.10880). One fit serves all updates with one inferred label.

    It fits updates that are plain gradients of one image in eval mode. Scaling (clipping) changes
    nothing. Noise is estimated from the received tensors and enters the regression, but weights of
    tensors are chosen without it: under strong noise the answer falls back to the mean image, where
    others would still tell something.

    Args:
        public_images: How many public images to use at most.
        last_layers: How many of the last layers with a matrix (convolutions, linear layers but the
            last) may be used.
        known_label: Whether the attacker is told the private labels instead of inferring them.
        max_memory_mb: Bound on what a block of products takes, in units of 2^20 bytes; None for
            256.

    Raises:
        UserError: If a number is not positive.
    """

    def __init__(
        self,
        public_images: int = 4000,
        last_layers: int = 10,
        known_label: bool = False,
        max_memory_mb: float | None = None,
    ) -> None:
        check_positive("public_images", public_images)
        check_positive("last_layers", last_layers)
        if max_memory_mb is not None:
            check_positive("max_memory_mb", max_memory_mb)
        self.public_images = public_images
        self.last_layers = last_layers
        self.known_label = known_label
        self._block_bytes = _BLOCK_BYTES if max_memory_mb is None else int(max_memory_mb * 2**20)
        self._fits: dict[int, LearnedFit] = {}
        self._fitted_to: object = None

    def problems(self, target: Target, count: int, procedure: ClientProcedure) -> list[str]:
        """See `Attack.problems`: batches, client models without layers to use, no public images."""
        found = super().problems(target, count, procedure)
        if count > 1:
            found.append(
                f"client_batch is {count}, and LearnedInversion takes updates of one image: a mean "
                "of several says which directions are in it, not which image they belong to. Leave "
                "that attack out."
            )
        believed = self.believed(procedure)
        if not is_plain_gradient(believed):
            found.append(
                f"The attacker believes in {type(believed).__name__} (mode {believed.mode!r}), and "
                "LearnedInversion takes plain gradients in eval mode: leave that attack out."
            )
        if not self._rules(target.model):
            found.append(
                f"No layer of the client model {type(target.model).__name__} but the last has a "
                "weight that LearnedInversion can use: leave that attack out."
            )
        return found

    def run(
        self, received: Received, target: Target, seed: int, progress: Progress = UNWATCHED
    ) -> Finding:
        """See `Attack.run`; nothing is random but samples of a prior in the place of public images.

        Raises:
            UserError: If the attack does not fit the client model or the update.
        """
        problems = self.problems(target, received.count, received.procedure)
        if problems:
            raise UserError(*problems)
        started = time.perf_counter()
        inferred, labels = received.assumed_labels(target.model, target.classifier)
        fit = self._fit(target, int(labels[0]))
        index = {name: i for i, name in enumerate(trainable_parameters(target.model))}
        tensors = {
            name: received.update[index[f"{name}.weight" if name else "weight"]]
            for name in fit.layers
        }
        prediction = fit.predict(tensors)
        image = prediction.image.clamp(-1, 1).float()
        return Finding(
            images=image.unsqueeze(0),
            labels=labels,
            inferred=inferred,
            seconds=time.perf_counter() - started,
            evaluation={
                "way": "in closed form",
                "leave_one_out_mse": fit.leave_one_out_mse,
                "tensors": dict(fit.weights),
                "noise": prediction.noise,
                "public": target.public_origin,
            },
            # Errors of public images say nothing of what noise adds.
            predicted_mse=prediction.mse if prediction.noise == 0 else None,
        )

    @property
    def evaluations(self) -> int:
        """None: its updates are of public images."""
        return 0

    @property
    def cost(self) -> float:
        """Of one update, its share of the fit not counted."""
        return float(self.public_images)

    def _rules(self, model: nn.Module) -> dict[str, MatrixRule]:
        """The last layers that can be used, in the model's order."""
        sent = {id(parameter) for parameter in trainable_parameters(model).values()}
        rules, _ = find_rules(model)
        usable = {
            name: rule
            for name, rule in rules.items()
            if isinstance(rule, MatrixRule) and id(rule.layer.weight) in sent
        }
        names = list(usable)[:-1]  # the last layer says little beyond the label
        return {name: usable[name] for name in names[-self.last_layers :]}

    def _fit(self, target: Target, label: int) -> LearnedFit:
        if self._fitted_to is not target.model:
            self._fits, self._fitted_to = {}, target.model
        if label not in self._fits:
            started = time.perf_counter()
            images = target.public_images(self.public_images)
            model = copy.deepcopy(target.model).requires_grad_(False)
            for module in model.modules():
                if hasattr(module, "inplace"):
                    setattr(module, "inplace", False)  # noqa: B010 - of modules in general
            names = self._rules(target.model)
            rules, _ = find_rules(model)
            own = {name: rules[name] for name in names}
            assert all(isinstance(rule, MatrixRule) for rule in own.values())
            self._fits[label] = LearnedFit(
                model,
                own,  # type: ignore[arg-type]
                images.to(target.device),
                label,
                self._block_bytes,
            )
            _log.info(
                "Learned inversion: fitted on %d public images under label %d in %.0f s.",
                len(images),
                label,
                time.perf_counter() - started,
            )
        return self._fits[label]
