import pytest
import torch

from ggl_lightning.clients import client_update
from ggl_lightning.defenses import DPSGD, Clipping, Compose, Compression, NoDefense, Noise, Sign
from ggl_lightning.errors import UserError
from tests.defenses.updates import adapted, defend, doubles, equal
from tests.tiny import client_side


def test_order_matters():
    update = doubles([3.0, -4.0])
    clipped_signs = defend(Compose([Sign(), Clipping(1.0)]), update)
    signs_of_clipped = defend(Compose([Clipping(1.0), Sign()]), update)
    assert clipped_signs[0].tolist() == pytest.approx([0.5**0.5, -(0.5**0.5)], rel=1e-5)
    assert signs_of_clipped[0].tolist() == [1, -1]


def test_members_draw_from_one_stream_of_random_numbers():
    update = doubles(range(1000))
    once = defend(Noise(1.0), update)[0] - update[0]
    twice = defend(Compose([Noise(1.0), Noise(1.0)]), update)[0] - update[0]
    assert not torch.allclose(twice, 2 * once)
    assert twice.std().item() == pytest.approx(2**0.5, rel=0.1)


def test_the_attacker_applies_the_members_estimates_in_order():
    defense = Compose([Compression(50), NoDefense(), Clipping(1.0)])
    update = doubles([1.0, -2.0, 30.0, -40.0])
    received = defend(defense, update)
    adaptation = defense.adapt(received, None)
    assert adaptation.estimate == {
        "0.Compression.percentage": 50.0,
        "2.Clipping.bound": pytest.approx(1.0, rel=1e-6),
    }
    torch.testing.assert_close(adaptation(update)[0], received[0], rtol=1e-6, atol=0)


def test_gradient_flows_through_all_members():
    defense = Compose([Compression(50), Sign()])
    update = torch.tensor([1.0, -2.0, 30.0, -40.0], requires_grad=True)
    received = defend(defense, [update.detach()])
    (found,) = adapted(defense, received, [update])
    (gradient,) = torch.autograd.grad((found * torch.tensor([1.0, 2.0, 3.0, 4.0])).sum(), update)
    assert gradient.tolist() == [0, 0, 3, 4]


def test_a_later_member_can_cover_the_traces_of_an_earlier_one():
    defense = Compose([Compression(90), Noise(0.1)])
    received = defend(defense, doubles(range(100)))
    assert defense.adapt(received, None).estimate == {"0.Compression.percentage": 0.0}


def test_there_is_nothing_to_adapt_to_if_no_member_has_anything():
    assert Compose([Noise(), NoDefense()]).adapt(doubles([1.0]), None) is None


def test_dp_sgd_must_come_first_and_lends_its_guarantee():
    good = Compose([DPSGD(), Compression()])
    assert good.guarantee() == DPSGD().guarantee() != {}
    assert Compose([Compression(), Noise()]).guarantee() == {}
    for defenses in ([Compression(), DPSGD()], [Noise(), good]):
        with pytest.raises(UserError, match=r"at position 1.*must come first"):
            Compose(defenses)


def test_dp_sgd_is_followed_by_the_others():
    client = client_side(images=2)
    update = client_update(client.model, client.images, client.labels)
    sent = Compose([DPSGD(noise_multiplier=0), Sign()])(update, client)
    signs = [tensor.sign() for tensor in DPSGD(noise_multiplier=0)(update, client)]
    assert equal(sent, signs)


def test_an_empty_composition_is_refused():
    with pytest.raises(UserError, match="empty list"):
        Compose([])
