"""``configs/audit/imagenet_biggan.yaml`` end to end, with a narrow BigGAN-deep-256."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ggl_lightning.audit.cli import main
from ggl_lightning.cli import run_command
from ggl_lightning.priors import BigGANPrior
from tests.data.class_folders import write_class_folders
from tests.priors.tiny_biggan import narrow_config, random_biggan, save_biggan

CONFIG = Path(__file__).parents[2] / "configs" / "audit" / "imagenet_biggan.yaml"


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """A folder with 1000 class folders, three of them with an image, and a narrow BigGAN."""
    folder = tmp_path_factory.mktemp("world")
    counts = [0] * 1000
    counts[3], counts[417], counts[999] = 1, 1, 1
    write_class_folders(folder / "imagenet", tuple(counts), splits=("val",), size=(300, 250))
    save_biggan(random_biggan(narrow_config(256), seed=1), folder / "biggan")
    return folder


def run_audit(world: Path, out_dir: Path, *arguments: str) -> int:
    return run_command(
        main,
        [
            "--config",
            str(CONFIG),
            f"--data.images.init_args.root={world / 'imagenet'}",
            f"--model.prior.init_args.weights={world / 'biggan'}",
            "--trainer.accelerator=cpu",
            f"--out_dir={out_dir}",
            *arguments,
        ],
    )


def test_the_audit_of_an_imagenet_image(world, tmp_path):
    search = "data.attacks.cma.init_args.search.init_args"
    code = run_audit(
        world, tmp_path, "--idx=1", "--budget=1", f"--{search}.population=2",
        "--model.random_samples=2",
    )  # fmt: skip
    assert code == 0
    cases = tmp_path / "imagenet_biggan" / "cases"
    assert {folder.name.partition("_seed0")[2] for folder in cases.iterdir()} == {
        "", "_null_random", "_null_noise", "_bound"  # no other image of its class: no null_other
    }  # fmt: skip
    (case,) = cases.glob("*_seed0")
    result = json.loads((case / "result.json").read_text())
    assert result["labels"] == result["inferred_labels"] == [417]
    assert result["evaluations"] == 3  # one round of two, and the recommendation
    assert np.isfinite([result["loss"], result["psnr"], result["mse"]]).all()

    # The latent on disk is what the generator got: squashed, and of the inferred class.
    latents = torch.from_numpy(np.load(next(case.glob("*.npy"))))
    assert latents.shape == (1, 128)
    assert latents.abs().max() < 1
    prior = BigGANPrior(str(world / "biggan"))
    image = prior(latents, torch.tensor([417]))[0]
    assert image.shape == (3, 224, 224)
    (picture,) = case.glob("reconstruction*.png")
    pixels = torch.from_numpy(np.array(Image.open(picture))).permute(2, 0, 1)
    torch.testing.assert_close(pixels / 127.5 - 1, image, atol=1 / 100, rtol=0)


def test_missing_weights_end_before_any_work(world, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(
        "pytorch_pretrained_biggan.file_utils.PYTORCH_PRETRAINED_BIGGAN_CACHE", tmp_path / "none"
    )
    code = run_audit(world, tmp_path, "--model.prior.init_args.weights=biggan-deep-256")
    assert code == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: The weights of biggan-deep-256 are not in")
    assert "allow_download" in error
