import json

import pytest
import torch
from torch import nn

from ggl_lightning.errors import UserError
from ggl_lightning.updates import (
    fit_to_model,
    gradient_sum,
    mean_gradient,
    one_step_difference,
    read_recording,
    record_gradient,
    record_update,
    restore,
    weights_after,
)
from tests.updates.toys import Net, batches, net, recording_of, same, states, train


@pytest.fixture
def file(tmp_path):
    return tmp_path / "recordings" / "update.safetensors"


def test_a_training_is_recorded_exactly(file):
    model = net()
    before = states(model)
    with record_update(model, file, count=12, metadata={"client": "7"}):
        train(model, 0.1, momentum=0.9, weight_decay=0.01)
    after = states(model)
    recording = read_recording(file)
    record = recording.record
    trainable = [name for name, p in model.named_parameters() if p.requires_grad]
    assert list(record.tensors) == trainable
    assert all(torch.equal(t, after[n] - before[n]) for n, t in record.tensors.items())
    assert list(recording.weights) == [name for name, _ in model.named_parameters()]
    assert all(torch.equal(t, before[n]) for n, t in recording.weights.items())
    assert recording.not_sent == ("frozen.weight", "frozen.bias")
    assert set(record.buffers) == set(recording.buffers) == dict(model.named_buffers()).keys()
    assert all(torch.equal(t, after[n]) for n, t in record.buffers.items())
    assert all(torch.equal(t, before[n]) for n, t in recording.buffers.items())
    assert (record.kind, record.count, record.steps) == ("difference", 12, 3)
    assert (record.learning_rate, record.mode) == (0.1, "train")
    assert record.metadata["client"] == "7"
    assert record.metadata["framework"] == "pytorch"
    assert record.metadata["optimizer"] == "SGD"
    settings = json.loads(record.metadata["optimizer_settings"])
    assert (settings["momentum"], settings["weight_decay"]) == (0.9, 0.01)


def test_the_recording_is_the_training(file):
    """The same loop, on a model that knows nothing but the recording, ends where the client did."""
    model = net()
    with record_update(model, file):
        train(model)
    again = net(seed=5)
    recording = restore(read_recording(file), again)
    train(again)
    for name, weight in weights_after(recording).items():
        torch.testing.assert_close(weight, again.get_parameter(name).detach())
        torch.testing.assert_close(weight, model.get_parameter(name).detach())
    assert all(torch.equal(t, states(again)[n]) for n, t in recording.record.buffers.items())


def test_eval_mode_and_withheld_buffers_are_said(file):
    model = net().eval()
    with record_update(model, file, buffers_sent=False):
        train(model)
    recording = read_recording(file)
    assert recording.record.mode == "eval"
    assert recording.record.buffers == {}
    assert set(recording.buffers) == dict(model.named_buffers()).keys()


def test_frozen_batch_norm_in_a_training_model_is_eval(file):
    model = net().train()
    model.norm.eval()
    with record_update(model, file):
        train(model)
    assert read_recording(file).record.mode == "eval"


def test_a_parameter_that_is_frozen_within_the_training_was_not_sent(file):
    model = net()
    with record_update(model, file):
        model.conv.requires_grad_(False)
        train(model)
    assert read_recording(file).not_sent[:2] == ("conv.weight", "conv.bias")


def test_a_parameter_that_is_frozen_after_it_changed_was_sent(file):
    model = net()
    with record_update(model, file):
        train(model)
        model.conv.requires_grad_(False)
    assert "conv.weight" in read_recording(file).record.tensors


def test_a_learning_rate_that_changes_is_not_one(file):
    model = net()
    with record_update(model, file):
        train(model, 0.1)
        train(model, 0.05)
    record = read_recording(file).record
    assert record.learning_rate is None
    assert record.steps == 6
    assert record.metadata["learning_rates"] == "from 0.05 to 0.1"


def test_other_models_optimisers_do_not_count(file):
    model, other = net(), net(1)
    with record_update(model, file):
        train(other, 0.7)
        train(model)
    record = read_recording(file).record
    assert (record.learning_rate, record.steps) == (0.1, 3)


def test_a_training_that_fails_leaves_nothing(file):
    model = net()
    recorded = record_update(model, file)
    recorded.__enter__()
    train(model)
    failure = ZeroDivisionError()
    assert not recorded.__exit__(ZeroDivisionError, failure, None)
    assert not file.exists()
    with record_update(model, file):  # and no hooks
        train(model)
    assert read_recording(file).record.steps == 3


def test_an_existing_file_is_not_written_over(file):
    model = net()
    with record_update(model, file):
        train(model)
    content = file.read_bytes()
    with pytest.raises(UserError, match="exists"), record_update(model, file):
        raise AssertionError("the training has begun")
    assert file.read_bytes() == content


def test_another_ending_is_refused_before_the_training(tmp_path):
    with pytest.raises(UserError, match=r"must end in \.safetensors"):
        record_update(net(), tmp_path / "update.pt").__enter__()


def test_tensors_without_values_are_refused(file):
    with torch.device("meta"):
        model = Net()
    with pytest.raises(UserError, match="no values yet"):
        record_update(model, file).__enter__()
    with pytest.raises(UserError, match="no shape yet"):
        record_update(nn.Sequential(nn.LazyLinear(3)), file).__enter__()


def test_gradients_are_recorded_and_parameters_without_are_not_sent(file):
    model = net()
    images, labels = batches()[0]
    loss = nn.functional.cross_entropy(model(images), labels)
    parameters = [p for n, p in model.named_parameters() if n.startswith(("conv", "norm", "head"))]
    expected = torch.autograd.grad(loss, parameters, retain_graph=True)
    loss.backward()
    record_gradient(model, file, count=4)
    recording = fit_to_model(read_recording(file), model)
    assert recording.record.kind == "gradient"
    for ours, theirs in zip(recording.record.tensors.values(), expected, strict=True):
        assert torch.equal(ours, theirs)
    assert recording.not_sent == (
        *("frozen.weight", "frozen.bias", "unused.weight", "unused.bias"),
    )
    assert recording.record.mode == "train"


def test_a_model_without_gradients_is_refused(file):
    with pytest.raises(UserError, match=r"after loss\.backward"):
        record_gradient(net(), file)
    assert not file.exists()


def test_one_plain_step_is_its_gradient(file):
    """Conversions against autograd: difference = -rate * gradient, both ways."""
    model = net().eval()
    images, labels = batches()[0]
    loss = nn.functional.cross_entropy(model(images), labels)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    loss.backward()
    gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    record_gradient(model, file)
    with record_update(model, file.with_name("difference.safetensors")):
        optimizer.step()
    record = read_recording(file.with_name("difference.safetensors")).record
    for converted in (gradient_sum(record), mean_gradient(record)):
        assert converted.kind == "gradient"
        for name, gradient in gradients.items():
            torch.testing.assert_close(converted.tensors[name], gradient)
    difference = one_step_difference(read_recording(file).record, 0.5)
    assert (difference.kind, difference.steps, difference.learning_rate) == ("difference", 1, 0.5)
    for name in gradients:
        torch.testing.assert_close(difference.tensors[name], record.tensors[name])


def test_several_steps_have_a_sum_and_a_mean():
    record = recording_of(net(), learning_rate=0.5, steps=4).record
    assert gradient_sum(gradient_sum(record)).tensors.keys() == record.tensors.keys()
    for name, tensor in record.tensors.items():
        torch.testing.assert_close(gradient_sum(record).tensors[name], tensor / -0.5)
        torch.testing.assert_close(mean_gradient(record).tensors[name], tensor / -2)


def test_what_is_not_known_is_asked_for():
    record = recording_of(net()).record
    with pytest.raises(UserError, match="learning rate of the local training is not recorded"):
        gradient_sum(record)
    with pytest.raises(UserError, match="number of steps of the local training is not recorded"):
        mean_gradient(record, learning_rate=0.1)
    with pytest.raises(UserError, match=r"given as 0\.2, but recorded as 0\.1"):
        gradient_sum(recording_of(net(), learning_rate=0.1).record, 0.2)
    assert same(gradient_sum(record, 1.0).tensors, {n: -t for n, t in record.tensors.items()})
