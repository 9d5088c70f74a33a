"""A class-conditional WGAN-GP and images in folders of classes, audited from YAML alone."""

import json

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from ggl_lightning.attacks.base import _PUBLIC_SEED, Target
from ggl_lightning.attacks.spaces.features import feature_layers
from ggl_lightning.audit.cli import main
from ggl_lightning.cli import run_command
from ggl_lightning.priors.generator_files import export_generator
from ggl_lightning.priors.wgan_gp_networks import WGANGPGenerator
from ggl_lightning.priors.wgan_gp_prior import WGANGPPrior
from tests.data.class_folders import write_class_folders
from tests.tiny import client_side

CONFIG = """
model:
  client_model:
    class_path: ggl_lightning.clients.ResNet18
    init_args: {{num_classes: 3, width: 4}}
  prior:
    class_path: ggl_lightning.priors.WGANGPPrior
    init_args: {{checkpoint: {folder}/prior.safetensors, num_classes: 3}}
  out_dir: {folder}/runs
  exp_name: classes
  random_samples: 5
data:
  images:
    class_path: ggl_lightning.data.image_folders.ImageFolderDataModule
    init_args: {{root: {folder}/images, image_size: 32, num_classes: 3}}
  split: test
  idx: [1]
  controls: []
  decoys: 0
  defenses:
    none: {{class_path: ggl_lightning.defenses.NoDefense}}
  attacks:
    cma:
      class_path: ggl_lightning.attacks.GenerativeGradientLeakage
      init_args:
        search:
          class_path: ggl_lightning.attacks.searches.NevergradSearch
          init_args: {{population: 5}}
        budget: 3
trainer: {{accelerator: cpu}}
"""


@pytest.fixture
def config(tmp_path):
    torch.manual_seed(0)
    export_generator(WGANGPGenerator(4, 6, num_classes=3), tmp_path / "prior.safetensors")
    write_class_folders(tmp_path / "images", splits=("val",))  # `test` has one of classes 0 and 2
    path = tmp_path / "classes.yaml"
    path.write_text(CONFIG.format(folder=tmp_path))
    return path


def test_the_reconstruction_is_an_image_of_the_inferred_class(config, tmp_path):
    assert run_command(main, ["--config", str(config)]) == 0
    (case,) = (tmp_path / "runs" / "classes" / "cases").iterdir()
    result = json.loads((case / "result.json").read_text())
    assert result["labels"] == result["inferred_labels"] == [2]
    latents = torch.from_numpy(np.load(next(case.glob("*.npy"))))
    assert latents.shape == (1, 6)  # the class is no part of what is searched
    prior = WGANGPPrior(str(tmp_path / "prior.safetensors"))
    found = np.asarray(Image.open(case / "reconstruction.png")).astype(float)
    distances = []
    for label in range(3):
        image = prior(latents, torch.tensor([label]))[0].permute(1, 2, 0).numpy()
        distances.append(np.abs((image + 1) * 127.5 - found).max())
    assert distances[2] <= 1 < min(distances[:2])


def test_images_with_more_classes_than_the_prior_are_refused_before_anything(
    config, tmp_path, capsys
):
    export_generator(WGANGPGenerator(4, 6, num_classes=2), tmp_path / "prior.safetensors")
    assert run_command(main, ["--config", str(config)]) == 2
    assert "has num_classes 2, not 3" in capsys.readouterr().err
    settings = yaml.safe_load(config.read_text())
    del settings["model"]["prior"]["init_args"]["num_classes"]
    config.write_text(yaml.safe_dump(settings))
    assert run_command(main, ["--config", str(config)]) == 2
    assert "The label 2 is none of the prior's 2 classes" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_without_public_images_attacks_learn_from_samples_of_all_classes(config, tmp_path):
    client = client_side(num_classes=3)
    prior = WGANGPPrior(str(tmp_path / "prior.safetensors"))
    images = Target(client.model, client.classifier, prior).public_images(6)
    latents = prior.sample(6, torch.Generator().manual_seed(_PUBLIC_SEED))
    torch.testing.assert_close(images, prior(latents, torch.tensor([0, 1, 2, 0, 1, 2])))


def test_the_same_feature_maps_can_be_searched_as_without_classes(config, tmp_path):
    conditional = WGANGPPrior(str(tmp_path / "prior.safetensors"))
    export_generator(WGANGPGenerator(4, 6), tmp_path / "plain.safetensors")
    plain = WGANGPPrior(str(tmp_path / "plain.safetensors"))
    assert feature_layers(conditional) == feature_layers(plain) != []
