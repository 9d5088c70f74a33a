"""The prior in the package can do what it is there for."""

from importlib.resources import files

import torch
from PIL import Image

from ggl_lightning.data.image_transform import image_pixels, to_signed_range
from ggl_lightning.data.synthetic import draw_face
from ggl_lightning.priors.generator_files import read_metadata
from ggl_lightning.priors.wgan_gp_prior import WGANGPPrior

WEIGHTS = files("ggl_lightning.priors") / "weights" / "synthetic_faces32.safetensors"


def psnr(images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return 10 * torch.log10(4 / (images - targets).square().mean(dim=(-3, -2, -1)))


def faces_of_another_collection(n: int) -> torch.Tensor:
    # The prior was trained on the collection of seed 0.
    to_pixels = image_pixels(32)
    faces = [Image.fromarray(draw_face(seed=1, index=i)[0]) for i in range(n)]
    return torch.stack([to_signed_range(to_pixels(face)) for face in faces])


def test_it_is_small_and_says_where_it_comes_from():
    assert WEIGHTS.stat().st_size <= 8e6
    assert "train_gan.py" in read_metadata(str(WEIGHTS))["provenance"]


def test_it_can_draw_faces_it_has_never_seen():
    prior = WGANGPPrior()
    faces = faces_of_another_collection(8)
    noise = torch.Generator().manual_seed(0)
    by_chance = psnr(prior(prior.sample(100, noise))[:, None], faces).mean(dim=0)

    # Descent on the latent, straight on the image: what a perfect attack could reach.
    latents = prior.sample(8, noise).requires_grad_()
    adam = torch.optim.Adam([latents], lr=0.1)
    for _ in range(100):
        adam.zero_grad()
        (prior(latents) - faces).square().sum().backward()
        adam.step()
    reached = psnr(prior(latents.detach()), faces)
    gain = reached - by_chance  # dB
    assert gain.mean() > 8
    assert gain.min() > 4
