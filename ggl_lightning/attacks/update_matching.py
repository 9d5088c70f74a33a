"""Update matching: which image of a lineup is the received update of."""

from __future__ import annotations

import copy
import time

import torch
from torch import Tensor

from ggl_lightning.attacks.base import UNWATCHED, Attack, Finding, Progress, Target, other_kind
from ggl_lightning.attacks.matching.distance import Excess
from ggl_lightning.attacks.matching.micro_batching import MicroBatching
from ggl_lightning.attacks.matching.scale_to_norm import ScaleToNorm
from ggl_lightning.attacks.matching.update_distances import UpdateDistances
from ggl_lightning.attacks.received import Received
from ggl_lightning.clients.procedures import ClientProcedure, sample_orders
from ggl_lightning.defenses import Adaptation
from ggl_lightning.defenses.clipping import update_norm
from ggl_lightning.defenses.compose import AdaptInOrder
from ggl_lightning.errors import UserError, check_positive
from ggl_lightning.seeding import torch_generator

_ORDERS = (0x0DE3, 1)
"""The stream of the attacker's orders."""

_COST = 100.0
"""Gradients for one update: one for each image of a lineup of the usual size."""


class UpdateMatching(Attack):
    """Ranks a lineup by how likely the received update is under each of its images.

    It makes no reconstruction: an image is recognised by the update that it would have caused. It
    needs no prior, and takes one simulated update for each image of the lineup.

    Images are ordered by ``||a(g) - y||^2`` over all entries, where ``g`` is the update of the
    image and ``a`` what the attacker believes that the defense did to it, with parameters estimated
    from the received update ``y``. Under Gaussian noise that is the likelihood, whatever its
    standard deviation (the matched filter: North 1943); masks, levels and signs are compared as
    they are sent. Where the defense scales updates (`Defense.hides_scale`), noise hides by how
    much: candidates are brought to one norm, and compared by direction. So they are if there are
    several private images, since ``y`` is their mean then; an image is one of them, and its label
    the likeliest of those assumed.

    Args:
        known_label: Whether the attacker is told the private labels instead of inferring them.
        believes: What the attacker believes that the client did; null if it knows the client's
            procedure.
        orders: How many orders of the client's steps it takes the mean over, where the order
            matters and is not known.
        max_memory_mb: Bound on the memory for images that are compared together, in units of 2^20
            bytes; null for 1024 on the CPU and half of an accelerator's memory.

    Raises:
        UserError: If ``orders`` is not positive.
    """

    def __init__(
        self,
        known_label: bool = False,
        believes: ClientProcedure | None = None,
        orders: int = 1,
        max_memory_mb: float | None = None,
    ) -> None:
        check_positive("orders", orders)
        self.known_label = known_label
        self.believes = believes
        self.orders = orders
        self._evaluation = MicroBatching(max_memory_mb)

    def problems(self, target: Target, count: int, procedure: ClientProcedure) -> list[str]:
        """See `Attack.problems`; each image of a lineup must be able to make an update alone."""
        found = super().problems(target, count, procedure)
        if not found and count > 1:
            alone = self.believed(procedure).problems(target.model, target.image_shape, 1)
            found += [f"UpdateMatching simulates each image of a lineup alone. {p}" for p in alone]
        return found

    def run(
        self, received: Received, target: Target, seed: int, progress: Progress = UNWATCHED
    ) -> Finding:
        """See `Attack.run`: the labels to assume; what images are compared with is the update.

        Raises:
            UserError: If what was sent is of another kind than the procedure makes.
        """
        started = time.perf_counter()
        if received.record.kind != received.procedure.kind:
            raise UserError(other_kind(received.procedure, received.record.kind))
        inferred, labels = received.assumed_labels(target.model, target.classifier)
        adaptation = self._adaptation(received, target)
        return Finding(
            images=None,
            labels=labels,
            inferred=inferred,
            estimate=(adaptation.estimate or None) if adaptation is not None else None,
            seconds=time.perf_counter() - started,
            evaluation={
                "way": "by the update",
                "mode": received.procedure.batch_norm_mode,
                "compares": "directions" if self._by_direction(received) else "updates",
            },
        )

    def rank(
        self, received: Received, finding: Finding, lineup: Tensor, target: Target
    ) -> Tensor | None:
        """See `Attack.rank`: ``||a(g)||^2 - 2 <a(g), y>``, ``(M,)`` in float64.

        An update of zeros says nothing: all images are equally likely.
        """
        if not any(bool(tensor.any()) for tensor in received.update):
            return torch.zeros(len(lineup), dtype=torch.float64)
        adaptation = self._adaptation(received, target)
        if self._by_direction(received):
            to_one_norm = ScaleToNorm(update_norm(received.update).item())
            members = {} if adaptation is None else {"defense": adaptation}
            adaptation = AdaptInOrder({**members, "scale": to_one_norm})
        orders = sample_orders(
            received.procedure, target.model, 1, self.orders, torch_generator(0, *_ORDERS)
        )
        distances = UpdateDistances(
            copy.deepcopy(target.model),
            received.update,
            received.procedure,
            adaptation,
            Excess.l2,
            self._evaluation,
            orders,
        )
        candidates = lineup.to(target.device).unsqueeze(1)
        with torch.no_grad():
            scores = [
                distances(candidates, label.view(1).to(target.device)).double().sum(dim=1)
                for label in finding.labels.unique()
            ]
        return torch.stack(scores).amin(dim=0).cpu()

    def invert(
        self,
        images: Tensor,
        labels: Tensor,
        target: Target,
        seed: int,
        progress: Progress = UNWATCHED,
    ) -> Finding:
        """See `Attack.invert`: nothing, since it makes no reconstructions of anything."""
        return Finding(images=None, labels=labels.cpu())

    @property
    def evaluations(self) -> int:
        """None: it evaluates the images of a lineup only."""
        return 0

    @property
    def cost(self) -> float:
        """Of a lineup of the usual size."""
        return _COST

    def _adaptation(self, received: Received, target: Target) -> Adaptation | None:
        if not any(bool(tensor.any()) for tensor in received.update):
            return None
        return received.defense.adapt(received.update, target.classifier)

    def _by_direction(self, received: Received) -> bool:
        return received.count > 1 or received.defense.hides_scale
