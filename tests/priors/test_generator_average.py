import pytest
import torch

from ggl_lightning.errors import UserError
from ggl_lightning.priors.generator_average import GeneratorAverage
from ggl_lightning.priors.wgan_gp_networks import WGANGPGenerator


def test_it_is_the_exponential_average_of_weights_and_statistics():
    torch.manual_seed(0)
    generator = WGANGPGenerator(width=2, latent_dim=3)
    average = GeneratorAverage(generator, decay=0.25)
    expected_weight = generator.deconv_out.weight.detach().double()
    expected_mean = generator.block1[1].running_mean.double()
    for n in range(6):
        generator.deconv_out.weight.data.normal_()
        generator(torch.randn(8, 3))  # moves the batch statistics
        average.update(generator, n_updates=n)
        decay = min(0.25, (1 + n) / (10 + n))
        expected_weight = decay * expected_weight + (1 - decay) * generator.deconv_out.weight
        expected_mean = decay * expected_mean + (1 - decay) * generator.block1[1].running_mean
    torch.testing.assert_close(average.module.deconv_out.weight.double(), expected_weight)
    torch.testing.assert_close(average.module.block1[1].running_mean.double(), expected_mean)
    assert average.module.block1[1].num_batches_tracked == 6


def test_it_gets_no_gradients_and_leaves_the_generator_its_own():
    generator = WGANGPGenerator(width=2)
    average = GeneratorAverage(generator, decay=0.9)
    assert not any(parameter.requires_grad for parameter in average.parameters())
    assert all(parameter.requires_grad for parameter in generator.parameters())


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_decay_out_of_range(decay):
    with pytest.raises(UserError, match="ema_decay"):
        GeneratorAverage(WGANGPGenerator(width=2), decay)
