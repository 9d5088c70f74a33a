"""What every attack is: a received update in, a finding out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ggl_lightning.attacks.fits import Fits, MemoryFits
from ggl_lightning.attacks.labels import FROZEN_LAST_LAYER, InferredLabels
from ggl_lightning.attacks.received import Received
from ggl_lightning.attacks.searches.loop import Notify
from ggl_lightning.attacks.searches.snapshots import RoundLosses, TrialSnapshot
from ggl_lightning.clients import ClassifierLayer
from ggl_lightning.clients.procedures import ClientProcedure, Kind
from ggl_lightning.devices import device_of
from ggl_lightning.errors import UserError
from ggl_lightning.priors.base import Prior
from ggl_lightning.priors.batched import generate_in_batches

_PUBLIC_SEED = 0x9B1C  # of samples in the place of public images: the same for all updates


@dataclass(frozen=True)
class Target:
    """What is attacked, and what the attacker has at hand before any update is received.

    Attributes:
        model: The client model with the weights that the client begins with, in eval mode, on the
            prior's device if there is one.
        classifier: Its last layer.
        prior: The attacker's prior, in eval mode; None if it has none.
        public: Images ``(M, 3, H, W)`` in ``[-1, 1]`` that the attacker has of the same kind as
            the private ones, as a function of how many it wants at most; None if it has none.
        fits: Where attacks that learn first keep what they have learnt.
        image_size: Height and width of images, in pixels; the prior's if there is one.
        most_public: How many public images the attacker has at most, or samples in their place;
            None for as many as it wants.

    Raises:
        UserError: If there is neither a prior nor an image size.
    """

    model: nn.Module
    classifier: ClassifierLayer
    prior: Prior | None
    public: Callable[[int], Tensor] | None = None
    fits: Fits = field(default_factory=MemoryFits)
    image_size: int | None = None
    most_public: int | None = None

    def __post_init__(self) -> None:
        if self.prior is None and self.image_size is None:
            raise UserError("A target without a prior has no image size: give image_size.")

    @property
    def device(self) -> torch.device:
        """Where everything is computed."""
        return device_of(self.model) if self.prior is None else self.prior.device

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape of an image, ``(3, H, W)``."""
        size = self.image_size if self.prior is None else self.prior.image_size
        assert size is not None
        return (3, size, size)

    @property
    def required_prior(self) -> Prior:
        """The prior.

        Raises:
            UserError: If there is none.
        """
        if self.prior is None:
            raise UserError("The attack searches a prior, and there is none: give one.")
        return self.prior

    @property
    def has_public_images(self) -> bool:
        """Whether `public_images` come from anywhere."""
        return self.public is not None or self.prior is not None

    @property
    def public_origin(self) -> str:
        """Where `public_images` come from, in words."""
        return "samples of the prior" if self.public is None else "public images"

    def public_images(self, count: int) -> Tensor:
        """Public images; samples of the prior where the attacker has none.

        Args:
            count: How many at most; none beyond `most_public`.

        Returns:
            ``(M, 3, H, W)`` in ``[-1, 1]``.

        Raises:
            UserError: If there is no prior either.
        """
        count = count if self.most_public is None else min(count, self.most_public)
        if self.public is not None:
            return self.public(count)
        prior = self.required_prior
        latents = prior.sample(count, torch.Generator().manual_seed(_PUBLIC_SEED))
        labels = torch.arange(count, device=self.device) % (prior.num_classes or 1)
        return generate_in_batches(prior, latents, labels)


@dataclass(frozen=True)
class Progress:
    """What an attack tells while it runs, and what it is told of an earlier try.

    Attributes:
        notify: Told of the rounds of every search, as `SearchLoop` says.
        resume: The trials of the same attack when it was interrupted: it goes on from there, and
            ends as if it had not been.
    """

    notify: Notify = lambda _hook, _loop: None
    resume: Sequence[TrialSnapshot] = ()


UNWATCHED = Progress()
"""Of an attack that nobody watches, from the start."""


@dataclass(frozen=True)
class Finding:
    """What an attack recovered from one update.

    Attributes:
        images: Reconstructions ``(N, 3, H, W)`` in ``[-1, 1]``, on the CPU; their order means
            nothing. None of an attack that makes none, and only ranks (`Attack.rank`).
        labels: The label assumed for each image, ``(N,)``.
        artefacts: What else belongs to each image, ``(N, ...)``, on the CPU, by the name its file
            gets: ``latent`` of attacks that search a prior's latents.
        inferred: The labels read off the update; None if there was no update, or one without the
            last layer.
        estimate: The defense's parameters as an adaptive attack estimated them; None if the attack
            is not adaptive or there is nothing to estimate.
        loss: The objective of the answer: the lowest among the trials. None without an objective.
        trial: Which trial won, from 0; None without trials.
        trial_losses: Final objective of every trial.
        rounds: Rounds run, over all trials.
        evaluations: Candidates evaluated, over all trials.
        seconds: Time the attack took; what passed between an interruption and its resumption does
            not count.
        histories: The losses of every round of every trial.
        stop_reasons: Why trials ended early, if any did.
        evaluation: How candidates were evaluated, which does not change the result but by rounding:
            ``way``, ``general_parameters`` (how many tensors' gradients no layer rule gives), and
            what `MicroBatching.report` says.
        predicted_mse: The mean squared error per pixel that the attack itself expects of its
            answer, without the truth; None if it cannot tell.
        members: The findings of the attacks that an attack of attacks tried, by name.
    """

    images: Tensor | None
    labels: Tensor
    artefacts: Mapping[str, Tensor] = field(default_factory=dict)
    inferred: InferredLabels | None = None
    estimate: Mapping[str, float] | None = None
    loss: float | None = None
    trial: int | None = None
    trial_losses: Sequence[float] = ()
    rounds: int = 0
    evaluations: int = 0
    seconds: float = 0.0
    histories: Sequence[Sequence[RoundLosses]] = ()
    stop_reasons: Sequence[str] = ()
    evaluation: Mapping[str, object] = field(default_factory=dict)
    predicted_mse: float | None = None
    members: Mapping[str, Finding] = field(default_factory=dict)


class Attack(ABC):
    """A received update in, a `Finding` out.

    Its public attributes are its parameters: they identify it in results. What does not change a
    result is private.

    Attributes:
        known_label: Whether the attacker is told the private labels instead of inferring them.
        believes: What the attacker believes that the client did; None if it knows the client's
            procedure.
    """

    known_label: bool = False
    believes: ClientProcedure | None = None

    @property
    def members(self) -> Mapping[str, Attack]:
        """The attacks that it is made of, by the names of `Finding.members`; none of most."""
        return {}

    def problems(self, target: Target, count: int, procedure: ClientProcedure) -> list[str]:
        """What stands in the attack's way, a sentence each, before anything is run.

        Args:
            target: What is to be attacked.
            count: Private images behind an update.
            procedure: The client's procedure.
        """
        found: list[str] = []
        if self.needs_prior and target.prior is None:
            found.append(
                f"{type(self).__name__} searches what a prior generates, and there is no prior: "
                "give one (model.prior), or leave that attack out."
            )
        if self.believes is not None:
            disbelieved = self.believes.problems(target.model, target.image_shape, count)
            found += disbelieved
            if not disbelieved and self.believes.kind != procedure.kind:
                found.append(other_kind(self.believes, procedure.kind))
        if not (self.known_label or target.classifier.is_sent):
            found.append(FROZEN_LAST_LAYER)
        return found

    def believed(self, procedure: ClientProcedure) -> ClientProcedure:
        """What the attacker believes of a client with this procedure; see ``believes``."""
        return procedure if self.believes is None else self.believes

    @property
    def needs_prior(self) -> bool:
        """Whether it can do nothing without a prior."""
        return False

    @property
    def needs_public(self) -> int:
        """How many public images it asks for at most (`Target.public_images`); 0 for none."""
        return 0

    @abstractmethod
    def run(
        self, received: Received, target: Target, seed: int, progress: Progress = UNWATCHED
    ) -> Finding:
        """Attacks one update.

        Args:
            received: What the server holds.
            target: What is attacked.
            seed: Everything random in the attack follows from it, global generators included.
            progress: What to tell, and where to go on.

        Raises:
            UserError: If the update does not fit the attack.
            NonFiniteLossError: If an objective becomes NaN or infinite.
        """

    def rank(
        self, received: Received, finding: Finding, lineup: Tensor, target: Target
    ) -> Tensor | None:
        """How unlikely each image of a lineup is to be behind an update, by the update itself.

        Args:
            received: What the server holds.
            finding: What `run` made of it.
            lineup: Images ``(M, 3, H, W)`` in ``[-1, 1]``, on the target's device.
            target: What is attacked.

        Returns:
            ``(M,)``, the lowest of the likeliest image; None if the attack tells images apart by
            its reconstruction only, which is then compared with them.
        """
        return None

    def invert(
        self,
        images: Tensor,
        labels: Tensor,
        target: Target,
        seed: int,
        progress: Progress = UNWATCHED,
    ) -> Finding:
        """Looks for given images themselves, as it looks for those behind an update.

        No attacker can: it is what no update could improve on. By default it is the images
        themselves, for attacks that nothing limits in what they can answer.

        Args:
            images: ``(N, 3, H, W)`` in ``[-1, 1]``, on the target's device.
            labels: Their labels ``(N,)``.
            target: What is attacked.
            seed: As in `run`.
            progress: As in `run`.
        """
        return Finding(images=images.cpu(), labels=labels.cpu())

    @property
    @abstractmethod
    def evaluations(self) -> int:
        """Candidates that it evaluates for one update, unless it ends early."""

    @property
    @abstractmethod
    def cost(self) -> float:
        """The same in evaluations without gradient, each with one taken for as many as it costs.

        Work is shared out among processes by it.
        """

    def sample(self) -> tuple[Attack, float]:
        """What to run to find out how long the attack takes.

        Returns:
            An attack whose first rounds are like this one's, and how many evaluations such as
            those the whole attack is worth.
        """
        return self, self.cost


def other_kind(procedure: ClientProcedure, sent: Kind) -> str:
    """What to say of a procedure that sends something else than was sent."""
    return (
        f"The attacker believes in {type(procedure).__name__} that sends a {procedure.kind}, but "
        f"what is sent is a {sent}: set sends of what the attack believes to the same."
    )
