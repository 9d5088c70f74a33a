"""Against NVFlare's own package: its filter chain, messages and context."""

import numpy as np
import pytest
import torch

pytest.importorskip("nvflare")

from nvflare.apis.dxo import DXO, DataKind, MetaKey, from_shareable
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import FilterKey, FLContextKey, ReservedKey, ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.app_common.filters.exclude_vars import ExcludeVars
from nvflare.app_common.filters.percentile_privacy import PercentilePrivacy

from ggl_lightning.errors import UserError
from ggl_lightning.updates import fit_to_model, read_recording, restore
from ggl_lightning.updates.nvflare import RecordingFilter
from tests.updates.audited import audited
from tests.updates.toys import net, states, train


def arrays(state, as_torch=False):
    return {n: t.clone() if as_torch else t.numpy().copy() for n, t in state.items()}


def a_round(as_torch=False):
    """A task of training, the context of the client that has it, and its states around it."""
    model = net()
    before = states(model)
    train(model, 0.1, momentum=0.9)
    task = DXO(DataKind.WEIGHTS, arrays(before, as_torch)).to_shareable()
    task.set_header(MetaKey.CURRENT_ROUND, 5)
    context = FLContext()
    context.set_prop(FLContextKey.TASK_DATA, task, private=True, sticky=False)
    context.set_prop(FLContextKey.TASK_ID, "one", private=True, sticky=False)
    context.set_prop(ReservedKey.IDENTITY_NAME, "site-1", private=False, sticky=True)
    return context, before, states(model)


def executed(filters, answer, context):
    """What NVFlare's client runner does with a task and its result."""
    for one in filters:
        one.handle_event(EventType.BEFORE_TASK_EXECUTION, context)
    task = context.get_prop(FLContextKey.TASK_DATA)
    if "DXO" in task:
        for array in from_shareable(task).data.values():  # a client may train in place
            array[...] = 0
    context.set_prop(FLContextKey.TASK_DATA, None, private=True, sticky=False)
    context.set_prop(FLContextKey.FILTER_DIRECTION, FilterKey.OUT, private=True, sticky=False)
    for one in filters:
        answer = one.process(answer, context)
    return answer


def result(kind, before, after, as_torch=False):
    """What a client answers; NVFlare's learners subtract array by array, buffers included."""
    data = arrays(after, as_torch)
    if kind == DataKind.WEIGHT_DIFF:
        data = {name: data[name] - array for name, array in arrays(before, as_torch).items()}
    return DXO(kind, data, {MetaKey.NUM_STEPS_CURRENT_ROUND: 3}).to_shareable()


def parameters():
    return [name for name, _ in net().named_parameters()]


@pytest.mark.parametrize("as_torch", [False, True])
@pytest.mark.parametrize("kind", [DataKind.WEIGHTS, DataKind.WEIGHT_DIFF])
def test_a_result_is_recorded_and_not_changed(tmp_path, kind, as_torch):
    context, before, after = a_round(as_torch)
    answer = result(kind, before, after, as_torch)
    untouched = {n: torch.as_tensor(a).clone() for n, a in from_shareable(answer).data.items()}
    filtered = executed([RecordingFilter(str(tmp_path), learning_rate=0.1)], answer, context)
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
    executed([RecordingFilter(str(tmp_path))], result(DataKind.WEIGHTS, before, after), context)
    (file,) = tmp_path.iterdir()
    other = net(seed=3)
    fitted = restore(read_recording(file), other)
    assert all(torch.equal(tensor, before[name]) for name, tensor in states(other).items())
    # Whole states are sent; what the model has frozen has not changed, and says nothing.
    assert fitted.not_sent == ("frozen.weight", "frozen.bias")


def test_a_recorded_result_is_audited(tmp_path):
    context, before, after = a_round()
    recorder = RecordingFilter(str(tmp_path / "recordings"), learning_rate=0.1)
    answer = result(DataKind.WEIGHTS, before, after)
    executed([recorder], answer, context)
    (file,) = (tmp_path / "recordings").iterdir()
    entry = {"file": str(file), "count": 12}
    (row,) = audited(entry, "tests.updates.toys.Net", "tests.tiny.TinyPrior", tmp_path / "runs")
    assert (row["status"], row["record"], row["images"]) == ("done", "round-5-site-1", 12)
    assert (row["details"]["record"]["steps"], row["details"]["record"]["mode"]) == (3, "train")
    assert len(row["inferred_labels"]) == 12


def test_listed_last_it_records_what_the_filters_before_it_leave(tmp_path):
    context, before, after = a_round()
    first, last = tmp_path / "trained", tmp_path / "sent"
    chain = [
        RecordingFilter(str(first)),
        ExcludeVars(exclude_vars=["head.bias"]),
        PercentilePrivacy(percentile=50, gamma=0.01),
        RecordingFilter(str(last)),
    ]
    answer = executed(chain, result(DataKind.WEIGHT_DIFF, before, after), context)
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


def test_failures_and_metrics_are_not_recorded(tmp_path):
    context, _, _ = a_round()
    recorder = RecordingFilter(str(tmp_path))
    executed([recorder], make_reply(ReturnCode.EXECUTION_EXCEPTION), context)
    recorder.process(DXO(DataKind.METRICS, {"accuracy": 0.5}).to_shareable(), context)
    assert list(tmp_path.iterdir()) == []


def test_a_result_without_its_base_is_refused(tmp_path):
    for kind in (DataKind.WEIGHTS, DataKind.WEIGHT_DIFF):
        context, before, after = a_round()
        context.set_prop(FLContextKey.TASK_DATA, Shareable(), private=True, sticky=False)
        with pytest.raises(UserError, match="base of the update is not known"):
            executed([RecordingFilter(str(tmp_path))], result(kind, before, after), context)


def test_another_tasks_weights_are_no_base(tmp_path):
    context, before, after = a_round()
    recorder = RecordingFilter(str(tmp_path))
    executed([recorder], result(DataKind.WEIGHTS, before, after), context)
    context.set_prop(FLContextKey.TASK_ID, "two", private=True, sticky=False)
    with pytest.raises(UserError, match="base of the update is not known"):
        recorder.process(result(DataKind.WEIGHTS, before, after), context)


def test_on_the_way_in_nothing_is_recorded(tmp_path):
    context, before, _ = a_round()
    context.set_prop(FLContextKey.FILTER_DIRECTION, FilterKey.IN, private=True, sticky=False)
    task = context.get_prop(FLContextKey.TASK_DATA)
    passed = RecordingFilter(str(tmp_path)).process(task, context)
    assert list(from_shareable(passed).data) == list(before)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("where", ["task", "result"])
def test_what_is_no_array_is_refused(tmp_path, where):
    context, before, after = a_round()
    sealed = DXO(DataKind.WEIGHTS, {"conv.weight": b"sealed"}).to_shareable()
    answer = result(DataKind.WEIGHTS, before, after) if where == "task" else sealed
    recorder = RecordingFilter(str(tmp_path))
    if where == "task":
        context.set_prop(FLContextKey.TASK_DATA, sealed, private=True, sticky=False)
    recorder.handle_event(EventType.BEFORE_TASK_EXECUTION, context)
    with pytest.raises(UserError, match=r"conv\.weight .* is a bytes: expected an array"):
        recorder.process(answer, context)
