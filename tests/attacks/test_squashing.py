import torch

from ggl_lightning.attacks import GenerativeGradientLeakage, Target
from ggl_lightning.attacks.searches import AdamSearch
from ggl_lightning.clients import client_update
from tests.tiny import TinyPrior, client_side, received


def found(**settings):
    client = client_side()
    update = client_update(client.model, client.images, client.labels)
    attack = GenerativeGradientLeakage(AdamSearch(), budget=3, **settings)
    target = Target(client.model, client.classifier, TinyPrior())
    return attack.run(received(client.model, update), target, seed=0)


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
