"""The audit of one update from Python."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from ggl_lightning.attacks import Attack, Finding, Progress, Received, Target
from ggl_lightning.attacks.standard import BUDGET, StandardAttack
from ggl_lightning.audit.plan.sources import RecordedUpdate, agreed_count
from ggl_lightning.audit.results.schema.columns import (
    NO_PRIVATE_IMAGE,
    NO_RECONSTRUCTION,
    ONLY_BY_RECONSTRUCTION,
)
from ggl_lightning.audit.run.matching import match_to_originals
from ggl_lightning.audited_update import AttackResult, AuditedUpdate, check_new_folder
from ggl_lightning.clients import find_classifier_layer
from ggl_lightning.clients.procedures import ClientProcedure
from ggl_lightning.clients.validation import client_model_problems
from ggl_lightning.defenses import Defense, NoDefense
from ggl_lightning.devices import device_of
from ggl_lightning.errors import UserError, check_positive
from ggl_lightning.metrics import (
    InferredLabelAccuracy,
    build_reconstruction_metrics,
    identification_ranks,
    mean_psnr,
    rank_of_first,
)
from ggl_lightning.priors import WGANGPPrior
from ggl_lightning.priors.base import Prior
from ggl_lightning.priors.batched import generate_in_batches
from ggl_lightning.problems import Problems
from ggl_lightning.seeding import seeded
from ggl_lightning.updates import Recording, UpdateRecord, read_recording

_NO_LINEUP = "no lineup was given"
_RANDOM_SAMPLES = 100
_SHIPPED_SIZE = 32  # of the shipped prior's images, in pixels


def audit_update(
    update: Recording | UpdateRecord | str | Path | Sequence[Tensor] | Mapping[str, Tensor],
    model: nn.Module,
    *,
    prior: Prior | None = None,
    images: Tensor | None = None,
    labels: Tensor | None = None,
    lineup: Tensor | None = None,
    public: Tensor | None = None,
    count: int | None = None,
    kind: Literal["gradient", "difference"] = "gradient",
    procedure: ClientProcedure | None = None,
    defense: Defense | None = None,
    attacks: Literal["standard"] | Mapping[str, Attack] | Sequence[Attack] = "standard",
    budget: int | None = None,
    seed: int = 0,
    out_dir: str | Path | None = None,
) -> AuditedUpdate:
    """Attacks one update and says what it gives away.

    Nothing is written unless ``out_dir`` is given, and the model stays as it is.

    Args:
        update: What was sent: a recording or its file; or a record or bare tensors, which were
            computed at the weights that the model has: by name, or as a list in
            ``model.parameters()`` order, one for each that requires gradients.
        model: The client model. With a recording its weights are taken from that.
        prior: The attacker's prior; None for the shipped one, of drawn faces, where images have its
            32x32 pixels, and for none where they have others.
        images: The private images ``(N, 3, H, W)`` in ``[-1, 1]``, if they are known: then it is
            measured how close the attacks come.
        labels: Their labels ``(N,)``, if they are known: whether inferred ones are right, and what
            attacks with ``known_label`` are told.
        lineup: Other images ``(M, 3, H, W)`` in ``[-1, 1]``, among which the first private image is
            to be identified.
        public: Images ``(M, 3, H, W)`` in ``[-1, 1]`` that the attacker has of the same kind: what
            attacks learn from that learn first, in place of samples of the prior. Without a prior
            they stand for chance, too.
        count: Private images behind the update; taken from ``images``, ``labels`` or the record if
            None.
        kind: Of bare tensors: a gradient, or a difference (weights after minus before).
        procedure: What the attacker believes that the client did; None for the plainest procedure
            that fits what the record says, see `believed_procedure`.
        defense: Which kind of defense it believes in; an adaptive attack estimates its parameters
            from the update.
        attacks: ``standard`` (`StandardAttack`), or attacks, with or without names.
        budget: Rounds of the search in ``standard``; 500 if None.
        seed: Everything random follows from it.
        out_dir: A new or empty folder to write the result into.

    Returns:
        What was found, which prints as a table and shows its pictures in a notebook.

    Raises:
        UserError: With everything that stands in the way, before the first attack.
    """
    size = _image_size(model, prior, images, lineup, public)
    if prior is None and size == _SHIPPED_SIZE:
        prior = WGANGPPrior()
    if prior is not None:
        prior = prior.eval()
    recording = _recording(update, model, kind)
    number = _count(recording.record, images, labels, count)
    loaded = RecordedUpdate(
        "update",
        recording,
        model if prior is None else _on(model, prior.device),
        procedure=procedure,
        count=number,
    ).load()
    record, model, believed = loaded.record, loaded.model, loaded.procedure
    problems = Problems()
    problems.extend(_shape_problems(images, labels, lineup, public, size, prior))
    shape = (3, size, size)
    examples = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    examples = examples.to(device_of(model))
    largest = None if labels is None or labels.numel() == 0 else int(labels.max())
    problems.extend(client_model_problems(model, examples, largest))
    problems.raise_if_any()
    problems.extend(believed.problems(model, shape, number))
    taken = None if public is None else _evenly(public)
    target = Target(model, find_classifier_layer(model, examples), prior, taken, image_size=size)
    chosen = _fitting(attacks, budget, target, number, believed, problems)
    left_out: dict[str, str] = {}
    if labels is None and any(attack.known_label for attack in chosen.values()):
        problems.add("An attack has known_label, but labels are not given: give them.")
    problems.raise_if_any()
    if out_dir is not None:
        check_new_folder(Path(out_dir))
    scorer = _Scorer(target, images, labels, lineup)
    results = {}
    for name, attack in chosen.items():
        received = Received(
            record,
            attack.believed(believed),
            NoDefense() if defense is None else defense,
            labels if attack.known_label else None,
        )
        with seeded(seed), torch.enable_grad():
            finding = attack.run(received, target, seed, Progress())
        results[name] = scorer(name, finding, attack, received)
        for member, own in finding.members.items():
            full = f"{name}/{member}"
            results[full] = scorer(full, own, attack.members[member], received)
        for member, reason in _left_out(finding).items():
            left_out[f"{name}/{member}"] = reason
    found = AuditedUpdate(
        results,
        scorer.chance(results, seed),
        left_out,
        images,
        {
            "update": f"{record.kind} of {number} image{'s' * (number > 1)}",
            "client model": type(model).__name__,
            "procedure": f"{type(believed).__name__} ({believed.batch_norm_mode} mode)",
            "defense": "none" if defense is None else type(defense).__name__,
            "prior": "none" if prior is None else type(prior).__name__,
        },
    )
    if out_dir is not None:
        found.save(out_dir)
    return found


def _image_size(model: nn.Module, prior: Prior | None, *given: Tensor | None) -> int:
    """Height and width of images: the prior's, those of images that are given, or the model's."""
    if prior is not None:
        return prior.image_size
    widths = [each.shape[-1] for each in given if each is not None and each.dim() == 4]
    said = getattr(model, "image_size", None)
    return next(iter([*widths, *([said] if isinstance(said, int) else [])]), _SHIPPED_SIZE)


def _evenly(public: Tensor) -> Callable[[int], Tensor]:
    """So many of the public images, spread over them."""

    def take(count: int) -> Tensor:
        taken = min(count, len(public))
        return public[[i * len(public) // taken for i in range(taken)]]

    return take


def _left_out(finding: Finding) -> Mapping[str, str]:
    """The members that an attack did not run, with the reason."""
    found = finding.evaluation.get("left_out", {})
    assert isinstance(found, Mapping)
    return found


def _on(model: nn.Module, device: torch.device) -> nn.Module:
    """The model on a device; a copy of it, if it is on another one."""
    where = next(model.parameters()).device
    return model if where == device else copy.deepcopy(model).to(device)


def _recording(
    update: Recording | UpdateRecord | str | Path | Sequence[Tensor] | Mapping[str, Tensor],
    model: nn.Module,
    kind: Literal["gradient", "difference"],
) -> Recording:
    if isinstance(update, str | Path):
        return read_recording(update)
    if isinstance(update, Recording):
        return update
    parameters = dict(model.named_parameters())
    trainable = [name for name, parameter in parameters.items() if parameter.requires_grad]
    if isinstance(update, UpdateRecord):
        record = update
    else:
        if not isinstance(update, Mapping):
            if len(update) != len(trainable):
                raise UserError(
                    f"The update has {len(update)} tensors, but {len(trainable)} parameters of the "
                    f"client model {type(model).__name__} require gradients: give one for each, or "
                    "a mapping by name."
                )
            update = dict(zip(trainable, update, strict=True))
        record = UpdateRecord(update, kind, mode="eval" if kind == "gradient" else None)
    buffers = {n: b for n, b in model.state_dict().items() if n not in parameters}
    not_sent = tuple(name for name in parameters if name not in record.tensors)
    return Recording(record, parameters, buffers, not_sent)


def _count(
    record: UpdateRecord, images: Tensor | None, labels: Tensor | None, count: int | None
) -> int:
    number = agreed_count(
        {
            "count": count,
            "images": None if images is None else len(images),
            "labels": None if labels is None else len(labels),
            "the record": record.count,
        },
        "It is not known how many images are behind the update: give count, or images.",
    )
    check_positive("count", number)
    return number


def _shape_problems(
    images: Tensor | None,
    labels: Tensor | None,
    lineup: Tensor | None,
    public: Tensor | None,
    size: int,
    prior: Prior | None,
) -> list[str]:
    problems = []
    expected = (3, size, size)
    for name, given in (("images", images), ("lineup", lineup), ("public", public)):
        if given is None:
            continue
        if given.dim() != 4 or tuple(given.shape[1:]) != expected:
            wanted = f"(N, {', '.join(map(str, expected))})"
            problems.append(
                f"{name} has shape {tuple(given.shape)}: give {wanted}, as all images."
                if prior is None
                else f"{name} has shape {tuple(given.shape)}: the prior generates {expected}, so "
                f"give {wanted} or another prior."
            )
        elif not given.is_floating_point() or not bool((given.abs() <= 1).all()):
            problems.append(
                f"{name} must be floating-point numbers in [-1, 1]: found {given.dtype} from "
                f"{given.min().item():g} to {given.max().item():g}."
            )
    if lineup is not None and images is None:
        problems.append("A lineup is given without images: give the private ones that are sought.")
    if labels is not None and (labels.dim() != 1 or labels.is_floating_point()):
        problems.append(
            f"labels has shape {tuple(labels.shape)} and dtype {labels.dtype}: give whole numbers "
            "(N,)."
        )
    return problems


def _fitting(
    attacks: Literal["standard"] | Mapping[str, Attack] | Sequence[Attack],
    budget: int | None,
    target: Target,
    count: int,
    believed: ClientProcedure,
    problems: Problems,
) -> dict[str, Attack]:
    """The attacks to run, by name."""
    if isinstance(attacks, str):
        if attacks != "standard":
            raise UserError(f"attacks is {attacks!r}: give 'standard', or attacks.")
        standard = StandardAttack(BUDGET if budget is None else budget)
        problems.extend(standard.problems(target, count, believed))
        return {"standard": standard}
    if budget is not None:
        problems.add(f"budget is {budget}, which is for 'standard': set that of each attack.")
    if isinstance(attacks, Mapping):
        named = dict(attacks)
    else:
        named = {f"{type(each).__name__}{i}": each for i, each in enumerate(attacks)}
        if len({type(each) for each in attacks}) == len(named):
            named = {type(each).__name__: each for each in attacks}
    if not named:
        problems.add("attacks is empty: give at least one.")
    for attack in named.values():
        problems.extend(attack.problems(target, count, believed))
    return named


class _Scorer:
    """Compares findings with the truth, as far as it is known."""

    def __init__(
        self,
        target: Target,
        images: Tensor | None,
        labels: Tensor | None,
        lineup: Tensor | None,
    ) -> None:
        self._target = target
        self._images = None if images is None else images.to(target.device).contiguous()
        self._labels = labels
        self._lineup = lineup
        self._metrics = build_reconstruction_metrics(
            target.model, target.classifier.layer, target.image_shape[-1]
        )

    def __call__(
        self, name: str, finding: Finding, attack: Attack, received: Received
    ) -> AttackResult:
        collection = self._metrics.collection().to(self._target.device)
        scores: dict[str, float] = {}
        missing = dict(self._metrics.missing)
        if self._labels is not None and finding.inferred is not None:
            inferred = torch.tensor(finding.inferred.labels)
            scores["label_accuracy"] = InferredLabelAccuracy()(inferred, self._labels).item()
        if self._images is None:
            names = (*map(str, collection), "rank", "rank_update")
            return AttackResult(name, finding, scores, missing | _all(names, NO_PRIVATE_IMAGE))
        ranks, lacking = self._ranks(finding, attack, received)
        scores |= ranks
        missing |= lacking
        if finding.images is None:
            names = (*map(str, collection), "rank")
            return AttackResult(name, finding, scores, missing | _all(names, NO_RECONSTRUCTION))
        finding = _in_order(finding, match_to_originals(finding.images, self._images.cpu()))
        assert finding.images is not None
        found = finding.images.to(self._target.device)
        with torch.no_grad():
            scores |= {key: value.item() for key, value in collection(found, self._images).items()}
        if self._lineup is None:
            missing["rank"] = _NO_LINEUP
        else:
            place = identification_ranks(found[:1], self._images[:1], self._lineup)
            scores["rank"] = int(place[0])
        return AttackResult(name, finding, scores, missing)

    def _ranks(
        self, finding: Finding, attack: Attack, received: Received
    ) -> tuple[dict[str, float], dict[str, str]]:
        """The first private image's rank by the update, or why there is none."""
        assert self._images is not None
        if self._lineup is None:
            return {}, {"rank_update": _NO_LINEUP}
        lineup = torch.cat([self._images[:1], self._lineup.to(self._images)])
        with torch.enable_grad():
            found = attack.rank(received, finding, lineup, self._target)
        if found is None:
            return {}, {"rank_update": ONLY_BY_RECONSTRUCTION}
        return {"rank_update": rank_of_first(found)}, {}

    def chance(self, results: Mapping[str, AttackResult], seed: int) -> dict[str, float]:
        """The mean PSNR and MSE of random samples of the prior with the labels assumed.

        Without a prior, of public images; nothing if there are none.
        """
        if self._images is None or not results:
            return {}
        target = self._target
        if target.prior is None and target.public is None:
            return {}
        labels = next(iter(results.values())).finding.labels
        generator = torch.Generator().manual_seed(seed)
        psnr, mse = [], []
        for image, label in zip(self._images, labels, strict=True):
            samples = self._random(int(label), generator)
            psnr.append(mean_psnr(samples, image))
            mse.append((samples - image).square().mean().item())
        return {"psnr": sum(psnr) / len(psnr), "mse": sum(mse) / len(mse)}

    def _random(self, label: int, generator: torch.Generator) -> Tensor:
        """Random images ``(M, 3, H, W)``, of the label where there is a prior."""
        prior, public = self._target.prior, self._target.public
        if prior is None:
            assert public is not None
            return public(_RANDOM_SAMPLES).to(self._target.device)
        latents = prior.sample(_RANDOM_SAMPLES, generator)
        of_class = torch.full((len(latents),), label, device=prior.device)
        with torch.no_grad():
            return generate_in_batches(prior, latents, of_class)


def _all(names: Sequence[str], reason: str) -> dict[str, str]:
    return dict.fromkeys(names, reason)


def _in_order(finding: Finding, order: Tensor) -> Finding:
    assert finding.images is not None
    return dataclasses.replace(
        finding,
        images=finding.images[order],
        labels=finding.labels[order],
        artefacts={name: values[order] for name, values in finding.artefacts.items()},
    )
