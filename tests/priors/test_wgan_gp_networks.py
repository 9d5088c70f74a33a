import pytest
import torch

from ggl_lightning.errors import UserError
from ggl_lightning.priors.wgan_gp_networks import WGANGPCritic, WGANGPGenerator


def test_the_published_architecture_at_32():
    shapes = {name: tuple(p.shape) for name, p in WGANGPGenerator().named_parameters()}
    assert shapes == {
        "preprocess.0.weight": (8192, 128),
        "preprocess.0.bias": (8192,),
        "preprocess.1.weight": (8192,),
        "preprocess.1.bias": (8192,),
        "block1.0.weight": (512, 256, 2, 2),
        "block1.0.bias": (256,),
        "block1.1.weight": (256,),
        "block1.1.bias": (256,),
        "block2.0.weight": (256, 128, 2, 2),
        "block2.0.bias": (128,),
        "block2.1.weight": (128,),
        "block2.1.bias": (128,),
        "deconv_out.weight": (128, 3, 2, 2),
        "deconv_out.bias": (3,),
    }
    critic = [tuple(p.shape) for p in WGANGPCritic().parameters() if p.dim() > 1]
    assert critic == [(128, 3, 3, 3), (256, 128, 3, 3), (512, 256, 3, 3), (1, 8192)]


@pytest.mark.parametrize("image_size", [32, 64])
@pytest.mark.parametrize("width", [5, 8])
def test_images_have_the_right_shape_and_range(width, image_size):
    torch.manual_seed(0)
    generator = WGANGPGenerator(width, latent_dim=6, image_size=image_size)
    images = generator(20 * torch.randn(4, 6))
    assert images.shape == (4, 3, image_size, image_size)
    assert images.abs().max() <= 1
    assert WGANGPCritic(width, image_size)(images).shape == (4,)


def test_a_score_does_not_depend_on_the_other_images():
    torch.manual_seed(0)
    critic = WGANGPCritic(width=4)
    images = torch.rand(5, 3, 32, 32)
    torch.testing.assert_close(critic(images)[2:3], critic(images[2:3]))


@pytest.mark.parametrize("sizes", [{"width": 0}, {"image_size": 48}, {"latent_dim": -1}])
def test_impossible_sizes_are_named(sizes):
    (name,) = sizes
    with pytest.raises(UserError, match=f"{name} is"):
        WGANGPGenerator(**{"width": 4, **sizes})
