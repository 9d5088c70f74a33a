import torch

from ggl_lightning.priors.generator_files import export_generator
from ggl_lightning.priors.wgan_gp_networks import WGANGPGenerator
from ggl_lightning.priors.wgan_gp_prior import WGANGPPrior


def make_prior(tmp_path) -> WGANGPPrior:
    torch.manual_seed(0)
    export_generator(WGANGPGenerator(4, latent_dim=6), tmp_path / "p.safetensors")
    return WGANGPPrior(str(tmp_path / "p.safetensors"))


def test_latents_are_standard_normal_and_follow_the_generator(tmp_path):
    prior = make_prior(tmp_path)
    latents = prior.sample(5000, torch.Generator().manual_seed(3))
    assert latents.shape == (5000, *prior.latent_shape)
    assert torch.equal(latents, prior.sample(5000, torch.Generator().manual_seed(3)))
    # 30,000 values: these bounds are five standard errors.
    assert latents.mean().abs() < 5 / 30000**0.5
    assert (latents.std() - 1).abs() < 5 / 60000**0.5


def test_an_image_depends_on_its_own_latent_only_whatever_the_mode(tmp_path):
    prior = make_prior(tmp_path).train()
    latents = prior.sample(4)
    torch.testing.assert_close(prior(latents)[1:2], prior(latents[1:2]))
    assert prior(latents).shape == (4, 3, prior.image_size, prior.image_size)


def test_gradients_reach_the_latents_only(tmp_path):
    prior = make_prior(tmp_path)
    latents = prior.sample(2).requires_grad_()
    prior(latents, labels=torch.tensor([0, 1])).sum().backward()
    assert latents.grad is not None
    assert latents.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in prior.parameters())
