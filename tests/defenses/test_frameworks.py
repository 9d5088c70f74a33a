"""Defenses of Flower and NVFlare against the frameworks' own code, where that is installed."""

import importlib

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp

from ggl_lightning.defenses import ExcludeVars, LocalDP, PercentilePrivacy, SVTPrivacy
from tests.defenses.updates import defend, update_like
from tests.tiny import client_side

MODEL = client_side().model
NAMES = [name for name, _ in MODEL.named_parameters()]


def update(seed=0, scale=0.1):
    """A difference of weights, with zeros in it."""
    return update_like(MODEL.parameters(), seed, scale, zeros=0.1)


@pytest.fixture
def numpy_seed():
    """Flower and NVFlare draw from NumPy's global generator."""
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    yield
    np.random.set_state(state)  # noqa: NPY002


def flowers(difference, monkeypatch, **settings):
    """What `LocalDpMod` makes of a difference of weights, as a message leaves the client."""
    pytest.importorskip("flwr")
    from flwr.app import ArrayRecord, Message, RecordDict
    from flwr.clientapp.mod import LocalDpMod
    from flwr.supercore.task_identity import TaskIdentity

    for name in ("_task_id", "_run_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)
    before = {f"{i}": torch.zeros_like(tensor) for i, tensor in enumerate(difference)}
    after = {f"{i}": tensor for i, tensor in enumerate(difference)}
    message = Message(
        RecordDict({"arrays": ArrayRecord(before)}), dst_node_id=1, message_type="train"
    )
    reply = LocalDpMod(**settings)(
        message,
        None,
        lambda asked, _: Message(RecordDict({"arrays": ArrayRecord(after)}), reply_to=asked),
    )
    return list(reply.content["arrays"].to_torch_state_dict().values())


def nvflares(module, filter_class, difference, steps=1, **settings):
    """What a filter of NVFlare makes of a difference of weights."""
    pytest.importorskip("nvflare")
    from nvflare.apis.dxo import DXO, DataKind, MetaKey
    from nvflare.apis.fl_context import FLContext
    from nvflare.apis.shareable import Shareable

    filters = importlib.import_module(f"nvflare.app_common.filters.{module}")
    arrays = {n: t.numpy().copy() for n, t in zip(NAMES, difference, strict=True)}
    dxo = DXO(DataKind.WEIGHT_DIFF, arrays, {MetaKey.NUM_STEPS_CURRENT_ROUND: steps})
    return (
        getattr(filters, filter_class)(**settings).process_dxo(dxo, Shareable(), FLContext()).data
    )


@pytest.mark.parametrize("clipping_norm", [0.1, 1.0, 100.0])
def test_local_dp_clips_as_flower(clipping_norm, monkeypatch):
    settings = {"clipping_norm": clipping_norm, "sensitivity": 0.0, "epsilon": 1.0, "delta": 1e-5}
    theirs = flowers(update(), monkeypatch, **settings)
    ours = defend(LocalDP(**settings), update())
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-8)


@pytest.mark.usefixtures("numpy_seed")
def test_local_dp_adds_flowers_noise(monkeypatch):
    settings = {"clipping_norm": 1.0, "sensitivity": 0.3, "epsilon": 2.0, "delta": 1e-3}
    flat = [torch.full((20_000,), 0.001)]
    (theirs,) = flowers(flat, monkeypatch, **settings)
    (ours,) = defend(LocalDP(**settings), flat)
    assert ks_2samp(ours.numpy(), theirs.numpy()).pvalue > 0.01
    assert ours.std().item() == pytest.approx(theirs.std().item(), rel=0.03)


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize(("percentile", "gamma"), [(10, 0.01), (50, 0.05), (95, 1.0), (0, 0.1)])
def test_percentile_privacy_is_nvflares(percentile, gamma, steps):
    theirs = nvflares(
        "percentile_privacy",
        "PercentilePrivacy",
        update(),
        steps,
        percentile=percentile,
        gamma=gamma,
    )
    ours = defend(PercentilePrivacy(percentile, gamma, steps), update())
    for name, tensor in zip(NAMES, ours, strict=True):
        np.testing.assert_allclose(tensor.numpy(), theirs[name], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("excluded", [["6.weight", "0.bias"], "^[01]", "bias"])
def test_exclude_vars_leaves_out_what_nvflare_does(excluded):
    theirs = nvflares("exclude_vars", "ExcludeVars", update(), exclude_vars=excluded)
    ours = dict(zip(NAMES, defend(ExcludeVars(excluded), update()), strict=True))
    assert [name for name in NAMES if ours[name].any()] == list(theirs)
    assert all(np.array_equal(ours[name].numpy(), array) for name, array in theirs.items())


@pytest.mark.usefixtures("numpy_seed")
@pytest.mark.parametrize("replace", [True, False])
@pytest.mark.parametrize(
    "settings",
    [
        {"fraction": 0.2, "gamma": 0.05, "tau": 0.02, "epsilon": 1e4, "epsilon_release": 1e5},
        {"fraction": 0.1, "gamma": 0.01, "epsilon": 5.0, "noise_var": 10.0},
        {"fraction": 0.3, "gamma": 0.01, "epsilon": 50, "epsilon_query": 30, "noise_var": 100.0},
    ],
)
def test_svt_privacy_has_nvflares_distribution(settings, replace):
    """Many draws of each: how many entries are sent, which, and with which values."""
    one = update()
    clean = torch.cat([tensor.flatten() for tensor in one]).numpy()
    samples = []
    for framework in (True, False):
        rows = []
        for seed in range(30):
            if framework:
                sent = nvflares("svt_privacy", "SVTPrivacy", one, 2, replace=replace, **settings)
                arrays = [sent[name] for name in NAMES]
            else:
                defense = SVTPrivacy(replace=replace, steps=2, **settings)
                arrays = [tensor.numpy() for tensor in defend(defense, one, seed=seed)]
            rows.append(np.concatenate([array.ravel() for array in arrays]))
        samples.append(np.array(rows))
    theirs, ours = samples
    counts = [(rows != 0).sum(axis=1) for rows in samples]
    assert counts[1].mean() == pytest.approx(counts[0].mean(), rel=0.02)
    assert ks_2samp(ours[ours != 0], theirs[theirs != 0]).pvalue > 0.001
    # Which entries are sent, as a function of how large they are.
    large = np.abs(clean) > np.median(np.abs(clean))
    first, second = ((rows[:, large] != 0).mean() for rows in samples)
    deviation = np.sqrt(2 * first * (1 - first) / ours[:, large].size)
    assert abs(first - second) < 4 * deviation
