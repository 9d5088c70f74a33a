import torch

from ggl_lightning.attacks import GenerativeGradientLeakage, Received, Target
from ggl_lightning.attacks.searches import AdamSearch
from ggl_lightning.clients import GradientUpdate, client_update
from ggl_lightning.defenses import NoDefense
from tests.tiny import TinyPrior, client_side


def found(**settings):
    client = client_side()
    update = client_update(client.model, client.images, client.labels)
    received = Received(update, 1, GradientUpdate(), NoDefense())
    attack = GenerativeGradientLeakage(AdamSearch(), budget=3, **settings)
    return attack.run(received, Target(client.model, client.classifier, TinyPrior()), seed=0)


def test_squashed_latents_are_bounded_and_no_regulariser_pulls_at_them():
    plain = found(squash=True, kl_weight=0.0)
    pulled = found(squash=True, kl_weight=100.0)
    assert pulled.loss == plain.loss
    assert torch.equal(pulled.artefacts["latent"], plain.artefacts["latent"])
    assert plain.artefacts["latent"].abs().max() < 1


def test_the_latents_that_are_kept_make_the_reconstruction():
    for squash in (False, True):
        answer = found(squash=squash)
        torch.testing.assert_close(TinyPrior()(answer.artefacts["latent"]), answer.images)


def test_free_latents_are_regularised():
    assert found(kl_weight=100.0).loss > found(kl_weight=0.0).loss
