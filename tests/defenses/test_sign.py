import torch

from ggl_lightning.defenses import Sign
from tests.defenses.updates import adapted, defend, doubles, equal


def test_sign_sends_minus_one_zero_and_one():
    sent = defend(Sign(), doubles([3.0, -0.5, 0.0], [[-1e-30]]))
    assert equal(sent, doubles([1.0, -1.0, 0.0], [[-1.0]]))
    assert equal(defend(Sign(), sent), sent)


def test_the_attacker_takes_signs_too_and_has_nothing_to_estimate():
    received = doubles([1.0, -1.0, 0.0])
    assert Sign().adapt(received, None).estimate == {}
    assert adapted(Sign(), received, doubles([0.3, 1e-9, -7.0]))[0].tolist() == [1, 1, -1]


def test_gradient_passes_straight_through():
    update = torch.tensor([0.3, 0.0, -7.0], requires_grad=True)
    (signs,) = Sign().adapt([update.detach()], None)([update])
    (gradient,) = torch.autograd.grad((signs * torch.tensor([1.0, 2.0, 3.0])).sum(), update)
    assert gradient.tolist() == [1, 2, 3]
