"""Learned inversion: a regression from updates to images, fitted on public images."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ggl_lightning.attacks.base import UNWATCHED, Attack, Finding, Progress, Target, other_kind
from ggl_lightning.attacks.fits import FitKey
from ggl_lightning.attacks.learned.adaptations import shared_adaptation
from ggl_lightning.attacks.learned.examples import Examples
from ggl_lightning.attacks.learned.fit import LearnedFit, Prediction
from ggl_lightning.attacks.learned.public_updates import (
    closed_form,
    in_closed_form,
    matrix_rules,
    simulated,
    usable_tensors,
)
from ggl_lightning.attacks.learned.rehearsal import Rehearsal, rehearsals
from ggl_lightning.attacks.learned.simulated import SimulatedExamples
from ggl_lightning.attacks.received import Received
from ggl_lightning.clients import trainable_parameters
from ggl_lightning.clients.procedures import ClientProcedure
from ggl_lightning.defenses import Adaptation
from ggl_lightning.errors import UserError, check_positive
from ggl_lightning.identity import identity, module_hash, text_of
from ggl_lightning.memory import MEBIBYTE
from ggl_lightning.tensor_hash import hash_tensors

_log = logging.getLogger(__name__)

LEAST_PUBLIC_IMAGES = 10

_MEMORY_MB = 2048

_SAMPLED = 400
"""Public images by which the time of a fit is found out."""

_HELD = 4
"""Fits and examples kept in memory, for different labels and defenses."""


@dataclass(frozen=True)
class _Public:
    """Public images, with mirror images beside them if these are used, and what names them."""

    images: Tensor
    twins: int
    key: str

    @cached_property
    def spread(self) -> float:
        """Mean squared error per pixel of the mean image."""
        return float(self.images.double().var(dim=0, correction=0).mean())


class LearnedInversion(Attack):
    """Kernel ridge regression from an update to its image, in closed form.

    The attacker computes the updates of public images under the label that it has inferred, and
    regresses images on updates (see `LearnedFit`); a received update then takes moments. Relatives
    train a network for the same (Wu et al. 2023, "Learning to invert", arXiv 2210.10880). A fit
    serves all updates with one inferred label under one kind of defense, and is kept in
    `Target.fits`.

    Plain gradients in eval mode have inner products in closed form, without any gradients. Under
    any other procedure, and behind defenses that change more than scales (compression, signs,
    quantisation), the public images' updates are simulated: with the attacker's own order, degraded
    by its own estimate of the defense, and kept at the entries that vary most. Noise is estimated
    from the received update, and enters the choice of the tensors, their weights and the error that
    is expected. Nothing is learnt from private images.

    Args:
        public_images: How many public images to use at most, mirror images included.
        mirrored: Whether each is joined by its mirror image; null if there are not even half as
            many images as may be used.
        adaptive: Whether public images' updates are degraded by the attacker's estimate of the
            defense.
        known_label: Whether the attacker is told the private labels instead of inferring them.
        believes: What the attacker believes that the client did; null if it knows the client's
            procedure.
        max_memory_mb: Bound on what a fit may take, in units of 2^20 bytes; null for 2048.

    Raises:
        UserError: If a number is not positive, or there are fewer public images than 10.
    """

    result_version = 2  # 1 took noise for too weak where it hides the gradient

    def __init__(
        self,
        public_images: int = 4000,
        mirrored: bool | None = None,
        adaptive: bool = True,
        known_label: bool = False,
        believes: ClientProcedure | None = None,
        max_memory_mb: float | None = None,
    ) -> None:
        if public_images < LEAST_PUBLIC_IMAGES:
            raise UserError(
                f"public_images is {public_images}: a regression needs {LEAST_PUBLIC_IMAGES} at "
                "the least, and hundreds to be of use."
            )
        if max_memory_mb is not None:
            check_positive("max_memory_mb", max_memory_mb)
        self.public_images = public_images
        self.mirrored = mirrored
        self.adaptive = adaptive
        self.known_label = known_label
        self.believes = believes
        self._memory = int((max_memory_mb or _MEMORY_MB) * MEBIBYTE)
        self._public: tuple[object, _Public] | None = None
        self._examples: OrderedDict[str, Examples] = OrderedDict()
        self._fits: OrderedDict[str, LearnedFit] = OrderedDict()

    def problems(self, target: Target, count: int, procedure: ClientProcedure) -> list[str]:
        """See `Attack.problems`: batches, and client models without tensors to learn from."""
        found = super().problems(target, count, procedure)
        if count > 1:
            found.append(
                f"client_batch is {count}, and LearnedInversion takes updates of one image: a mean "
                "of several says which directions are in it, not which image they belong to. Leave "
                "that attack out."
            )
        if not target.has_public_images:
            found.append(
                "LearnedInversion learns from public images, or samples of a prior in their place, "
                "and there are neither: give public images (data.public), or leave that attack out."
            )
        if target.public is not None:
            found += _too_few(len(target.public_images(self.public_images)))
        believed = self.believed(procedure)
        if not usable_tensors(target.model, target.classifier) or (
            in_closed_form(believed, None) and not self._matrices(target)
        ):
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
            UserError: If the attack does not fit the client model or the update, or there are too
                few public images.
        """
        problems = self.problems(target, received.count, received.procedure)
        if received.record.kind != received.procedure.kind:
            problems.append(other_kind(received.procedure, received.record.kind))
        if problems:
            raise UserError(*problems)
        started = time.perf_counter()
        inferred, labels = received.assumed_labels(target.model, target.classifier)
        public = self._public_of(target)
        fitting, tensors, adaptation = self._fitting(received, target, int(labels[0]))
        # What is coarse is not asked where there is nothing to be found.
        noisy = received.defense.adds_noise or not self.adaptive
        is_scaled = received.defense.hides_scale or not self.adaptive
        prediction, way = self._predicted(fitting, tensors, public, noisy, is_scaled)
        return Finding(
            images=prediction.image.clamp(-1, 1).float().unsqueeze(0),
            labels=labels,
            inferred=inferred,
            estimate=(adaptation.estimate or None) if adaptation is not None else None,
            seconds=time.perf_counter() - started,
            evaluation={
                "way": way,
                "mode": received.procedure.batch_norm_mode,
                "leave_one_out_mse": prediction.leave_one_out_mse,
                "mean_image_mse": public.spread,
                "tensors": dict(prediction.weights),
                "noise": prediction.noise,
                "scale": prediction.scale,
                "public": target.public_origin,
                "public_images": len(public.images) // public.twins,
                "mirrored": public.twins > 1,
            },
            predicted_mse=prediction.mse,
        )

    def rehearsed(
        self, received: Received, target: Target, noise: float, count: int
    ) -> tuple[FitKey, Callable[[], list[Rehearsal]]]:
        """Public images in the place of the private one; see `Rehearsal`.

        Args:
            received: What was received, of one image; its tensors are not all zeros.
            target: What is attacked.
            noise: The standard deviation of the noise in it per entry, were it of public images'
                updates' size (``noise`` over ``scale`` of a finding's ``evaluation``).
            count: How many images at most.

        Returns:
            What they depend on but the noise, and what makes them.
        """
        _, labels = received.assumed_labels(target.model, target.classifier)
        label, public = int(labels[0]), self._public_of(target)
        fitting, _, adaptation = self._fitting(received, target, label)
        assert fitting is not None

        def make() -> list[Rehearsal]:
            fit = self._fit(fitting, self._examples_of(fitting))
            return rehearsals(count, fit, public.images, received, target, label, adaptation, noise)

        return fitting.key, make

    @property
    def needs_public(self) -> int:
        """See `Attack.needs_public`."""
        return self.public_images

    def sample(self) -> tuple[Attack, float]:
        """See `Attack.sample`: with few public images; a fit takes their number's square."""
        short = LearnedInversion(
            min(self.public_images, _SAMPLED),
            self.mirrored,
            self.adaptive,
            self.known_label,
            self.believes,
            self._memory / MEBIBYTE,
        )
        return short, (self.public_images / short.public_images) ** 2

    @property
    def evaluations(self) -> int:
        """None: its updates are of public images."""
        return 0

    @property
    def cost(self) -> float:
        """Of one update, with a share of the fit."""
        return float(self.public_images)

    def _fitting(
        self, received: Received, target: Target, label: int
    ) -> tuple[_Fitting | None, dict[str, Tensor], Adaptation | None]:
        """What is fitted for an update, its usable tensors, and the estimate of the defense."""
        named = dict(zip(trainable_parameters(target.model), received.update, strict=True))
        tensors = {
            name: named[name]
            for name in usable_tensors(target.model, target.classifier)
            if bool(named[name].any())
        }
        if not tensors:
            return None, tensors, None
        adaptation = None
        if self.adaptive:
            adaptation = received.defense.adapt(received.update, target.classifier)
        changing, public = shared_adaptation(adaptation), self._public_of(target)
        fitting = _Fitting(target, received.procedure, changing, label, list(tensors), public)
        return fitting, tensors, adaptation

    def _predicted(
        self,
        fitting: _Fitting | None,
        tensors: Mapping[str, Tensor],
        public: _Public,
        noisy: bool,
        is_scaled: bool,
    ) -> tuple[Prediction, str]:
        if fitting is None:  # an update of zeros tells nothing
            mean = public.images.double().cpu().mean(dim=0)
            return Prediction(mean, public.spread, public.spread, 0.0, 0.0, {}), "the mean image"
        examples = self._examples_of(fitting)
        usable = {name: tensors[name] for name in examples.names}
        noise = examples.noise_in(usable)
        fit = self._fit(fitting, examples)
        if noise is None:
            noise = fit.noise_left(usable) if noisy else 0.0
        return fit.predict(usable, noise, is_scaled), fitting.way

    def _matrices(self, target: Target) -> set[str]:
        usable = usable_tensors(target.model, target.classifier)
        return matrix_rules(target.model).keys() & set(usable)

    def _public_of(self, target: Target) -> _Public:
        """The public images, taken once for each source of them."""
        source = target.prior if target.public is None else target.public
        known = (source, target.most_public)
        if self._public is None or self._public[0] != known:
            images = target.public_images(self.public_images)
            both = self.mirrored
            if both is None:
                both = 2 * len(images) <= self.public_images
            if both:
                images = images[: max(LEAST_PUBLIC_IMAGES, self.public_images // 2)]
                images = torch.stack([images, images.flip(-1)], dim=1).flatten(0, 1)
            images = images.to(target.device)
            key = hash_tensors({"images": images})
            self._public = (known, _Public(images, 1 + both, key))
            self._examples.clear()
            self._fits.clear()
        return self._public[1]

    def _examples_of(self, fitting: _Fitting) -> Examples:
        text = fitting.text
        if text not in self._examples:
            _make_room(self._examples)
            self._examples[text] = fitting.examples(self._memory)
        self._examples.move_to_end(text)
        return self._examples[text]

    def _fit(self, fitting: _Fitting, examples: Examples) -> LearnedFit:
        if fitting.text not in self._fits:
            images, twins = fitting.public.images, fitting.public.twins

            def make() -> Mapping[str, Tensor]:
                started = time.perf_counter()
                made = LearnedFit.make(examples, images, twins, self._memory)
                seconds = time.perf_counter() - started
                text = "Learned inversion: fitted on %d public images under label %d in %.0f s."
                _log.info(text, len(images) // twins, fitting.label, seconds)
                return made

            key = {**fitting.key, "part": "fit", "memory": self._memory}
            kept = fitting.target.fits.get(key, make)
            _make_room(self._fits)
            self._fits[fitting.text] = LearnedFit(examples, images, kept, twins)
        self._fits.move_to_end(fitting.text)
        return self._fits[fitting.text]


class _Fitting:
    """All that the updates of public images depend on.

    Args:
        target: What is attacked.
        procedure: What the attacker believes that the client did.
        adaptation: What it believes that the defense changed, but scales.
        label: The label assumed.
        names: Tensors that may be used.
        public: The public images.
    """

    def __init__(
        self,
        target: Target,
        procedure: ClientProcedure,
        adaptation: Adaptation | None,
        label: int,
        names: list[str],
        public: _Public,
    ) -> None:
        self.target = target
        self.procedure = procedure
        self.adaptation = adaptation
        self.label = label
        self.names = names
        self.public = public
        self.key = {
            "attack": "learned inversion",
            "version": 1,
            "model": module_hash(target.model),
            "procedure": identity(procedure),
            "adaptation": None if adaptation is None else text_of(adaptation),
            "label": label,
            "tensors": names,
            "public": public.key,
            "twins": public.twins,
        }
        self.text = str(self.key)

    @property
    def way(self) -> str:
        """How updates of public images are compared, in words."""
        closed = in_closed_form(self.procedure, self.adaptation)
        return "in closed form" if closed else "by simulated updates"

    def examples(self, memory_bytes: int) -> Examples:
        """The updates of the public images."""
        model, images = self.target.model, self.public.images
        if in_closed_form(self.procedure, self.adaptation):
            return closed_form(model, self.names, images, self.label, memory_bytes)
        made: list[SimulatedExamples] = []

        def simulate(kept: Mapping[str, Tensor] | None = None) -> SimulatedExamples:
            return simulated(
                model,
                self.names,
                images,
                self.label,
                memory_bytes,
                self.procedure,
                self.adaptation,
                kept,
            )

        def make() -> Mapping[str, Tensor]:
            made.append(simulate())
            return made[0].state

        key = {**self.key, "part": "examples", "memory": memory_bytes}
        kept = self.target.fits.get(key, make)
        return made[0] if made else simulate(kept)


def _too_few(count: int) -> list[str]:
    if count >= LEAST_PUBLIC_IMAGES:
        return []
    return [
        f"There are {count} public images: LearnedInversion needs {LEAST_PUBLIC_IMAGES} at the "
        "least, and hundreds to be of use. Give more (data.public), or leave that attack out."
    ]


def _make_room(held: OrderedDict[str, Any]) -> None:
    while len(held) >= _HELD:
        held.popitem(last=False)
