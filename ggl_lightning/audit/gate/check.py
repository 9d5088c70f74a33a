"""Checks an audit as a whole."""

from __future__ import annotations

from dataclasses import dataclass

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from ggl_lightning.attacks import Target
from ggl_lightning.audit.gate.disk import check_room
from ggl_lightning.audit.gate.images import (
    image_problems,
    largest_label,
    private_images,
    private_indices,
    public_problems,
)
from ggl_lightning.audit.gate.records import random_images, record_problems
from ggl_lightning.audit.gate.trainer import trainer_problems
from ggl_lightning.audit.gate.updates import update_problems
from ggl_lightning.audit.plan.data_module import AuditDataModule
from ggl_lightning.audit.plan.image_size import image_size_of
from ggl_lightning.audit.results.run_folder import RunFolder
from ggl_lightning.clients import find_classifier_layer
from ggl_lightning.clients.procedures import ClientProcedure
from ggl_lightning.clients.validation import client_model_problems, is_random
from ggl_lightning.devices import device_of
from ggl_lightning.federated import FederatedTraining
from ggl_lightning.priors.base import Prior
from ggl_lightning.priors.validation import prior_problems
from ggl_lightning.problems import Problems


@dataclass(frozen=True)
class Candidate:
    """An audit that wants to start.

    Attributes:
        client_model: The client model, in eval mode.
        prior: The prior, on the same device, if there is one.
        procedure: How a client's images become an update.
        utility: The federated training, if there is one.
        run_folder: Where results go.
        grid: The cases; not set up yet.
        believed: The procedure, if one was given: what the attacker believes of records.
        structure: `module_identity` of the client model as it was built.
        random_samples: How many random images are to stand for chance.
        image_size: Height and width of the images, if that is given.
    """

    client_model: nn.Module
    prior: Prior | None
    procedure: ClientProcedure
    utility: FederatedTraining | None
    run_folder: RunFolder
    grid: AuditDataModule
    believed: ClientProcedure | None
    structure: str
    random_samples: int
    image_size: int | None


def check_audit(audit: Candidate, trainer: pl.Trainer) -> None:
    """Checks everything about an audit that can be known before its first search.

    Sets up the grid; runs prior and client model once on the device they are on, and every defense
    on the one that the audit will use, to which it moves both. Writes nothing.

    Args:
        audit: The audit.
        trainer: What is to run it; not started.

    Raises:
        UserError: With everything that stands in the way.
    """
    problems = Problems()
    problems.extend(trainer_problems(trainer))
    folder = problems.of(audit.run_folder.check_writable)
    is_set_up = _set_up(audit, problems)
    device = trainer.strategy.root_device
    size = problems.of(
        lambda: image_size_of(audit.prior, audit.grid, audit.client_model, audit.image_size)
    )
    if size is None:  # without it nothing can be tried
        problems.raise_if_any()
        raise AssertionError
    if audit.grid.records is None:
        images = _check_images(audit, size, problems) if is_set_up else None
        _check_models(audit, images, size, device, problems)
    else:
        _check_records(audit, is_set_up, size, device, problems)
    if folder is not None and not problems:
        finished = audit.run_folder.count_results()
        problems.of(lambda: check_room(folder, audit.grid, audit.prior, finished))
    problems.raise_if_any()


def _check_records(
    audit: Candidate, is_set_up: bool, size: int, device: torch.device, problems: Problems
) -> None:
    """Prior, client model and records, and what an audit of records cannot have."""
    model, prior = audit.client_model, audit.prior
    if is_set_up:
        problems.extend(
            record_problems(audit.grid, model, prior, size, audit.believed, audit.structure)
        )
    else:
        if prior is not None:
            problems.extend(prior_problems(prior, [0]))
        examples = random_images(2, size).to(device_of(model))
        problems.extend(client_model_problems(model, examples))
    if audit.utility is not None:
        problems.add(
            "model.utility trains under data.defenses, which with data.records are only what the "
            "attacker believes: leave it out, and measure what a defense costs in an audit of "
            "private images."
        )
    if not problems:
        _move(audit, device)


def _move(audit: Candidate, device: torch.device) -> None:
    audit.client_model.to(device)
    if audit.prior is not None:
        audit.prior.to(device)


def _set_up(audit: Candidate, problems: Problems) -> bool:
    def set_up() -> bool:
        audit.grid.prepare_data()
        audit.grid.setup("test")
        audit.grid.open_public(audit.random_samples if audit.prior is None else None)
        return True

    return problems.of(set_up) is not None


@dataclass(frozen=True)
class _Images:
    """What the models are tried on.

    Attributes:
        first: The first client's private images ``(N, 3, H, W)``; None if they cannot be used.
        labels: Labels of private images: the smallest and the largest.
        largest: The largest label there is; None if labels cannot be used.
    """

    first: Tensor | None
    labels: list[int]
    largest: int | None


def _check_images(audit: Candidate, size: int, problems: Problems) -> _Images:
    grid = audit.grid
    found = problems.of(lambda: image_problems(grid, audit.utility))
    problems.extend(found or [])
    if found == [] and grid.opened_public is not None:
        problems.extend(public_problems(grid, size, private_images(grid)))
    private = grid.labels[private_indices(grid)]
    return _Images(
        first=_first_images(grid).to(device_of(audit.client_model)) if found == [] else None,
        labels=sorted({int(private.min()), int(private.max())}),
        largest=problems.of(lambda: largest_label(grid, audit.utility)),
    )


def _check_models(
    audit: Candidate,
    images: _Images | None,
    size: int,
    device: torch.device,
    problems: Problems,
) -> None:
    """Prior and client model, each of which is tried whatever is wrong of the rest."""
    grid, model, prior = audit.grid, audit.client_model, audit.prior
    first, labels, largest = (
        (None, [0], None) if images is None else (images.first, images.labels, images.largest)
    )
    if prior is not None:
        problems.extend(prior_problems(prior, labels))
    said = grid.image_data.image_size
    found = (3, said, said) if first is None else tuple(first.shape[1:])
    expected = (3, size, size)
    if found != expected:
        problems.add(
            f"The private images have shape {found} but image_size is {size}: make both the same."
            if prior is None
            else f"The private images have shape {found} but the prior generates {expected}: set "
            f"image_size of the images to {size}, or choose another prior."
        )
        examples = _examples(expected, None).to(device_of(model))  # after that has been mended
    else:
        examples = _examples(found, first).to(device_of(model))
    wrong_client = client_model_problems(model, examples, largest)
    problems.extend(wrong_client)
    if wrong_client:
        return
    if is_random(model, examples):
        problems.add(
            f"The client model {type(model).__name__} returns other logits for the same images "
            "when it is called again in eval mode: let dropout and whatever else is random in it "
            "be off then, or no candidate can be compared with what was sent."
        )
    shape = (3, examples.shape[2], examples.shape[3])
    problems.extend(audit.procedure.problems(model, shape, grid.client_batch))
    if audit.utility is not None and largest is not None:
        labels_of_clients = grid.image_data.labels("train")
        problems.extend(audit.utility.procedure_problems(model, shape, labels_of_clients))
    classifier = find_classifier_layer(model, examples)
    # Public images that cannot be used have been told of: attacks are not to stumble over them.
    public = None if problems else grid.opened_public
    target = Target(
        model, classifier, prior, public, image_size=size, most_public=grid.public_images
    )
    for attack in grid.attacks.values():
        if public is None and prior is None and problems and attack.needs_public:
            continue
        problems.extend(attack.problems(target, grid.client_batch, audit.procedure))
    if first is None or problems:
        return
    if prior is not None and not all(each.known_label for each in grid.attacks.values()):
        # A label that is inferred may be any that the client model has.
        problems.extend(prior_problems(prior, [classifier.layer.out_features - 1]))
    if problems:
        return
    # Not before: a label that is out of range would leave an accelerator unusable.
    _move(audit, device)
    spec = grid.cases.specs[0]
    problems.extend(
        update_problems(
            model,
            classifier,
            audit.procedure,
            grid.defenses,
            first.to(device),
            grid.labels[list(spec.indices)].to(device),
            spec.seed,
        )
    )


def _first_images(grid: AuditDataModule) -> Tensor:
    """The first client's private images."""
    dataset = grid.image_data.dataset(grid.split)
    return torch.stack([dataset[index][0] for index in grid.cases.specs[0].indices])


def _examples(shape: tuple[int, ...], private: Tensor | None) -> Tensor:
    """Two images of the kind that the client model will be given: a private one, if it is there."""
    if private is not None:
        return torch.stack([private[0], private[0].flip(-1).neg()])
    return torch.rand(2, *shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
