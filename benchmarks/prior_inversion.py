"""What a prior can draw: direct inversion of images it has never seen, beside random samples.

Each image is looked for by Adam on its own mean squared error, the best of several starts: the
ceiling of any attack that searches this prior. Random samples of the prior are the floor. Priors
with classes are given the images' labels, in both. `--folders` reads folders of classes.

    python benchmarks/prior_inversion.py --root DATA --prior prior.safetensors --json numbers.json
"""

import ggl_lightning  # noqa: F401, I001  (first: it repairs torchvision beside a CPU-only torch)

import argparse
import time
from pathlib import Path

import torch
from celeba_images import spread, spread_images
from numbers_out import hand_over
from torch import Tensor

from ggl_lightning.data.image_folders import ImageFolderDataModule
from ggl_lightning.priors.base import Prior
from ggl_lightning.priors.wgan_gp_prior import WGANGPPrior


def psnr(images: Tensor, others: Tensor) -> Tensor:
    """PSNR in dB of images in ``[-1, 1]`` over all but their leading dimensions, range 2."""
    mse = (images - others).square().flatten(-3).mean(dim=-1)
    return 10 * (4 / mse).log10()


def invert(
    prior: Prior, images: Tensor, labels: Tensor, starts: int, steps: int, seed: int
) -> Tensor:
    """PSNR of the best of several starts for each image ``(N, 3, H, W)`` of a label: ``(N,)``.

    Adam with a learning rate that falls from 0.1 to 0 along a cosine, from samples of the prior.
    """
    generator = torch.Generator().manual_seed(seed)
    latents = prior.sample(starts * len(images), generator).requires_grad_()
    targets, classes = images.repeat(starts, 1, 1, 1), labels.repeat(starts)
    optimizer = torch.optim.Adam([latents], lr=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        (prior(latents, classes) - targets).square().flatten(1).mean(dim=1).sum().backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        return psnr(prior(latents, classes), targets).unflatten(0, (starts, -1)).amax(dim=0)


def sampled(prior: Prior, images: Tensor, labels: Tensor, samples: int, seed: int) -> Tensor:
    """Mean PSNR of each image against random samples of the prior with its label, ``(N,)``."""
    latents = prior.sample(samples, torch.Generator().manual_seed(seed))
    with torch.no_grad():
        of_label = {int(label): prior(latents, label.expand(samples)) for label in labels.unique()}
    pairs = zip(images, labels, strict=True)
    return torch.stack([psnr(of_label[int(label)], image).mean() for image, label in pairs])


def main() -> None:
    """Prints, and writes where asked to, one prior's numbers after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", required=True, help="CelebA's folder")
    parser.add_argument("--folders", action="store_true", help="the root has folders of classes")
    parser.add_argument("--prior", nargs="*", default=[], help="files; the shipped prior if none")
    parser.add_argument("--split", default="test")
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--starts", type=int, default=4)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    numbers: dict[str, object] = {}
    for file in arguments.prior or [None]:
        prior = WGANGPPrior(file).to(arguments.device)
        size = prior.image_size
        if arguments.folders:
            folders = ImageFolderDataModule(arguments.root, image_size=size)
            pairs = spread(folders, arguments.split, arguments.images)
        else:
            pairs = spread_images(arguments.root, arguments.split, arguments.images, size)
        images, labels = (each.to(arguments.device) for each in pairs)
        started = time.perf_counter()
        found = invert(prior, images, labels, arguments.starts, arguments.steps, seed=0)
        seconds = time.perf_counter() - started
        floor = sampled(prior, images, labels, samples=200, seed=1)
        name = "shipped" if file is None else Path(file).stem
        numbers |= {
            f"{name}_inversion_db": round(found.mean().item(), 2),
            f"{name}_worst_inversion_db": round(found.min().item(), 2),
            f"{name}_random_db": round(floor.mean().item(), 2),
            f"{name}_gain_db": round((found - floor).mean().item(), 2),
            f"{name}_seconds": round(seconds, 1),
        }
    hand_over(numbers, arguments.json)


if __name__ == "__main__":
    main()
