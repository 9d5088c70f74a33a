"""Every metric against a plain float64 computation, alone, split over ranks, and at its edges."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ggl_lightning.clients import find_classifier_layer
from ggl_lightning.errors import UserError
from ggl_lightning.metrics import (
    FeatureMSE,
    InferredLabelAccuracy,
    RepresentationRMSE,
    build_reconstruction_metrics,
)
from ggl_lightning.seeding import seeded
from tests.metrics.conftest import random_images
from tests.tiny import TinyClient


def forward64(client: TinyClient, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Last layer's input and output, the last layer computed by hand."""
    with torch.no_grad():
        body = nn.Sequential(*list(client)[:-1]).double()(torch.from_numpy(images)).numpy()
    client.float()
    layer = client[-1]
    weight, bias = layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy()
    return body, body @ weight.T + bias


def reference(client: TinyClient, preds: torch.Tensor, target: torch.Tensor) -> dict[str, float]:
    """Means over images of numbers computed image by image, pixel by pixel, in float64."""
    rows = []
    for x, y in zip(preds.double().numpy(), target.double().numpy(), strict=True):
        mse = np.mean([(a - b) ** 2 for a, b in zip(x.flat, y.flat, strict=True)])
        (rep_x, logits_x), (rep_y, logits_y) = (forward64(client, i[None]) for i in (x, y))
        rows.append(
            {
                "mse": mse,
                "psnr": 20 * math.log10(2) - 10 * math.log10(mse),
                "psnr_published": -10 * math.log10(mse),
                "fmse": np.mean((logits_x - logits_y) ** 2),
                "mse_r": np.mean((rep_x - rep_y) ** 2),
                "rmse_r": math.sqrt(np.mean((rep_x - rep_y) ** 2)),
                "tv_reconstruction": total_variation(x),
                "tv_private": total_variation(y),
            }
        )
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def total_variation(image: np.ndarray) -> float:
    channels, height, width = image.shape
    total = 0.0
    for c in range(channels):
        for i in range(height):
            for j in range(width):
                if i + 1 < height:
                    total += abs(image[c, i + 1, j] - image[c, i, j])
                if j + 1 < width:
                    total += abs(image[c, i, j + 1] - image[c, i, j])
    return total


@pytest.fixture
def metrics(client, last_layer, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return build_reconstruction_metrics(client, last_layer, 8)


def test_values_equal_plain_loops(client, metrics):
    preds, target = random_images(4, 1), random_images(4, 2)
    collection = metrics.collection()
    collection.update(preds[:3], target[:3])
    collection.update(preds[3:], target[3:])
    values = {name: value.item() for name, value in collection.compute().items()}
    ssim = values.pop("ssim")
    assert -1 <= ssim <= 1
    assert values == pytest.approx(reference(client, preds, target), rel=1e-5)


@settings(max_examples=10)
@given(st.integers(1, 5), st.integers(0, 1000))
def test_two_ranks_reduce_to_the_whole(split, seed):
    with seeded(0):
        client = TinyClient(num_classes=3).eval()
    layer = find_classifier_layer(client, random_images(1, 0)).layer
    metrics = build_reconstruction_metrics(client, layer, 8)
    preds, target = random_images(6, seed), random_images(6, seed + 1)
    whole, first, second = (metrics.collection() for _ in range(3))
    whole.update(preds, target)
    first.update(preds[:split], target[:split])
    second.update(preds[split:], target[split:])
    for name, metric in first.items(keep_base=True):
        # What synchronisation does with the states of two ranks.
        for state, reduce in metric._reductions.items():
            mine, other = getattr(metric, state), getattr(second[name], state)
            if isinstance(mine, torch.Tensor):
                setattr(metric, state, reduce(torch.stack([mine, other])))
            else:
                setattr(metric, state, [*mine, *other])
        torch.testing.assert_close(metric.compute(), whole[name].compute(), rtol=1e-5, atol=1e-6)


def test_identical_images(metrics):
    images = random_images(2, 3)
    values = metrics.collection()(images, images)
    assert values["psnr"] == values["psnr_published"] == math.inf
    for name in ("mse", "fmse", "mse_r", "rmse_r"):
        assert values[name] == 0
    assert values["ssim"].item() == pytest.approx(1)
    assert values["tv_reconstruction"] == values["tv_private"] > 0


def test_metrics_that_began_equal_part_afterwards(client, metrics):
    """A perfect first reconstruction must not tie metrics together (torchmetrics' groups)."""
    images, others = random_images(1, 3), random_images(1, 4)
    collection = metrics.collection()
    collection.update(images, images)
    collection.update(others, images)
    values = {name: value.item() for name, value in collection.compute().items()}
    once = reference(client, others, images)
    for name in ("mse", "fmse", "mse_r", "rmse_r"):
        assert values[name] == pytest.approx(once[name] / 2, rel=1e-5)
    assert values["tv_reconstruction"] != pytest.approx(values["tv_private"], rel=1e-3)


def test_the_published_psnr_is_6_02_db_lower(metrics):
    values = metrics.collection()(random_images(3, 1), random_images(3, 2))
    difference = (values["psnr"] - values["psnr_published"]).item()
    assert difference == pytest.approx(20 * math.log10(2), abs=1e-5)


def test_collections_are_independent_and_share_the_client(client, metrics):
    first, second = metrics.collection(), metrics.collection()
    first.update(random_images(1, 1), random_images(1, 2))
    assert second["fmse"].images == 0
    assert first["fmse"].client_model is second["rmse_r"].client_model is client


def test_no_image_is_an_error_and_not_nan(metrics):
    with (
        pytest.raises(ValueError, match="before any image"),
        pytest.warns(UserWarning, match="before the ``update``"),
    ):
        metrics.collection()["fmse"].compute()


def test_a_client_in_train_mode_is_refused_before_its_statistics_move(client, last_layer):
    before = client[1].running_mean.clone()
    with pytest.raises(UserError, match="train mode"):
        FeatureMSE(client.train(), last_layer).update(random_images(2, 1), random_images(2, 2))
    assert torch.equal(client[1].running_mean, before)


def test_low_precision_outside_does_not_reach_the_features(client, last_layer):
    images, near = random_images(1, 1), random_images(1, 1) + 1e-4
    exact, under_autocast = (RepresentationRMSE(client, last_layer) for _ in range(2))
    exact.update(images, near)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under_autocast.update(images, near)
    assert exact.compute() > 0
    assert torch.equal(exact.compute(), under_autocast.compute())


def test_ssim_of_images_smaller_than_its_window_is_missing(client, last_layer):
    metrics = build_reconstruction_metrics(client, last_layer, 5)
    assert "takes 6 or more" in metrics.missing["ssim"]
    assert "ssim" not in metrics.collection()


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=6))
def test_label_accuracy_is_the_share_of_labels_matched_without_order(pairs):
    inferred, true = [a for a, _ in pairs], [b for _, b in pairs]
    unmatched, hits = list(true), 0
    for label in inferred:
        if label in unmatched:
            unmatched.remove(label)
            hits += 1
    metric = InferredLabelAccuracy()
    metric.update(torch.tensor(inferred), torch.tensor(true))
    assert metric.compute().item() == pytest.approx(hits / len(true))


def test_label_accuracy_over_clients():
    metric = InferredLabelAccuracy()
    metric.update(torch.tensor([3]), torch.tensor([3]))
    metric.update(torch.tensor([1]), torch.tensor([2]))
    metric.update(torch.tensor([5, 5, 0]), torch.tensor([0, 5, 1]))
    assert metric.compute().item() == pytest.approx(3 / 5)
    with pytest.raises(ValueError, match=r"\(1,\) and \(2,\)"):
        metric.update(torch.tensor([1]), torch.tensor([1, 2]))
