import pytest
import torch
from torchmetrics.image.fid import FrechetInceptionDistance
from torchvision.transforms.functional import gaussian_blur

from ggl_lightning.priors.feature_extractors import PooledPixels, RandomConvFeatures


@pytest.mark.parametrize("image_size", [32, 64])
def test_feature_shapes(image_size):
    images = torch.rand(2, 3, image_size, image_size)
    assert PooledPixels(grid=4)(images).shape == (2, 48)
    assert RandomConvFeatures(channels=8)(images).shape == (2, 48 + 64)


def test_pooled_pixels_are_cell_means():
    images = torch.rand(1, 3, 4, 4)
    expected = images.view(1, 3, 2, 2, 2, 2).mean(dim=(3, 5)).flatten(1)
    torch.testing.assert_close(PooledPixels(grid=2)(images), expected)


def test_features_are_the_same_in_every_run():
    images = torch.rand(2, 3, 32, 32)
    torch.manual_seed(1)
    first = RandomConvFeatures()
    torch.manual_seed(2)
    second = RandomConvFeatures()
    assert torch.equal(first(images), second(images))
    assert first.state_dict() == {}


def test_random_features_tell_blurred_images_from_sharp_ones():
    noise = torch.Generator().manual_seed(0)
    # Coarse structure with fine texture on it; two independent sets from one distribution.
    coarse = (
        torch.rand(800, 3, 8, 8, generator=noise).repeat_interleave(4, 2).repeat_interleave(4, 3)
    )
    images = coarse + 0.3 * torch.rand(800, 3, 32, 32, generator=noise) - 0.65

    def distance(fake: torch.Tensor) -> float:
        metric = FrechetInceptionDistance(RandomConvFeatures(channels=8), normalize=True)
        metric.update(images[:400], real=True)
        metric.update(fake, real=False)
        return metric.compute().item()

    same, blurred = distance(images[400:]), distance(gaussian_blur(images[400:], [3, 3]))
    assert blurred > 1.5 * same, (blurred, same)
