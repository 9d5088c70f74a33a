"""The standard attack: what it runs, when it stops, and which answer it takes."""

from dataclasses import replace

import pytest
import torch

from ggl_lightning.attacks import Finding, StandardAttack
from ggl_lightning.attacks.explained import unexplained_shares
from ggl_lightning.attacks.standard import VERSION, chosen
from ggl_lightning.audit.plan.keys import describe
from ggl_lightning.clients import MLP, client_update
from ggl_lightning.defenses import Clipping, Compression, Noise, Sign
from ggl_lightning.errors import UserError
from ggl_lightning.seeding import seeded
from tests.tiny import TinyClient, TinyPrior, public_target, received

LABEL = torch.tensor([1])


def made(model):
    return public_target(model, 150)


@pytest.fixture(scope="module")
def target():
    with seeded(0):
        return made(TinyClient().eval())


@pytest.fixture(scope="module")
def image():
    prior = TinyPrior()
    return prior(prior.sample(1, torch.Generator().manual_seed(11)))


def test_cheap_ones_first_and_no_search_where_the_leak_is_shown(target, image):
    found = StandardAttack().run(
        received(target.model, client_update(target.model, image, LABEL)), target, seed=0
    )
    assert list(found.members) == ["matching", "learned", "warm"]
    assert found.evaluation["chosen"] in ("learned", "warm")
    assert "no linear layer" in found.evaluation["left_out"]["linear"]
    assert "a search is run above 50% only" in found.evaluation["left_out"]["ggl"]
    best = min(("learned", "warm"), key=lambda name: found.members[name].predicted_mse)
    assert found.evaluation["chosen"] == best
    assert torch.equal(found.images, found.members[best].images)
    assert found.predicted_mse == found.members[best].predicted_mse


def test_it_searches_where_the_learned_answer_tells_little(target, image):
    defense = Noise(0.5)
    noise = torch.Generator().manual_seed(0)
    sent = [
        g + 0.5 * torch.randn(g.shape, generator=noise)
        for g in client_update(target.model, image, LABEL)
    ]
    attack = StandardAttack(budget=3)
    found = attack.run(received(target.model, sent, defense=defense), target, seed=0)
    assert list(found.members) == ["matching", "learned", "warm", "ggl"]
    assert found.rounds == 3
    assert found.histories == found.members["ggl"].histories
    again = attack.run(received(target.model, sent, defense=defense), target, seed=0)
    assert torch.equal(again.members["ggl"].images, found.members["ggl"].images)


def test_an_exact_answer_ends_it(image):
    with seeded(0):
        model = MLP(num_classes=2, image_size=8, width=16, hidden_layers=1).eval()
    target = made(model)
    given = received(model, client_update(model, image, LABEL))
    found = StandardAttack().run(given, target, seed=0)
    assert found.evaluation["chosen"] == "linear"
    assert list(found.members) == ["linear", "matching"]
    reasons = found.evaluation["left_out"]
    assert reasons["ggl"] == reasons["warm"] == reasons["learned"]
    torch.testing.assert_close(found.images, image, rtol=0, atol=1e-4)
    lineup = torch.cat([-image, image, image.flip(-1)])
    ranks = StandardAttack().rank(given, found, lineup, target)
    assert int(ranks.argmin()) == 1


@pytest.mark.parametrize("defense", [None, Clipping(0.1), Compression(80)])
def test_the_unexplained_share_is_that_of_the_defended_update(target, image, defense):
    sent = client_update(target.model, image, LABEL)
    other = client_update(target.model, -image, LABEL)
    known = {}
    if defense is not None:
        sent, other, known = defense(sent, None), defense(other, None), {"defense": defense}
    shares = unexplained_shares(
        received(target.model, sent, **known), target, torch.stack([image, -image]), LABEL
    )
    square = sum(float(g.double().square().sum()) for g in sent)
    if isinstance(defense, Compression):  # pruned at the share of zeros that was received
        other = received(target.model, sent, **known).defense.adapt(sent, None)(
            client_update(target.model, -image, LABEL)
        )
    apart = sum(float((a - b).double().square().sum()) for a, b in zip(other, sent, strict=True))
    assert float(shares[0]) < 1e-8
    assert float(shares[1]) == pytest.approx(apart / square, rel=1e-4)


def finding(value, unexplained, predicted=None):
    return Finding(
        torch.full((1, 3, 8, 8), float(value)),
        LABEL,
        evaluation={"unexplained": unexplained, "exact": unexplained < 1e-6},
        predicted_mse=predicted,
    )


@pytest.mark.parametrize(
    ("ggl", "expected"),
    [
        # It explains all but a little, and is where the learned answer's own error puts the image.
        (finding(0.3, 0.05), "ggl"),
        # It explains not much more than the learned answer does.
        (finding(0.3, 0.4), "learned"),
        # It explains the update, but is further off than the learned answer's error allows.
        (finding(0.9, 0.05), "learned"),
        (finding(0.9, 1e-9), "ggl"),  # exact
    ],
)
def test_the_choice_between_a_search_and_a_regression(ggl, expected):
    learned = finding(0.0, 0.8, predicted=0.08)
    assert chosen({"learned": learned, "ggl": ggl}) == expected


def test_without_an_expectation_the_update_decides():
    assert chosen({"linear": finding(0, 0.3), "ggl": finding(0.1, 0.2)}) == "ggl"
    only = {"matching": replace(finding(0, 1.0), images=None), "ggl": finding(0.1, 0.9)}
    assert chosen(only) == "ggl"


def test_a_batch_is_left_to_the_searches(target, image):
    labels = torch.tensor([0, 1])
    pair = torch.cat([image, -image])
    given = received(target.model, client_update(target.model, pair, labels), count=2)
    found = StandardAttack(budget=2).run(given, target, seed=0)
    assert "takes updates of one image" in found.evaluation["left_out"]["learned"]
    assert found.evaluation["chosen"] == "ggl"


def test_what_nothing_fits_is_told_before_it_runs():
    assert StandardAttack().needs_public == 4000
    with pytest.raises(UserError, match="budget"):
        StandardAttack(budget=0)


def test_signs_that_are_explained_prove_nothing(image):
    with seeded(0):
        model = MLP(num_classes=2, image_size=8, width=16, hidden_layers=1).eval()
    target = made(model)
    sent = Sign()(client_update(model, image, LABEL), None)
    found = StandardAttack(budget=2).run(received(model, sent, defense=Sign()), target, seed=0)
    assert not any(each.evaluation.get("exact") for each in found.members.values())
    assert "learned" in found.members


def test_members_as_they_are_belong_to_the_version():
    """Whoever changes what a member does must raise `VERSION`, and this with it."""
    settings = {name: describe(attack) for name, attack in StandardAttack().members.items()}
    assert (VERSION, settings) == (
        2,
        {
            "linear": {
                "class": "ggl_lightning.attacks.FirstLinearInversion",
                "known_label": False,
            },
            "matching": {
                "class": "ggl_lightning.attacks.UpdateMatching",
                "believes": None,
                "known_label": False,
                "orders": 1,
            },
            "learned": {
                "class": "ggl_lightning.attacks.LearnedInversion",
                "version": 2,
                "adaptive": True,
                "believes": None,
                "known_label": False,
                "mirrored": None,
                "public_images": 4000,
            },
            "warm": {
                "class": "ggl_lightning.attacks.WarmStartedGGL",
                "believes": None,
                "budget": 40,
                "known_label": False,
                "learned": settings["learned"],
                "lr": 0.03,
                "projection_steps": 80,
                "rehearsals": 4,
            },
            "ggl": settings["ggl"],
        },
    )
    ggl = settings["ggl"]
    assert (ggl["budget"], ggl["n_trials"], ggl["kl_weight"]) == (500, 1, 0.1)
    assert ggl["adaptive"] is True
    assert (ggl["search"]["method"], ggl["search"]["population"]) == ("CMA", 50)
