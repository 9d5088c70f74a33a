"""Whether a recording is one of a given client model, and what does not fit if it is not."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ggl_lightning.problems import Problems
from ggl_lightning.updates.misfits import misfits
from ggl_lightning.updates.naming import match_names
from ggl_lightning.updates.record import Recording, UpdateRecord, hash_by_name
from ggl_lightning.updates.state_layout import StateLayout, copied
from ggl_lightning.weight_files import some

_COUNTERS = "num_batches_tracked"

_UPDATE_ADVICE = (
    "Name what the client does not send in not_sent, or give the model the client's settings."
)


def fit_to_model(recording: Recording, model: nn.Module) -> Recording:
    """Brings a recording into a client model's names and order, or says why that cannot be.

    Names may have what wrappers put before or into them (``module.``, ``_orig_mod.``,
    ``client_model.``, ...); names that are mere positions are taken in the model's order. Buffers
    that came among the parameters, as in state dicts of which no one knew the model, are moved to
    the buffers. Parameters that the model has frozen, and whose difference is zero, were not sent.
    Weights and buffers before training that were not recorded are the model's own, if these are
    what the recording's hash names.

    Args:
        recording: Any recording.
        model: The client model; it stays as it is.

    Returns:
        A recording with all weights before training, in ``model.parameters()`` order.

    Raises:
        UserError: With everything that does not fit, one sentence each: tensors that are missing,
            unexpected, of another shape, permuted or transposed; entries that are not finite; an
            update of zeros; a difference of another base, or of none.
    """
    layout = StateLayout.of(model)
    recording = _with_names(recording, layout)
    names = _model_names(recording, layout)
    record = recording.record
    problems = Problems()
    update, weights, buffers_before, buffers_after = _groups(recording, names, layout, problems)

    kept = {names[name] for name in recording.not_sent}
    _check_not_sent(kept, update, layout, problems)
    idle = {n for n in layout.parameters if n not in layout.trainable and _is_zero(update.get(n))}
    for name in idle:
        update.pop(name, None)
    expected = {n: layout.shapes[n] for n in layout.parameters if n not in kept | idle}
    problems.extend(misfits("The update", update, expected, _UPDATE_ADVICE))
    if weights:
        of_all = {name: layout.shapes[name] for name in layout.parameters}
        advice = "Record all parameters, those that are not sent among them."
        problems.extend(misfits("The weights before training", weights, of_all, advice))
    else:
        _check_hash(recording, model, names, problems)
    _check_buffers(layout, buffers_before, buffers_after, record, problems)
    for what, tensors in (
        ("The update", update),
        ("The weights before training", weights),
        ("The buffers before training", buffers_before),
        ("The buffers after training", buffers_after),
    ):
        _check_finite(what, tensors, problems)
    if update and all(_is_zero(tensor) for tensor in update.values()):
        problems.add(
            "The update is zero everywhere: nothing was trained, or it was recorded before the "
            "training."
        )
    problems.raise_if_any()

    if not weights:
        weights = copied(dict(model.named_parameters()))
    buffers = {**copied(_own_buffers(model, layout)), **buffers_before}
    return Recording(
        dataclasses.replace(
            record,
            tensors={name: update[name] for name in expected},
            buffers={name: buffers_after[name] for name in layout.buffers if name in buffers_after},
        ),
        {name: weights[name] for name in layout.parameters},
        {name: buffers[name] for name in layout.buffers},
        tuple(name for name in layout.parameters if name not in expected),
    )


def restore(recording: Recording, model: nn.Module) -> Recording:
    """Puts a model into the state in which the client's was before it trained.

    Args:
        recording: Any recording of this model.
        model: Changed in place: its parameters, its buffers as far as they were recorded, and which
            parameters require gradients, namely those that were sent. If an error is raised, it is
            unchanged.

    Returns:
        The recording in the model's names; see `fit_to_model`.

    Raises:
        UserError: If the recording does not fit the model.
    """
    fitted = fit_to_model(recording, model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(fitted.weights[name])
            parameter.requires_grad_(name in fitted.record.tensors)
        state = model.state_dict(keep_vars=True)
        for name, tensor in fitted.buffers.items():
            state[name].copy_(tensor)
    return fitted


def _with_names(recording: Recording, layout: StateLayout) -> Recording:
    """Names for tensors that came as lists."""
    record = dataclasses.replace(recording.record, tensors=layout.named(recording.record.tensors))
    return dataclasses.replace(recording, record=record, weights=layout.named(recording.weights))


def _model_names(recording: Recording, layout: StateLayout) -> dict[str, str]:
    """For every name in the recording the model's, or the name itself if the model has none."""
    record = recording.record
    groups = (recording.weights, record.tensors, recording.not_sent)
    found = [name for group in (*groups, recording.buffers, record.buffers) for name in group]
    mapping = match_names(list(layout.shapes), list(dict.fromkeys(found)))
    # A tied parameter is one parameter, and goes by its first name.
    return {theirs: layout.aliases.get(ours, ours) for theirs, ours in mapping.items()}


def _groups(
    recording: Recording, names: Mapping[str, str], layout: StateLayout, problems: Problems
) -> list[dict[str, Tensor]]:
    """Update, weights before, buffers before and buffers after, by the model's names."""
    record = recording.record
    update, weights, before, after = (
        _by_model_name(group, names, problems)
        for group in (record.tensors, recording.weights, recording.buffers, record.buffers)
    )
    for name in layout.buffers:
        if name in weights:
            before.setdefault(name, weights.pop(name))
        fits = name in update and name in before and update[name].shape == before[name].shape
        if fits and record.kind == "difference":
            after.setdefault(name, (before[name] + update.pop(name)).to(before[name].dtype))
    return [update, weights, before, after]


def _by_model_name(
    group: Mapping[str, Tensor], names: Mapping[str, str], problems: Problems
) -> dict[str, Tensor]:
    renamed: dict[str, Tensor] = {}
    for name, tensor in group.items():
        first = renamed.setdefault(names[name], tensor)
        if first is not tensor and not torch.equal(first, tensor):
            problems.add(
                f"{names[name]} and {name} are one tied parameter of the client model, but have "
                "different entries in the recording."
            )
    return renamed


def _is_zero(tensor: Tensor | None) -> bool:
    return tensor is None or bool((tensor == 0).all())


def _own_buffers(model: nn.Module, layout: StateLayout) -> dict[str, Tensor]:
    state = model.state_dict()
    return {name: state[name] for name in layout.buffers}


def _check_not_sent(
    kept: set[str], update: Mapping[str, Tensor], layout: StateLayout, problems: Problems
) -> None:
    unknown = sorted(kept - set(layout.parameters) - set(layout.buffers))
    if unknown:
        problems.add(
            f"not_sent names parameters that the client model lacks: {some(unknown)}. Leave them "
            "out."
        )
    both = sorted(kept & set(update))
    if both:
        problems.add(
            f"These parameters are in the update, and in not_sent too: {some(both)}. Name in "
            "not_sent only what the client keeps to itself."
        )


def _check_hash(
    recording: Recording, model: nn.Module, names: Mapping[str, str], problems: Problems
) -> None:
    """Whether the model's own weights are those before training, which were not recorded."""
    kind = recording.record.kind
    if recording.weights_hash is None:
        problems.add(
            f"The recording has neither the weights before training nor their hash: a {kind} says "
            "nothing without the weights it was computed at."
        )
        return
    own = dict(model.named_parameters())
    recorded = {theirs: own[ours] for theirs, ours in names.items() if ours in own}
    if recording.weights_hash not in (hash_by_name(own), hash_by_name(recorded)):
        problems.add(
            f"The {kind} is of another base: the client model's weights are not those before the "
            "training, by their hash. Load the weights of the same round."
        )


def _check_buffers(
    layout: StateLayout,
    before: Mapping[str, Tensor],
    after: Mapping[str, Tensor],
    record: UpdateRecord,
    problems: Problems,
) -> None:
    # Only averages without a momentum depend on the counters: files without them will do.
    needed = {
        name: layout.shapes[name]
        for name in layout.buffers
        if name in before or not name.endswith(_COUNTERS)
    }
    if before or record.mode != "train":
        advice = (
            "The client model depends on them unless batch-norm runs in train mode: record them, "
            "or say mode 'train'."
        )
        problems.extend(misfits("The buffers before training", before, needed, advice))
    if after:
        sent = {name: layout.shapes[name] for name in layout.buffers if name in after}
        problems.extend(misfits("The buffers after training", after, sent, ""))


def _check_finite(what: str, tensors: Mapping[str, Tensor], problems: Problems) -> None:
    bad = [
        f"{int((~tensor.isfinite()).sum())} in {name}"
        for name, tensor in tensors.items()
        if not tensor.isfinite().all()
    ]
    if bad:
        problems.add(
            f"{what} has infinite or undefined entries ({some(bad)}): the training diverged, or "
            "the file is damaged."
        )
