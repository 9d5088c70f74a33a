"""Tensors that a defense leaves nothing of, in most updates or in all."""

import torch

from ggl_lightning.attacks.learned.examples import Gram
from ggl_lightning.attacks.learned.selection import noise_ratios
from ggl_lightning.attacks.learned.simulated import _norms, _unit


def test_their_noise_ratio_is_a_number():
    grams = {"zero": Gram.of(torch.zeros(3, 3, dtype=torch.float64)),
             "other": Gram.of(4 * torch.eye(3, dtype=torch.float64))}  # fmt: skip
    names = ["zero", "other"]
    assert noise_ratios(grams, names, 0.0).tolist() == [0, 0]
    hidden, ratio = noise_ratios(grams, names, 1.0).tolist()
    assert ratio == 0.25
    assert 1e100 < hidden < float("inf")


def test_they_have_no_direction():
    values = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    assert torch.equal(_unit(values, _norms(values)), torch.tensor([[0.0, 0.0], [0.6, 0.8]]))
