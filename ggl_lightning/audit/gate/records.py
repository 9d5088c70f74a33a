"""Whether recorded updates can be attacked."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ggl_lightning.attacks import Target
from ggl_lightning.attacks.matching.simulation import telling_layers
from ggl_lightning.audit.gate.images import public_problems
from ggl_lightning.audit.plan.data_module import AuditDataModule
from ggl_lightning.audit.plan.sources import LoadedUpdate, RecordedUpdate
from ggl_lightning.audit.run.received_update import UnusableUpdateError, check_record
from ggl_lightning.clients import find_classifier_layer
from ggl_lightning.clients.procedures import ClientProcedure, ClientState
from ggl_lightning.clients.procedures.statistics import read_statistics, values_per_image
from ggl_lightning.clients.validation import client_model_problems
from ggl_lightning.devices import device_of
from ggl_lightning.errors import UserError
from ggl_lightning.priors.base import Prior
from ggl_lightning.priors.validation import prior_problems
from ggl_lightning.problems import Problems


def record_problems(
    grid: AuditDataModule,
    model: nn.Module,
    prior: Prior | None,
    size: int,
    procedure: ClientProcedure | None,
    structure: str,
) -> list[str]:
    """Opens the records of a grid that is set up, and finds out whether attacks can be run on them.

    Args:
        grid: The cases.
        model: The client model, in eval mode.
        prior: The prior, on the same device, if there is one.
        size: Height and width of the images, in pixels.
        procedure: What the attacker believes that clients do; None if each record says it.
        structure: `module_identity` of the client model as it was built.

    Returns:
        Texts for the user: records that do not fit the client model, or lack what is needed; images
        that cannot be read; labels beyond the model's classes; attacks that do not fit.
    """
    problems = Problems()
    opened = problems.of(lambda: grid.open_records(model, size, procedure, structure)) or []
    labels = [labels for each in opened if (labels := each.labels()) is not None]
    largest = max((int(each.max()) for each in labels), default=None)
    if prior is not None:
        problems.extend(prior_problems(prior, [0] if largest is None else sorted({0, largest})))
    examples = random_images(2, size).to(device_of(model))
    wrong_client = client_model_problems(model, examples, largest)
    problems.extend(wrong_client)
    problems.extend(_without_labels(grid, opened))
    if grid.opened_public is not None:
        private = [
            (f"an image of the record {each.name}", image)
            for each in opened
            if (images := each.images()) is not None
            for image in images
        ]
        problems.extend(public_problems(grid, size, private))
    if wrong_client or not opened or problems:
        return list(problems)
    for recorded in opened:
        problems.extend(_attack_problems(grid, recorded, prior, examples))
    told = all(attack.known_label for attack in grid.attacks.values())
    if not problems and prior is not None and not told:
        # A label that is inferred may be any that the client model has.
        classes = find_classifier_layer(model, examples).layer.out_features
        problems.extend(prior_problems(prior, [classes - 1]))
    return list(problems)


def random_images(count: int, size: int) -> Tensor:
    """Images to try models on, always the same: ``(count, 3, size, size)`` in ``[-1, 1]``."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand(count, 3, size, size, generator=generator) * 2 - 1


def _attack_problems(
    grid: AuditDataModule, recorded: RecordedUpdate, prior: Prior | None, examples: Tensor
) -> list[str]:
    problems = Problems()
    loaded = recorded.load()
    size = examples.shape[-1]
    shape = (3, size, size)
    for problem in loaded.procedure.problems(loaded.model, shape, recorded.count):
        problems.add(f"The record {recorded.name}: {problem}")
    try:
        check_record(loaded.record)
    except UnusableUpdateError as error:
        problems.add(f"The record {recorded.name}: {error}.")
    if not problems and any(getattr(each, "buffer_weight", 0) for each in grid.attacks.values()):
        problems.extend(_buffer_problems(recorded.name, loaded, shape))
    classifier = find_classifier_layer(loaded.model, examples)
    target = Target(
        loaded.model,
        classifier,
        prior,
        grid.opened_public,
        image_size=size,
        most_public=grid.public_images,
    )
    for attack in grid.attacks.values():
        problems.extend(attack.problems(target, recorded.count, loaded.procedure))
    return list(problems)


def _buffer_problems(name: str, loaded: LoadedUpdate, shape: tuple[int, int, int]) -> list[str]:
    """Why batch statistics cannot be read off the sent buffers, which attacks compare."""
    record, procedure = loaded.record, loaded.procedure
    telling = telling_layers(loaded.model, record.buffers)
    if procedure.batch_norm_mode != "train" or not telling:
        return []
    state = ClientState.of(loaded.model)
    try:
        values = values_per_image(state, shape)
        seen = {layer: values[layer] for layer in telling if layer in values}
        largest = max(procedure.batch_sizes(record.count or 1))
        read_statistics(state, record.buffers, seen, largest)
    except UserError as error:
        return [
            f"The record {name}: {str(error).rstrip('.')}. Say what is right in the record or in "
            "model.procedure, or set buffer_weight of the attacks to 0."
        ]
    return []


def _without_labels(grid: AuditDataModule, opened: list[RecordedUpdate]) -> list[str]:
    """Attacks that are told labels which nobody has given."""
    lacking = [each.name for each in opened if each.labels() is None]
    told = [name for name, attack in grid.attacks.items() if attack.known_label]
    if not lacking or not told:
        return []
    return [
        f"The attack {told[0]!r} is told the private labels (known_label), but these records have "
        f"none: {', '.join(lacking[:6])}. Give the labels of each, or set known_label to false."
    ]
