"""What any attacker can reach, against the best attacker of made-up releases."""

import math
from statistics import NormalDist

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ggl_lightning.clients import client_update
from ggl_lightning.defenses import DPSGD, ClientSide
from ggl_lightning.defenses.dp_sgd import per_example_gradients
from ggl_lightning.errors import UserError
from ggl_lightning.metrics import identification_bound
from tests.tiny import client_side

RELEASES = 20_000


def _matched_filter(points: np.ndarray, std: float, k: int = 1) -> float:
    """How often the likeliest ``k`` of equally likely points hold the one behind a release."""
    draw = np.random.default_rng(0)
    own = draw.integers(len(points), size=RELEASES)
    released = points[own] + std * draw.standard_normal((RELEASES, points.shape[1]))
    scores = released @ points.T - (points**2).sum(axis=1) / 2
    better = (scores > scores[np.arange(RELEASES), own][:, None]).sum(axis=1)
    return float((better < k).mean())


def _simplex(count: int) -> np.ndarray:
    """As many points of norm 1 as far apart as they can be."""
    centred = np.eye(count) - 1 / count
    return centred / np.linalg.norm(centred, axis=1, keepdims=True)


@pytest.mark.parametrize("noise", [0.3, 0.7, 1.0, 2.0, 5.0])
def test_two_opposite_images_reach_the_bound(noise):
    """Distance over noise is 2 / z between them, and the bound is that of 1 / z."""
    reached = _matched_filter(np.array([[-1.0], [1.0]]), noise)
    bound = identification_bound(noise, decoys=1)
    assert bound == pytest.approx(NormalDist().cdf(1 / noise))
    assert reached == pytest.approx(bound, abs=4 * 0.5 / math.sqrt(RELEASES))


@pytest.mark.parametrize("noise", [0.3, 0.5, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("count", [3, 10, 101])
@pytest.mark.parametrize("k", [1, 2])
def test_no_matched_filter_does_better(noise, count, k):
    error = 4 * 0.5 / math.sqrt(RELEASES)
    bound = identification_bound(noise, count - 1, k)
    assert _matched_filter(_simplex(count), noise, k) <= bound + error
    scattered = np.random.default_rng(1).standard_normal((count, 5))
    scattered /= np.linalg.norm(scattered, axis=1, keepdims=True)
    assert _matched_filter(scattered, noise, k) <= bound + error


def test_half_the_distance_would_be_no_bound():
    """What of ``1 / (2 z)`` would follow is exceeded, so that ``1 / z`` is not too careful."""
    normal = NormalDist()
    too_low = normal.cdf(normal.inv_cdf(1 / 3) + 1 / 2)
    assert _matched_filter(_simplex(3), 1.0) > too_low + 0.05


def test_figures_of_the_literature_on_hundred_decoys():
    found = [identification_bound(noise, 100) for noise in (0.5, 1.0, 2.0)]
    assert found == pytest.approx([0.37, 0.092, 0.034], abs=0.005)


@given(
    noise=st.floats(0.05, 1e6),
    decoys=st.integers(1, 10_000),
    k=st.integers(1, 50),
)
def test_it_lies_between_chance_and_certainty_and_falls_with_noise(noise, decoys, k):
    found = identification_bound(noise, decoys, k)
    chance = min(1.0, k / (decoys + 1))
    assert chance * (1 - 1e-9) <= found <= 1
    assert identification_bound(2 * noise, decoys, k) <= found
    if k <= decoys:
        assert found <= identification_bound(noise, decoys, k + 1)


@pytest.mark.parametrize("bad", [{"noise_multiplier": 0.0}, {"decoys": 0}, {"k": 0}])
def test_numbers_that_make_no_sense_are_refused(bad):
    with pytest.raises(UserError, match=next(iter(bad))):
        identification_bound(**{"noise_multiplier": 1.0, "decoys": 9, "k": 1, **bad})


@pytest.mark.parametrize("others", [0, 2])
def test_dp_sgd_keeps_the_best_attacker_below_it(others):
    """The attacker knows all clipped gradients, the others of the batch, bound and noise."""
    side, count, noise = client_side(3, images=10, num_classes=2), 10, 1.5
    label = torch.zeros(count, dtype=torch.long)
    gradients = per_example_gradients(side.model, side.images, label)
    flat = torch.cat([each.flatten(1) for each in gradients], dim=1).double()
    defense = DPSGD(bound=0.5, noise_multiplier=noise)
    clipped = flat * (0.5 / flat.norm(dim=1, keepdim=True)).clamp(max=1)
    with_others = torch.randn(others, 3, 8, 8, generator=torch.Generator().manual_seed(9))
    generator = torch.Generator().manual_seed(0)
    rounds = 30
    hits = 0
    known = None
    for own in list(range(count)) * rounds:
        images = torch.cat([side.images[own : own + 1], with_others])
        labels = torch.zeros(1 + others, dtype=torch.long)
        client = ClientSide(side.model, images, labels, side.classifier, generator)
        sent = defense(client_update(side.model, images, labels), client)
        total = torch.cat([each.flatten() for each in sent]).double() * (1 + others)
        if known is None:
            rest = DPSGD(bound=0.5, noise_multiplier=0)(
                client_update(side.model, images, labels), client
            )
            flat_rest = torch.cat([each.flatten() for each in rest]).double() * (1 + others)
            known = flat_rest - clipped[own]
        scores = (total - known) @ clipped.T - clipped.square().sum(dim=1) / 2
        hits += int(scores.argmax()) == own
    bound = identification_bound(noise, count - 1)
    error = math.sqrt(bound * (1 - bound) / (count * rounds))
    assert hits / (count * rounds) <= bound + 4 * error
