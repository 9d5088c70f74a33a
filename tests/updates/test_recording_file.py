import json
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

from ggl_lightning.errors import UserError
from ggl_lightning.updates import (
    Recording,
    UpdateRecord,
    hash_by_name,
    read_recording,
    weights_after,
    write_recording,
)
from tests.updates.toys import net, recording_of, same, states, train

FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}

names = st.text(st.sampled_from("abXY01._/ é"), min_size=1, max_size=8)
shapes = st.lists(st.integers(0, 3), max_size=3).map(tuple)


@st.composite
def tensors(draw, dtypes):
    """Any bits at all: NaN, infinities and subnormal numbers among them."""
    dtype, shape = draw(st.sampled_from(dtypes)), draw(shapes)
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1)))
    if not dtype.is_floating_point:
        return torch.randint(0, 2, shape, generator=generator, dtype=dtype)
    bits = torch.randint(-(2**15), 2**15, shape, generator=generator)
    return bits.to(BITS[dtype.itemsize]).view(dtype)


def mappings(dtypes, min_size=0):
    return st.dictionaries(names, tensors(dtypes), min_size=min_size, max_size=4)


records = st.builds(
    UpdateRecord,
    mappings(FLOATS, min_size=1),
    st.sampled_from(["gradient", "difference"]),
    mappings([*FLOATS, torch.int64, torch.bool]),
    count=st.none() | st.integers(1, 10**6),
    learning_rate=st.none() | st.floats(1e-300, 1e300),
    steps=st.none() | st.integers(1, 10**6),
    mode=st.sampled_from([None, "train", "eval"]),
    metadata=st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
)


@st.composite
def recordings(draw):
    record = draw(records)
    kept = draw(st.lists(names, unique=True, max_size=3))
    weights = {
        name: torch.zeros(tensor.shape, dtype=tensor.dtype)
        for name, tensor in record.tensors.items()
    }
    weights |= {name: torch.ones(2) for name in kept if name not in weights}
    if not draw(st.booleans()):
        return Recording(record, not_sent=kept, weights_hash=hash_by_name(weights))
    return Recording(record, weights, draw(mappings([*FLOATS, torch.int64])), kept)


def bitwise(tensors):
    return {
        name: (str(t.dtype), tuple(t.shape), t.contiguous().reshape(-1).view(torch.uint8).tolist())
        for name, t in tensors.items()
    }


@settings(max_examples=40)
@given(recording=recordings())
def test_what_is_written_is_read_to_the_last_bit(recording, tmp_path_factory):
    file = tmp_path_factory.mktemp("recordings") / "update.safetensors"
    write_recording(file, recording)
    read = read_recording(file)
    for ours, theirs in (
        (recording.record.tensors, read.record.tensors),
        (recording.weights, read.weights),
        (recording.buffers, read.buffers),
        (recording.record.buffers, read.record.buffers),
    ):
        assert bitwise(ours) == bitwise(theirs)
    assert list(read.record.tensors) == list(recording.record.tensors)
    assert list(read.weights) == list(recording.weights)
    for name in ("kind", "count", "learning_rate", "steps", "mode", "metadata"):
        assert getattr(read.record, name) == getattr(recording.record, name)
    assert read.not_sent == recording.not_sent
    if recording.weights:
        assert read.weights_hash == hash_by_name(recording.weights)
    else:
        assert read.weights_hash == recording.weights_hash


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_differences_of_few_bits_are_not_rounded(tmp_path, dtype):
    before = {"weight": torch.tensor([1.0, 0.5], dtype=dtype)}
    after = {"weight": torch.tensor([1.0 - 2**-7, 1024.0], dtype=dtype)}
    file = by_hand(tmp_path, weights_before=before, weights_after=after)
    record = read_recording(file).record
    assert record.tensors["weight"].tolist() == [-(2**-7), 1023.5]
    assert weights_after(read_recording(file))["weight"].tolist() == after["weight"].tolist()


def by_hand(tmp_path, header=None, description=None, **groups):
    """A file as a user might write it with safetensors alone."""
    file = tmp_path / "by_hand.safetensors"
    said = {"kind": "difference"} if description is None else description
    texts = {"format": "ggl_lightning update", "format_version": "1"}
    texts |= {"update": said if isinstance(said, str) else json.dumps(said)}
    flat = {f"{g}/{n}": t.clone() for g, named in groups.items() for n, t in named.items()}
    save_file(flat, file, texts | (header or {}))
    return file


def test_weights_before_and_after_are_read_as_their_difference(tmp_path):
    model = net()
    before = states(model)
    train(model)
    after = states(model)
    parameters = [name for name, _ in model.named_parameters()]
    file = by_hand(
        tmp_path,
        weights_before={n: before[n] for n in parameters},
        weights_after={n: after[n] for n in parameters},
    )
    read = read_recording(file)
    assert read.record.kind == "difference"
    for name in parameters:
        assert torch.equal(read.record.tensors[name], after[name] - before[name])


def problems_of(file):
    with pytest.raises(UserError) as raised:
        read_recording(file)
    return raised.value.problems


ONE = {"weight": torch.ones(2)}
TWO = {"weight": torch.ones(3)}


@pytest.mark.parametrize(
    ("said", "file"),
    [
        ("no recorded update", {"header": {"format": "pt"}, "update": ONE}),
        ("version 2 .* install a newer", {"header": {"format_version": "2"}, "update": ONE}),
        ("format_version is 'new'", {"header": {"format_version": "new"}, "update": ONE}),
        ("is not JSON", {"description": "{", "update": ONE}),
        ("expected a JSON object", {"description": "[]", "update": ONE}),
        ("kind is missing", {"description": {}, "update": ONE}),
        ("kind is 'diff'.*'gradient' or", {"description": {"kind": "diff"}, "update": ONE}),
        ("Did you mean 'steps'", {"description": {"kind": "gradient", "step": 1}, "update": ONE}),
        (
            "steps is 1.5: expected int",
            {"description": {"kind": "gradient", "steps": 1.5}, "update": ONE},
        ),
        (
            "count is True: expected int",
            {"description": {"kind": "gradient", "count": True}, "update": ONE},
        ),
        (
            "not_sent is .*expected list",
            {"description": {"kind": "gradient", "not_sent": [1]}, "update": ONE},
        ),
        ("count is 0", {"description": {"kind": "gradient", "count": 0}, "update": ONE}),
        (
            "learning_rate is -1",
            {"description": {"kind": "gradient", "learning_rate": -1}, "update": ONE},
        ),
        ("no tensors", {"weights_before": ONE}),
        ("no known group: elsewhere/weight", {"update": ONE, "elsewhere": ONE}),
        ("needs its base.*weight", {"weights_after": ONE}),
        ("differ in shape: weight is .3,. before", {"weights_before": TWO, "weights_after": ONE}),
        ("both an update", {"weights_before": ONE, "weights_after": ONE, "update": ONE}),
        (
            "gradient cannot be had from weights",
            {
                "description": {"kind": "gradient"},
                "weights_before": ONE,
                "weights_after": ONE,
            },
        ),
        (
            "another base",
            {
                "description": {"kind": "difference", "weights_hash": "00"},
                "update": ONE,
                "weights_before": ONE,
            },
        ),
        ("of torch.int64", {"update": {"weight": torch.ones(2, dtype=torch.int64)}}),
    ],
)
def test_what_is_wrong_with_a_file_is_said_in_a_sentence(tmp_path, said, file):
    (problem,) = problems_of(by_hand(tmp_path, **file))
    assert problem.startswith(repr(str(tmp_path / "by_hand.safetensors")))
    assert problem.endswith((".", "?"))
    assert "\n" not in problem
    assert re.search(said, problem), problem


def test_everything_that_is_wrong_is_said_at_once(tmp_path):
    file = by_hand(tmp_path, description={"mod": "train"}, weights_after=ONE, elsewhere=ONE)
    assert len(problems_of(file)) == 4


def test_a_truncated_file_is_refused(tmp_path):
    file = tmp_path / "update.safetensors"
    write_recording(file, recording_of(net()))
    content = file.read_bytes()
    for length in (0, 4, 100, len(content) // 2, len(content) - 1):
        file.write_bytes(content[:length])
        with pytest.raises(UserError, match=r"update\.safetensors.* damaged"):
            read_recording(file)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"none\.safetensors.* does not exist"):
        read_recording(tmp_path / "none.safetensors")


def test_the_file_holds_tensors_and_json_and_nothing_else(tmp_path):
    file = tmp_path / "update.safetensors"
    recording = recording_of(net(), count=8, learning_rate=0.1)
    write_recording(file, recording)
    assert list(tmp_path.iterdir()) == [file]
    with safe_open(file, framework="pt") as opened:
        header = opened.metadata()
        assert {name.partition("/")[0] for name in opened.keys()} == {  # noqa: SIM118
            *("update", "weights_before", "buffers_before", "buffers_after")
        }
    assert header["format_version"] == "1"
    said = json.loads(header["update"])
    assert said["kind"] == "difference"
    assert said["count"] == 8
    assert said["weights_hash"] == hash_by_name(recording.weights)
    assert said["not_sent"] == ["frozen.weight", "frozen.bias"]


def test_the_hash_does_not_depend_on_the_order():
    weights = {"a": torch.ones(2), "b": torch.zeros(3)}
    assert hash_by_name(weights) == hash_by_name(dict(reversed(weights.items())))
    assert hash_by_name(weights) != hash_by_name({"a": torch.ones(2), "b": torch.ones(3)})


def test_the_update_is_read_in_the_order_of_the_parameters(tmp_path):
    file = tmp_path / "update.safetensors"
    recording = recording_of(net())
    write_recording(file, recording)
    assert same(read_recording(file).record.tensors, recording.record.tensors)
