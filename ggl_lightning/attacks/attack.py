"""Generative gradient leakage: a received update in, reconstructions out."""

from __future__ import annotations

from torch import Tensor, nn

from ggl_lightning.attacks.matching.micro_batching import MicroBatch, MicroBatching
from ggl_lightning.attacks.matching.update_distances import Distance, UpdateDistances
from ggl_lightning.attacks.objective import Objective
from ggl_lightning.attacks.penalties import Regularizer
from ggl_lightning.attacks.received import Received
from ggl_lightning.attacks.searches import RefinedSearch, Search
from ggl_lightning.attacks.searching import SearchingAttack
from ggl_lightning.attacks.spaces import Latents, SearchSpace
from ggl_lightning.clients.procedures import ClientProcedure
from ggl_lightning.errors import check_non_negative, check_positive


class GenerativeGradientLeakage(SearchingAttack):
    """Searches a prior's latent space for the images that explain an update (Li et al. 2022).

    Its public attributes are its parameters: they identify it in results. How candidates are
    evaluated (``max_memory_mb``, ``micro_batch``) is not among them, as it does not change what is
    computed.

    Args:
        search: What proposes the candidates.
        budget: What each trial may spend: rounds, or what the search says.
        n_trials: Independent trials; the one with the lowest objective wins.
        adaptive: Whether the attacker knows which defense was used and applies its estimate of it
            to every candidate's update.
        known_label: Whether the attacker is told the private labels instead of inferring them.
        distance: What is measured between two tensors of two updates.
        use_weight: Weights of the parameter tensors: false for none, true for the published ones
            of a ResNet-18, or a list.
        regularizer: What keeps latents likely.
        kl_weight: Its weight.
        squash: Whether latents pass through ``tanh`` (then they are not regularised).
        refine_steps: Adam steps from the search's recommendation, after its budget is spent.
        refine_lr: Their learning rate.
        max_memory_mb: Bound on the memory for candidates that are evaluated together, in units of
            2^20 bytes; null for 1024 on the CPU and half of an accelerator's memory.
        micro_batch: How many candidates are evaluated together: a number, ``auto`` for what fits
            the bound, or ``measure`` for the fastest that does; see `MicroBatching`.
        believes: What the attacker believes that the client did; null if it knows the client's
            procedure. The order in which the client took its images it never knows.
        orders: How many orders it draws and takes the mean objective over, where the order matters;
            the cost of a candidate grows with it, for an objective that misleads a little less.
        buffer_weight: Weight of the distance between the batch statistics of a candidate and those
            that sent buffers give away; 0 leaves them out. With 0.1 they count about as much as
            the update does.

    Raises:
        UserError: If a number is out of range.
    """

    def __init__(
        self,
        search: Search,
        budget: int = 500,
        n_trials: int = 1,
        adaptive: bool = False,
        known_label: bool = False,
        distance: Distance = Distance.l2,
        use_weight: bool | list[float] = False,
        regularizer: Regularizer = Regularizer.kl,
        kl_weight: float = 0.1,
        squash: bool = False,
        refine_steps: int = 0,
        refine_lr: float = 0.01,
        max_memory_mb: float | None = None,
        micro_batch: MicroBatch = "auto",
        believes: ClientProcedure | None = None,
        orders: int = 1,
        buffer_weight: float = 0.1,
    ) -> None:
        super().__init__(
            search,
            budget,
            n_trials,
            adaptive,
            known_label,
            distance,
            use_weight,
            believes,
            orders,
            buffer_weight,
            MicroBatching(max_memory_mb, micro_batch),
        )
        check_non_negative("kl_weight", kl_weight)
        check_non_negative("refine_steps", refine_steps)
        check_positive("refine_lr", refine_lr)
        self.regularizer = regularizer
        self.kl_weight = kl_weight
        self.squash = squash
        self.refine_steps = refine_steps
        self.refine_lr = refine_lr

    @property
    def _spaces(self) -> Latents:
        return Latents(self.squash)

    def _search_of(self, stage: int) -> tuple[Search, int]:
        if self.refine_steps:
            return RefinedSearch(self.search, self.refine_steps, self.refine_lr), self.budget
        return self.search, self.budget

    def _objective(
        self,
        received: Received,
        space: SearchSpace,
        labels: Tensor,
        distances: UpdateDistances,
        model: nn.Module,
    ) -> Objective:
        return Objective(
            space,
            distances,
            labels,
            weights=self._tensor_weights(received),
            # Squashed latents are bounded, and none is unlikely.
            regularizer=None if self.squash else self.regularizer,
            regularizer_weight=self.kl_weight,
            statistics_weight=self.buffer_weight,
        )
