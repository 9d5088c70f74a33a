"""Against NVFlare's own package: its filter chain, messages and context."""

import numpy as np
import pytest
import torch

pytest.importorskip("nvflare")

from nvflare.apis.dxo import DXO, DataKind, MetaKey, from_shareable
from nvflare.apis.fl_constant import FLContextKey, ReservedKey, ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.app_common.filters.convert_weights import ConvertWeights
from nvflare.app_common.filters.exclude_vars import ExcludeVars
from nvflare.app_common.filters.percentile_privacy import PercentilePrivacy

from ggl_lightning.errors import UserError
from ggl_lightning.updates import fit_to_model, read_recording, restore
from ggl_lightning.updates.nvflare import RecordingFilter
from tests.updates.toys import net, states, train


def arrays(state, as_torch=False):
    return {n: t.clone() if as_torch else t.numpy().copy() for n, t in state.items()}


def a_round(as_torch=False):
    """A task of training, the context of the client that has it, and its states around it."""
    model = net()
    before = states(model)
    train(model, 0.1, momentum=0.9)
    task = DXO(DataKind.WEIGHTS, arrays(before, as_torch)).to_shareable()
    context = FLContext()
    context.set_prop(FLContextKey.TASK_DATA, task, private=True, sticky=False)
    context.set_prop(ReservedKey.IDENTITY_NAME, "site-1", private=False, sticky=True)
    return context, before, states(model)


def result(kind, before, after, as_torch=False):
    """What a client answers; NVFlare's learners subtract array by array, buffers included."""
    data = arrays(after, as_torch)
    if kind == DataKind.WEIGHT_DIFF:
        data = {name: data[name] - array for name, array in arrays(before, as_torch).items()}
    dxo = DXO(kind, data, {MetaKey.NUM_STEPS_CURRENT_ROUND: 3, MetaKey.CURRENT_ROUND: 5})
    return dxo.to_shareable()


def parameters():
    return [name for name, _ in net().named_parameters()]


@pytest.mark.parametrize("as_torch", [False, True])
@pytest.mark.parametrize("kind", [DataKind.WEIGHTS, DataKind.WEIGHT_DIFF])
def test_a_result_is_recorded_and_not_changed(tmp_path, kind, as_torch):
    context, before, after = a_round(as_torch)
    answer = result(kind, before, after, as_torch)
    untouched = {n: torch.as_tensor(a).clone() for n, a in from_shareable(answer).data.items()}
    filtered = RecordingFilter(str(tmp_path), learning_rate=0.1).process(answer, context)
    assert from_shareable(filtered).data_kind == kind
    for name, array in from_shareable(filtered).data.items():
        assert torch.equal(torch.as_tensor(array), untouched[name])
    assert [file.name for file in tmp_path.iterdir()] == ["round-5-site-1.safetensors"]
    recording = read_recording(tmp_path / "round-5-site-1.safetensors")
    record = recording.record
    assert list(record.tensors) == parameters()
    for name, tensor in record.tensors.items():
        assert torch.equal(tensor, after[name] - before[name])
        assert torch.equal(recording.weights[name], before[name])
    assert set(record.buffers) == {name for name, _ in net().named_buffers()}
    for name, buffer in record.buffers.items():
        assert torch.equal(recording.buffers[name], before[name])
        torch.testing.assert_close(buffer, after[name], rtol=1e-6, atol=1e-7)
    assert record.buffers["norm.num_batches_tracked"] == 3
    assert (record.kind, record.steps, record.learning_rate) == ("difference", 3, 0.1)
    assert (record.mode, record.metadata["round"]) == ("train", "5")
    assert record.metadata["framework"] == "nvflare"


def test_the_client_model_is_restored_and_what_is_frozen_known(tmp_path):
    context, before, after = a_round()
    RecordingFilter(str(tmp_path)).process(result(DataKind.WEIGHTS, before, after), context)
    (file,) = tmp_path.iterdir()
    other = net(seed=3)
    fitted = restore(read_recording(file), other)
    assert all(torch.equal(tensor, before[name]) for name, tensor in states(other).items())
    # Whole states are sent; what the model has frozen has not changed, and says nothing.
    assert fitted.not_sent == ("frozen.weight", "frozen.bias")


def test_listed_last_it_records_what_the_filters_before_it_leave(tmp_path):
    context, before, after = a_round()
    first, last = tmp_path / "trained", tmp_path / "sent"
    chain = [
        RecordingFilter(str(first)),
        ExcludeVars(exclude_vars=["head.bias"]),
        PercentilePrivacy(percentile=50, gamma=0.01),
        RecordingFilter(str(last)),
    ]
    answer = result(DataKind.WEIGHT_DIFF, before, after)
    for one in chain:
        answer = one.process(answer, context)
    trained, sent = (
        read_recording(folder / "round-5-site-1.safetensors") for folder in (first, last)
    )
    left = from_shareable(answer).data
    assert sent.not_sent == ("head.bias",)
    assert "head.bias" in trained.record.tensors
    for name, tensor in sent.record.tensors.items():
        assert np.array_equal(tensor.numpy(), left[name])
    largest = max(tensor.abs().max() for tensor in sent.record.tensors.values())
    assert largest.item() == pytest.approx(0.03)  # gamma times the steps
    assert "head.bias" in fit_to_model(sent, net()).not_sent


def test_nvflares_own_conversion_gives_the_same_recording(tmp_path):
    context, before, after = a_round()
    for folder, before_it in (("a", []), ("b", [ConvertWeights("weights_to_diff")])):
        answer = result(DataKind.WEIGHTS, before, after)
        for one in [*before_it, RecordingFilter(str(tmp_path / folder))]:
            answer = one.process(answer, context)
    first, second = (
        read_recording(tmp_path / folder / "round-5-site-1.safetensors").record.tensors
        for folder in ("a", "b")
    )
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def test_failures_and_metrics_are_not_recorded(tmp_path):
    context, _, _ = a_round()
    recorder = RecordingFilter(str(tmp_path))
    recorder.process(make_reply(ReturnCode.EXECUTION_EXCEPTION), context)
    recorder.process(DXO(DataKind.METRICS, {"accuracy": 0.5}).to_shareable(), context)
    assert list(tmp_path.iterdir()) == []


def test_a_result_without_its_base_is_refused(tmp_path):
    _, before, after = a_round()
    for kind in (DataKind.WEIGHTS, DataKind.WEIGHT_DIFF):
        for context in (FLContext(), FLContext()):
            context.set_prop(FLContextKey.TASK_DATA, Shareable(), private=True, sticky=False)
            with pytest.raises(UserError, match="base of the update is not known"):
                RecordingFilter(str(tmp_path)).process(result(kind, before, after), context)


def test_encrypted_results_are_refused(tmp_path):
    context, _, _ = a_round()
    sealed = DXO(DataKind.WEIGHT_DIFF, {"conv.weight": b"sealed"}).to_shareable()
    with pytest.raises(UserError, match=r"conv\.weight .* is a bytes: expected an array"):
        RecordingFilter(str(tmp_path)).process(sealed, context)
