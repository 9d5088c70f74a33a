"""What recorders make of a framework's messages, without a framework."""

import pytest
import torch
from torch import nn

from ggl_lightning.errors import UserError
from ggl_lightning.updates import fit_to_model
from ggl_lightning.updates.observer import mode_from_counters, observed
from ggl_lightning.updates.sent_state import Circumstances, StateReader, write_to_folder
from tests.updates.toys import net, recording_of, states, train

NOTHING_MORE = Circumstances()


@pytest.fixture
def round_of_training():
    model = net()
    before = states(model)
    train(model)
    return before, states(model)


def parameters():
    return [name for name, _ in net().named_parameters()]


def as_list(state):
    return {str(position): tensor for position, tensor in enumerate(state.values())}


@pytest.mark.parametrize("model", [None, net()])
def test_states_become_a_difference_and_buffers(round_of_training, model):
    before, after = round_of_training
    reader = StateReader(model)
    recording = reader.recording(
        reader.named(before, "Before"), reader.named(after, "After"), NOTHING_MORE
    )
    frozen = [] if model is None else ["frozen.weight", "frozen.bias"]
    assert list(recording.record.tensors) == [n for n in parameters() if n not in frozen]
    assert list(recording.not_sent) == frozen
    for name, tensor in recording.record.tensors.items():
        assert torch.equal(tensor, after[name] - before[name])
    assert set(recording.record.buffers) == {n for n, _ in net().named_buffers()}
    assert recording.record.mode == "train"
    assert fit_to_model(recording, net()).not_sent == ("frozen.weight", "frozen.bias")


def test_a_frozen_parameter_that_changed_was_trained(round_of_training):
    before, after = round_of_training
    after["frozen.bias"] += 1
    recording = StateReader(net()).recording(before, after, NOTHING_MORE)
    assert recording.not_sent == ("frozen.weight",)


@pytest.mark.parametrize("part", ["state", "parameters", "trainable"])
def test_lists_may_be_states_parameters_or_what_is_trained(round_of_training, part):
    before, after = round_of_training
    model = net()
    chosen = {
        "state": list(before),
        "parameters": parameters(),
        "trainable": [n for n, p in model.named_parameters() if p.requires_grad],
    }[part]
    reader = StateReader(model)
    named = reader.named(as_list({name: after[name] for name in chosen}), "A list")
    assert list(named) == chosen
    assert all(torch.equal(tensor, after[name]) for name, tensor in named.items())


def test_lists_need_a_model_whose_shapes_they_have(round_of_training):
    _, after = round_of_training
    with pytest.raises(UserError, match="without names: give the recorder the client model"):
        StateReader(None).named(as_list(after), "The weights")
    swapped = as_list(dict(reversed(after.items())))
    with pytest.raises(UserError, match=r"are not the client model's: it has 13 .* 10 parameters"):
        StateReader(net()).named(swapped, "The weights")


def test_a_list_of_a_tied_model_has_the_parameter_twice():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3, bias=False))
    model[1].weight = model[0].weight
    named = StateReader(model).named(as_list(states(model)), "A list")
    assert list(named) == ["0.weight", "0.bias"]


def test_wrapped_names_become_the_models(round_of_training):
    before, _ = round_of_training
    wrapped = {f"module._orig_mod.{name}": tensor for name, tensor in before.items()}
    assert list(StateReader(net()).named(wrapped, "The weights")) == list(before)


def test_another_models_state_is_refused(round_of_training):
    before, _ = round_of_training
    with pytest.raises(UserError, match="The weights has tensors that the client model lacks"):
        StateReader(nn.Linear(3, 3)).named(before, "The weights")


def test_a_difference_needs_no_subtraction_but_its_buffers_a_sum(round_of_training):
    before, after = round_of_training
    change = {name: after[name] - before[name] for name in after}
    recording = StateReader(None).recording(before, change, NOTHING_MORE, as_difference=True)
    for name, tensor in recording.record.tensors.items():
        assert torch.equal(tensor, change[name])
    for name, buffer in recording.record.buffers.items():
        assert buffer.dtype == before[name].dtype
        torch.testing.assert_close(buffer, after[name], rtol=1e-6, atol=1e-7)


def test_the_base_is_in_the_type_in_which_the_client_trained(round_of_training):
    """As loading a state dict casts it; a server's average may have more digits."""
    before, after = round_of_training
    averaged = {name: tensor.double() + 1e-9 for name, tensor in before.items()}
    recording = StateReader(None).recording(averaged, after, NOTHING_MORE)
    for name, tensor in recording.record.tensors.items():
        assert torch.equal(recording.weights[name], averaged[name].float())
        assert torch.equal(tensor, after[name] - averaged[name].float())
    assert recording.record.mode == "train"  # averaged counters are no whole numbers any more
    fit_to_model(recording, net())


def test_weights_without_those_before_are_refused(round_of_training):
    before, after = round_of_training
    del before["conv.bias"]
    with pytest.raises(UserError, match=r"has no conv\.bias: their difference cannot be had"):
        StateReader(None).recording(before, after, NOTHING_MORE)


def test_what_was_left_out_was_not_sent(round_of_training):
    before, after = round_of_training
    del after["head.bias"]
    recording = StateReader(net()).recording(before, after, NOTHING_MORE)
    assert recording.not_sent == ("frozen.weight", "frozen.bias", "head.bias")
    assert "head.bias" in fit_to_model(recording, net()).not_sent


@pytest.mark.parametrize(
    ("before", "after", "mode"),
    [(0, 3, "train"), (5, 5, "eval"), (None, 3, None), (3, None, None)],
)
def test_counters_tell_the_mode(before, after, mode):
    def counters(value):
        return {} if value is None else {"norm.num_batches_tracked": torch.tensor(value)}

    assert mode_from_counters(counters(before), counters(after)) == mode


def test_layers_that_disagree_tell_no_mode():
    before = {f"{i}.num_batches_tracked": torch.tensor(0) for i in range(2)}
    after = {"0.num_batches_tracked": torch.tensor(1), "1.num_batches_tracked": torch.tensor(0)}
    assert mode_from_counters(before, after) is None


def test_nothing_is_written_over_and_no_name_leads_elsewhere(tmp_path):
    recording = recording_of(net())
    files = [
        write_to_folder(tmp_path / "recordings", ["round-1", "../../site/1"], recording)
        for _ in range(2)
    ]
    assert [file.name for file in files] == [
        "round-1-_.._site_1.safetensors",
        "round-1-_.._site_1-2.safetensors",
    ]
    assert {file.parent for file in files} == {tmp_path / "recordings"}


def test_an_optimiser_with_two_rates_has_none():
    model = net()
    groups = [{"params": model.conv.parameters(), "lr": 0.1}, {"params": model.head.parameters()}]
    optimizer = torch.optim.SGD(groups, lr=0.2)
    with observed() as training:
        optimizer.step()
    assert training.learning_rate is None
    assert training.metadata["learning_rates"] == "from 0.1 to 0.2"
    optimizer.step()
    assert training.steps == 1
