import pytest
import torch

from ggl_lightning.defenses import ExcludeVars
from ggl_lightning.errors import UserError
from tests.defenses.updates import adapted, defend, update_like
from tests.tiny import client_side

CLIENT = client_side()
NAMES = [name for name, _ in CLIENT.model.named_parameters()]
UPDATE = update_like(CLIENT.model.parameters(), 0)


def zeros_in(update):
    return [name for name, tensor in zip(NAMES, update, strict=True) if not tensor.any()]


@pytest.mark.parametrize(
    ("excluded", "names"),
    [
        (["6.weight"], ["6.weight"]),
        (["0.bias", "6.bias"], ["0.bias", "6.bias"]),
        ("bias", ["0.bias", "1.bias", "3.bias", "6.bias"]),
        ("^[01]", ["0.weight", "0.bias", "1.weight", "1.bias"]),
    ],
)
def test_named_tensors_are_not_sent_and_the_others_are(excluded, names):
    sent = defend(ExcludeVars(excluded), UPDATE)
    assert zeros_in(sent) == names
    for name, before, after in zip(NAMES, UPDATE, sent, strict=True):
        assert name in names or torch.equal(before, after)


def test_the_attacker_leaves_out_what_it_did_not_receive():
    candidate = update_like(CLIENT.model.parameters(), 1)
    defense = ExcludeVars("weight")
    received = defend(defense, UPDATE)
    assert zeros_in(adapted(defense, received, candidate)) == zeros_in(received)
    assert defense.adapt(received, None).estimate == {"excluded_tensors": 4.0}


@pytest.mark.parametrize(
    ("excluded", "said"),
    [
        ([], "is empty"),
        ("", "is empty"),
        ("(", "no regular expression"),
    ],
)
def test_what_names_nothing_is_refused(excluded, said):
    with pytest.raises(UserError, match=said):
        ExcludeVars(excluded)


@pytest.mark.parametrize(
    ("excluded", "said"),
    [
        (["6.weigth"], r"is '6\.weigth', which is not known\. Did you mean '6\.weight'"),
        ("fc", r"found in no name .* nothing would be defended\. Its names are 0\.weight"),
        (".", "leaves out every parameter"),
    ],
)
def test_what_does_not_suit_the_model_is_refused(excluded, said):
    with pytest.raises(UserError, match=said):
        defend(ExcludeVars(excluded), UPDATE)
