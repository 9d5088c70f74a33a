import dataclasses

import pytest
import torch
from torch import nn

from ggl_lightning.errors import UserError
from ggl_lightning.updates import Recording, UpdateRecord, fit_to_model, hash_by_name, restore
from tests.updates.toys import Net, net, recording_of, same, states


class Plain(nn.Sequential):
    """Two layers whose shapes all differ."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 4, 5), nn.Flatten(), nn.Linear(16, 7))


def changed(recording, tensors=None, weights=None, **record):
    """The recording with some parts replaced."""
    if tensors is not None:
        record["tensors"] = tensors
    whole = {} if weights is None else {"weights": weights}
    return dataclasses.replace(
        recording, record=dataclasses.replace(recording.record, **record), **whole
    )


def problems_of(recording, model):
    before = states(model)
    with pytest.raises(UserError) as raised:
        restore(recording, model)
    assert same(states(model), before)  # a model is restored as a whole, or not at all
    return raised.value.problems


def test_what_fits_comes_back_in_the_models_order():
    model = net()
    recording = recording_of(model)
    shuffled = changed(
        recording,
        tensors=dict(reversed(recording.record.tensors.items())),
        weights=dict(reversed(recording.weights.items())),
    )
    fitted = fit_to_model(shuffled, model)
    assert same(fitted.record.tensors, recording.record.tensors)
    assert same(fitted.weights, recording.weights)
    assert fitted.not_sent == ("frozen.weight", "frozen.bias")


def renamed(recording, rename):
    def all_of(tensors):
        return {rename(name): tensor for name, tensor in tensors.items()}

    record = dataclasses.replace(
        recording.record,
        tensors=all_of(recording.record.tensors),
        buffers=all_of(recording.record.buffers),
    )
    return Recording(
        record,
        all_of(recording.weights),
        all_of(recording.buffers),
        tuple(rename(name) for name in recording.not_sent),
    )


@pytest.mark.parametrize(
    "rename",
    [
        lambda name: f"module.{name}",
        lambda name: f"_orig_mod.{name}",
        lambda name: f"client_model.{name}",
        lambda name: f"model.{name}",
        lambda name: f"_module.{name}",
        lambda name: f"module._orig_mod.net.{name}",
        lambda name: name.replace(".", "._orig_mod.", 1),
        lambda name: f"_forward_module.{name.replace('.', '._fsdp_wrapped_module.', 1)}",
    ],
)
def test_what_wrappers_put_into_names_is_taken_off(rename):
    model = net()
    recording = recording_of(model)
    fitted = fit_to_model(renamed(recording, rename), model)
    assert same(fitted.record.tensors, recording.record.tensors)
    assert same(fitted.weights, recording.weights)
    assert same(fitted.record.buffers, recording.record.buffers)


def test_a_wrapped_client_model_takes_bare_names():
    model = net()
    recording = recording_of(model)
    wrapped = nn.DataParallel(model)
    fitted = fit_to_model(recording, wrapped)
    assert list(fitted.record.tensors) == [f"module.{name}" for name in recording.record.tensors]


def test_a_model_that_has_a_wrappers_name_itself_is_left_alone():
    model = nn.Sequential()
    model.add_module("model", nn.Linear(2, 2))
    model.add_module("net", nn.Linear(2, 2))
    recording = recording_of(model)
    assert same(fit_to_model(recording, model).record.tensors, recording.record.tensors)


def test_lists_go_by_position():
    model = Plain()
    recording = recording_of(model)
    as_list = changed(
        recording,
        tensors={str(i): t for i, t in enumerate(recording.record.tensors.values())},
        weights={str(i): t for i, t in enumerate(recording.weights.values())},
    )
    assert same(fit_to_model(as_list, model).record.tensors, recording.record.tensors)
    too_few = changed(as_list, tensors={"0": as_list.record.tensors["0"]})
    with pytest.raises(UserError, match=r"1 arrays, which have no names, .* 4 parameters"):
        fit_to_model(too_few, model)


def test_a_missing_tensor_is_named():
    model = Plain()
    recording = recording_of(model)
    tensors = {name: t for name, t in recording.record.tensors.items() if name != "0.bias"}
    (problem,) = problems_of(changed(recording, tensors=tensors), model)
    assert problem.startswith("The update lacks tensors of the client model: 0.bias. Name what")


def test_a_tensor_that_was_not_sent_is_not_missing():
    model = Plain()
    recording = recording_of(model)
    tensors = {name: t for name, t in recording.record.tensors.items() if name != "0.bias"}
    fitted = restore(
        dataclasses.replace(changed(recording, tensors=tensors), not_sent=("0.bias",)), model
    )
    assert list(fitted.record.tensors) == ["0.weight", "2.weight", "2.bias"]
    assert [n for n, p in model.named_parameters() if not p.requires_grad] == ["0.bias"]


def test_not_sent_is_checked_too():
    model = Plain()
    recording = dataclasses.replace(recording_of(model), not_sent=("0.bias", "9.bias"))
    problems = problems_of(recording, model)
    assert any("in not_sent too: 0.bias" in problem for problem in problems)
    assert any("the client model lacks: 9.bias" in problem for problem in problems)


def test_an_unexpected_tensor_is_named_with_its_shape():
    model = Plain()
    recording = recording_of(model)
    more = {**recording.record.tensors, "3.weight": torch.ones(2, 3)}
    (problem,) = problems_of(changed(recording, tensors=more), model)
    assert problem == "The update has tensors that the client model lacks: 3.weight (2, 3)."


def test_other_names_with_fitting_shapes_are_set_side_by_side():
    model = Plain()
    recording = recording_of(model)
    names = {"0.weight": "stem.w", "0.bias": "stem.b"}
    tensors = {names.get(name, name): t for name, t in recording.record.tensors.items()}
    (problem,) = problems_of(changed(recording, tensors=tensors), model)
    assert "fit in order: stem.w for 0.weight; stem.b for 0.bias." in problem


def test_tensors_in_each_others_places_are_told():
    model = Plain()
    recording = recording_of(model)
    tensors = dict(recording.record.tensors)
    tensors["0.bias"], tensors["2.bias"] = tensors["2.bias"], tensors["0.bias"]
    (problem,) = problems_of(changed(recording, tensors=tensors), model)
    assert "in each other's places: 0.bias is (7,), expected (4,); 2.bias is (4,)" in problem


@pytest.mark.parametrize("axes", [(1, 0), (2, 3, 1, 0)])
def test_transposed_tensors_are_told(axes):
    model = Plain()
    recording = recording_of(model)
    name = "2.weight" if len(axes) == 2 else "0.weight"
    tensors = dict(recording.record.tensors)
    tensors[name] = tensors[name].permute(axes)
    (problem,) = problems_of(changed(recording, tensors=tensors), model)
    assert f"axes are in another order: {name} is {tuple(tensors[name].shape)}" in problem


def test_other_shapes_are_told():
    model = Plain()
    recording = recording_of(model)
    tensors = {**recording.record.tensors, "2.bias": torch.ones(9)}
    (problem,) = problems_of(changed(recording, tensors=tensors), model)
    assert problem == "The update has tensors of other shapes: 2.bias is (9,), expected (7,)."


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("part", ["update", "weights"])
def test_entries_that_are_not_finite_are_counted(part, value):
    model = Plain()
    recording = recording_of(model)
    bad = dict(recording.record.tensors if part == "update" else recording.weights)
    bad["0.bias"] = torch.tensor([1.0, value, value, 0.0])
    where = {"tensors": bad} if part == "update" else {"weights": bad}
    (problem,) = problems_of(changed(recording, **where), model)
    assert problem.startswith("The update" if part == "update" else "The weights before")
    assert "undefined entries (2 in 0.bias)" in problem


def test_an_update_of_zeros_is_refused():
    model = Plain()
    recording = recording_of(model)
    zeros = {name: torch.zeros_like(t) for name, t in recording.record.tensors.items()}
    (problem,) = problems_of(changed(recording, tensors=zeros), model)
    assert "zero everywhere" in problem


def without_weights(recording, **known):
    return Recording(recording.record, {}, recording.buffers, recording.not_sent, **known)


def test_weights_that_were_not_recorded_are_the_models_if_the_hash_says_so():
    model = net()
    recording = recording_of(model)
    known = without_weights(recording, weights_hash=hash_by_name(recording.weights))
    assert same(fit_to_model(known, model).weights, recording.weights)
    wrapped = renamed(recording, lambda name: f"module.{name}")
    known = without_weights(wrapped, weights_hash=hash_by_name(wrapped.weights))
    assert same(fit_to_model(known, model).weights, recording.weights)
    (problem,) = problems_of(known, net(seed=1))
    assert "difference is of another base" in problem


def test_an_update_without_any_base_is_refused():
    model = net()
    (problem,) = problems_of(without_weights(recording_of(model)), model)
    assert "neither the weights before training nor their hash" in problem


def test_buffers_matter_unless_batch_norm_takes_the_batches_statistics():
    model = net()
    recording = dataclasses.replace(recording_of(model), buffers={})
    (problem,) = problems_of(recording, model)
    assert "buffers before training lacks" in problem
    assert "norm.running_mean; norm.running_var" in problem
    fit_to_model(changed(recording, mode="train"), model)


def test_buffers_that_came_among_the_parameters_are_moved():
    model = net()
    recording = recording_of(model)
    drift = torch.full((4,), 0.25)
    mixed = Recording(
        dataclasses.replace(
            recording.record,
            tensors={**recording.record.tensors, "norm.running_mean": drift},
            buffers={},
        ),
        {**recording.weights, **recording.buffers},
        not_sent=recording.not_sent,
    )
    fitted = fit_to_model(mixed, model)
    assert same(fitted.record.tensors, recording.record.tensors)
    assert same(fitted.buffers, recording.buffers)
    assert torch.equal(fitted.record.buffers["norm.running_mean"], model.norm.running_mean + drift)


def test_a_frozen_parameter_that_was_sent_unchanged_was_not_sent():
    model = net()
    recording = recording_of(model)
    zeros = {name: torch.zeros_like(recording.weights[name]) for name in recording.not_sent}
    sent = dataclasses.replace(
        changed(recording, tensors={**recording.record.tensors, **zeros}), not_sent=()
    )
    assert fit_to_model(sent, model).not_sent == ("frozen.weight", "frozen.bias")
    zeros["frozen.bias"] = torch.ones(4)
    sent = changed(sent, tensors={**recording.record.tensors, **zeros})
    assert fit_to_model(sent, model).not_sent == ("frozen.weight",)


def test_tied_parameters_are_one():
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    model[1].weight = model[0].weight
    recording = recording_of(model)
    both = {**recording.record.tensors, "1.weight": recording.record.tensors["0.weight"].clone()}
    assert list(fit_to_model(changed(recording, tensors=both), model).record.tensors) == [
        "0.weight"
    ]
    both["1.weight"] += 1
    (problem,) = problems_of(changed(recording, tensors=both), model)
    assert "one tied parameter" in problem


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_models_of_few_bits_fit(dtype):
    model = net().to(dtype)
    recording = recording_of(model)
    other = Net().to(dtype)
    restore(recording, other)
    assert same(states(other), states(model))


def test_everything_is_said_at_once():
    model = net()
    recording = recording_of(model)
    tensors = dict(recording.record.tensors)
    del tensors["conv.bias"]
    tensors["stranger"] = torch.ones(1)
    tensors["head.weight"] = tensors["head.weight"].T
    tensors["unused.bias"] = torch.full((2,), float("nan"))
    bad = Recording(UpdateRecord(tensors, "difference"), {}, {}, recording.not_sent)
    assert len(problems_of(bad, model)) == 6
