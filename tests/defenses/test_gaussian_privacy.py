import math

import numpy as np
import pytest
import torch

from ggl_lightning.defenses import GaussianPrivacy
from ggl_lightning.defenses.gaussian_privacy import nonzero_percentile
from ggl_lightning.errors import UserError
from tests.defenses.updates import AWKWARD, defend, doubles, equal, update_like


@pytest.mark.parametrize("percentage", [0, 33.3, 50, 95, 100])
def test_the_percentile_is_numpys_over_nonzero_entries(percentage):
    for update in (doubles(*AWKWARD), update_like([torch.zeros(70, 30)], 0, zeros=0.4)):
        entries = np.abs(np.concatenate([tensor.numpy().ravel() for tensor in update]))
        expected = np.percentile(entries[entries > 0], percentage)
        assert nonzero_percentile(update, percentage).item() == pytest.approx(expected, rel=1e-6)


def test_the_noise_is_in_proportion_to_large_entries():
    values = torch.cat([torch.zeros(100_000), torch.linspace(-1, 1, 100_001)])
    for scale in (1.0, 50.0):
        update = [scale * values]
        (sent,) = defend(GaussianPrivacy(0.2), update)
        # 95% of the nonzero magnitudes, which are spread evenly up to the scale, are below this.
        assert (sent - update[0]).std().item() == pytest.approx(0.2 * 0.95 * scale, rel=0.01)


def test_without_noise_or_without_entries_nothing_changes():
    update = doubles([1.0, -2.0], [0.0])
    assert equal(defend(GaussianPrivacy(0.0), update), update)
    zeros = doubles([0.0, 0.0], [0.0])
    assert equal(defend(GaussianPrivacy(), zeros), zeros)


def test_the_attacker_reports_the_noise_and_undoes_nothing():
    update = [torch.zeros(50_000), torch.ones(100)]
    adaptation = GaussianPrivacy().adapt(defend(GaussianPrivacy(0.3), update), None)
    assert adaptation.estimate == {"noise_std": pytest.approx(0.3, rel=0.02)}
    assert equal(adaptation(update), update)


@pytest.mark.parametrize(
    ("name", "value"), [("sigma0", -1), ("sigma0", math.inf), ("max_percentile", 100.5)]
)
def test_impossible_settings_are_refused(name, value):
    with pytest.raises(UserError, match=f"{name} of the Gaussian privacy defense is {value}"):
        GaussianPrivacy(**{name: value})
