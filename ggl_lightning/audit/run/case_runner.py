"""Runs one case: what the client sends, what the attacker finds, how close it comes."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ggl_lightning.attacks import Attack, Finding, Progress, Received, Target
from ggl_lightning.audit.plan.case import Case
from ggl_lightning.audit.plan.companions import Companions
from ggl_lightning.audit.plan.controls import (
    Resources,
    SampleControl,
    SearchControl,
    UpdateControl,
    control_of,
)
from ggl_lightning.audit.plan.keys import describe
from ggl_lightning.audit.plan.public_images import NO_RANDOM_IMAGES
from ggl_lightning.audit.plan.sources import Lineup
from ggl_lightning.audit.results.row import Outcome, of_member, row
from ggl_lightning.audit.results.schema import missing_without_private_image
from ggl_lightning.audit.run.matching import match_to_originals
from ggl_lightning.audit.run.received_update import (
    EMPTY,
    check_buffers,
    check_update,
    client_generator,
    is_empty,
    sent_record,
)
from ggl_lightning.audit.run.scoring import Scorer
from ggl_lightning.clients.procedures import ClientProcedure, ClientState
from ggl_lightning.defenses import ClientSide
from ggl_lightning.metrics import InferredLabelAccuracy
from ggl_lightning.seeding import seeded
from ggl_lightning.updates import UpdateRecord

_log = logging.getLogger(__name__)

_NO_LABEL = "no private label was given"


class CaseRunner:
    """Runs cases, one after the other.

    Args:
        target: What is attacked: the client model in eval mode, and what the attacker has.
        procedure: How a client's images become an update.
        scorer: Scores reconstructions.
        companions: Where other clients' images come from.
        setting: For the results, see `row`.
        record: The recorded update that all cases are of; None if clients are simulated.
    """

    def __init__(
        self,
        target: Target,
        procedure: ClientProcedure,
        scorer: Scorer,
        companions: Companions | Lineup,
        setting: Mapping[str, str],
        record: UpdateRecord | None = None,
    ) -> None:
        self._client_model = target.model
        self._classifier = target.classifier
        self._target = target
        self._procedure = procedure
        self._state = ClientState.of(target.model)
        # A copy: nothing that the client's own object may remember reaches an attacker.
        self._told = copy.deepcopy(procedure)
        self._scorer = scorer
        self._setting = setting
        self._record = record
        self._resources = Resources(self._target, companions, self._sent, scorer.score_random)

    def run(self, case: Case, key: str, progress: Progress) -> Outcome:
        """Runs one case, whatever the surrounding grad mode is.

        Args:
            case: The case.
            key: Its key, for the result.
            progress: What to tell of its attack, and what was kept of it when it was interrupted.

        Raises:
            UnusableUpdateError: If the update is not finite.
            NonFiniteLossError: If the objective becomes NaN or infinite.
        """
        originals = None if case.images is None else case.images.to(self._target.device)
        # Some optimisers draw from the global generators: seed them per case and put them back.
        with seeded(case.spec.seed):
            control = control_of(case.spec.role)
            if isinstance(control, SampleControl):
                return self._sampled(case, control, key, originals)
            with torch.enable_grad():
                found, received = self._search(case, originals, progress)
        return self._outcome(case, key, originals, found, received)

    def _sampled(
        self, case: Case, control: SampleControl, key: str, originals: Tensor | None
    ) -> Outcome:
        started = time.perf_counter()
        assert originals is not None
        assert case.labels is not None
        labels = case.labels.to(originals.device)
        samples = control.sample(case, originals, labels, self._resources)
        result = {
            **row(case, key, self._setting),
            **samples.scores,
            "assumed_labels": case.labels.tolist(),
            "psnr_random_mean": samples.scores["psnr"],
            "rounds": 0,
            "evaluations": 0,
            "seconds": time.perf_counter() - started,
        }
        artefacts = {} if samples.latents is None else {"latent": samples.latents.cpu()}
        return Outcome(result, samples.images.cpu(), artefacts, histories=[])

    def _search(
        self, case: Case, originals: Tensor | None, progress: Progress
    ) -> tuple[Finding, Received | None]:
        """What was found, and what it was found from."""
        attack, seed = case.attack, case.spec.seed
        labels = None if case.labels is None else case.labels.to(self._target.device)
        assert attack is not None
        control = control_of(case.spec.role)
        if isinstance(control, SearchControl):
            assert originals is not None
            assert labels is not None
            return control.search(case, originals, labels, self._resources, progress), None
        received = self._received(case, attack, originals, labels)
        if isinstance(control, UpdateControl):
            received = self._controlled(case, control, received)
        if is_empty(received.update):
            _log.warning("%s: %s.", case.spec.name, EMPTY)
        return attack.run(received, self._target, seed, progress), received

    def _controlled(self, case: Case, control: UpdateControl, received: Received) -> Received:
        """A control's update in the place of the received one, with the labels the attack assumes.

        A null that inferred other labels would be beaten by the label alone.
        """
        labels = received.labels
        if labels is None:
            inferred = received.read_labels(self._client_model, self._classifier)
            labels = torch.tensor(inferred.labels)
        record = control.record(case, received, self._resources)
        return replace(received, record=record, labels=labels)

    def _received(
        self, case: Case, attack: Attack, images: Tensor | None, labels: Tensor | None
    ) -> Received:
        assert case.defense is not None
        record = self._record
        if record is None:
            assert images is not None
            assert labels is not None
            record = self._sent(case, images, labels)
        believed = attack.believed(self._told)
        return Received(
            record=record,
            procedure=believed,
            defense=case.defense,
            labels=labels if attack.known_label else None,
        )

    def _sent(self, case: Case, images: Tensor, labels: Tensor) -> UpdateRecord:
        assert case.defense is not None
        assert case.spec.defense_name is not None
        client = ClientSide(
            model=self._client_model,
            images=images,
            labels=labels,
            classifier=self._classifier,
            generator=torch.Generator().manual_seed(case.spec.seed),
        )
        order = self._procedure.order(len(images), client_generator(case.spec.seed))
        update = self._procedure.compute(self._state, images, labels, order)
        true = list(update.tensors.values())
        sent = case.defense(true, client)
        check_update(sent, case.spec.defense_name, true)
        check_buffers(update.buffers)
        return sent_record(update, sent)

    def _outcome(
        self,
        case: Case,
        key: str,
        originals: Tensor | None,
        found: Finding,
        received: Received | None,
    ) -> Outcome:
        control = control_of(case.spec.role)
        keeps_order = isinstance(control, SearchControl) and control.keeps_order
        if case.images is None or found.images is None or keeps_order:
            order = torch.arange(len(found.labels))
        else:
            order = match_to_originals(found.images, case.images)
        reconstructions = None if found.images is None else found.images[order]
        labels = found.labels[order]
        scores = self._scores(case, originals, reconstructions, labels, found, received)
        empty = received is not None and is_empty(received.update)
        base = row(case, key, self._setting)
        result = {
            **base,
            **self._label_fields(case, found, empty),
            **scores,
            "missing_metrics": scores["missing_metrics"] | self._missing_labels(case, found, empty),
            "assumed_labels": labels.tolist(),
            "predicted_mse": found.predicted_mse,
            "loss": found.loss,
            "trial": found.trial,
            "rounds": found.rounds,
            "evaluations": found.evaluations,
            "seconds": found.seconds,
            "stop_reason": "; ".join(found.stop_reasons) or None,
            "defense_estimate": found.estimate,
            "noise_multiplier": _noise_multiplier(case, received),
            "details": {
                **base["details"],
                "trial_losses": list(found.trial_losses),
                "procedure": describe(self._procedure),
                "device": str(self._target.device),
                "evaluation": dict(found.evaluation),
                "label_inference": None if found.inferred is None else found.inferred.way,
            },
        }
        artefacts = {name: values[order] for name, values in found.artefacts.items()}
        members = self._members(case, key, originals, found, received)
        return Outcome(result, reconstructions, artefacts, found.histories, members)

    def _members(
        self,
        case: Case,
        key: str,
        originals: Tensor | None,
        found: Finding,
        received: Received | None,
    ) -> dict[str, Outcome]:
        """What the attacks left behind that the case's attack is made of."""
        outcomes = {}
        for name, finding in found.members.items():
            assert case.attack is not None
            own = replace(case, attack=case.attack.members[name])
            outcome = self._outcome(own, key, originals, finding, received)
            outcomes[name] = replace(outcome, result=of_member(outcome.result, name))
        return outcomes

    def _scores(
        self,
        case: Case,
        originals: Tensor | None,
        reconstructions: Tensor | None,
        labels: Tensor,
        found: Finding,
        received: Received | None,
    ) -> dict[str, Any]:
        """What can be said only where the private images are known, or why it cannot."""
        if originals is None:
            missing = missing_without_private_image()
            return {**dict.fromkeys(missing), "missing_metrics": missing}
        attack = case.attack
        assert attack is not None

        def rank(lineup: Tensor) -> Tensor | None:
            assert received is not None
            return attack.rank(received, found, lineup, self._target)

        with torch.no_grad():
            scores = self._scorer.score(
                None if reconstructions is None else reconstructions.to(originals.device),
                originals,
                case.places,
                None if received is None else rank,
            )
            random_psnr = self._scorer.random_psnr(originals, labels, case.spec.seed)
        if random_psnr is None:
            missing = {**scores["missing_metrics"], "psnr_random_mean": NO_RANDOM_IMAGES}
            scores = {**scores, "missing_metrics": missing}
        return {**scores, "psnr_random_mean": random_psnr}

    def _label_fields(self, case: Case, found: Finding, empty: bool) -> dict[str, Any]:
        """What label inference achieved; of a control nothing, since it is given labels."""
        if control_of(case.spec.role) is not None or found.inferred is None:
            return {}
        if empty:  # the label that is assumed then is that of a tie
            wrong = {} if case.labels is None else {"label_correct": False, "label_accuracy": 0.0}
            return {**wrong, "label_margin": 0.0}
        inferred = found.inferred.labels
        if case.labels is None:
            return {"inferred_labels": inferred, "label_margin": found.inferred.margin}
        accuracy = InferredLabelAccuracy()(torch.tensor(inferred), case.labels).item()
        return {
            "inferred_labels": inferred,
            "label_correct": accuracy == 1,
            "label_accuracy": accuracy,
            "label_margin": found.inferred.margin,
        }

    def _missing_labels(self, case: Case, found: Finding, empty: bool) -> dict[str, str]:
        """Why no labels were inferred from an update."""
        if control_of(case.spec.role) is not None:
            return {}
        if found.inferred is None:
            reason = "the client model's last layer is frozen, hence in no update"
            return dict.fromkeys(("inferred_labels", "label_accuracy"), reason)
        missing = {} if case.labels is not None else {"label_accuracy": _NO_LABEL}
        return {**missing, "inferred_labels": EMPTY} if empty else missing


def _noise_multiplier(case: Case, received: Received | None) -> float | None:
    """That of all that was sent: a record's defense is only believed in, buffers have no noise."""
    if case.defense is None or case.recorded is not None or received is None:
        return None
    return None if received.record.buffers else case.defense.noise_multiplier_after(None)
