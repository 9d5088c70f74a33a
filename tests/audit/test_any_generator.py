"""A user's own generator, audited from YAML alone."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from ggl_lightning.audit.cli import main
from ggl_lightning.cli import run_command
from tests.data.class_folders import write_class_folders
from tests.data.conftest import write_celeba_tree
from tests.priors.dcgan import trained_dcgan

CONFIG = """
model:
  client_model:
    class_path: ggl_lightning.clients.ResNet18
    init_args: {{num_classes: 3, width: 4}}
  prior:
    class_path: ggl_lightning.priors.ModulePrior
    init_args:
      generator:
        class_path: tests.priors.dcgan.DCGANGenerator
        init_args: {{features: 8}}
      checkpoint: {folder}/netG.pth
      latent_shape: [100, 1, 1]
      image_size: 64
      output_range: [-1, 1]
  out_dir: {folder}/runs
  exp_name: dcgan
  random_samples: 5
data:
  images:
    class_path: ggl_lightning.data.imagenet.ImageNetDataModule
    init_args: {{root: {folder}/images, image_size: 64, num_classes: 3}}
  idx: [3]
  controls: []
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
    torch.save(trained_dcgan().state_dict(), tmp_path / "netG.pth")
    write_class_folders(tmp_path / "images", splits=("val",), size=(70, 70))
    path = tmp_path / "dcgan.yaml"
    path.write_text(CONFIG.format(folder=tmp_path))
    return path


def test_a_dcgan_defined_elsewhere_is_audited(config, tmp_path):
    assert run_command(main, ["--config", str(config)]) == 0
    run = tmp_path / "runs" / "dcgan"
    (case,) = (run / "cases").iterdir()
    result = json.loads((case / "result.json").read_text())
    assert result["labels"] == result["inferred_labels"] == [2]
    assert result["evaluations"] == 16
    latents = np.load(next(case.glob("*.npy")))
    assert latents.shape == (1, 100, 1, 1)
    # The configuration kept with the results runs as it stands, and finds nothing left to do.
    before = (case / "result.json").stat().st_mtime_ns
    assert run_command(main, ["--config", str(run / "config.yaml")]) == 0
    assert (case / "result.json").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": 32}, "returns (1, 3, 64, 64)"),
        ({"output_range": [0, 1]}, "outside output_range [0, 1]"),
        ({"checkpoint": "nowhere.pth"}, "does not exist"),
        ({"output_size": 16}, "set image_size of the images to 16"),
    ],
)
def test_a_wrong_description_is_one_line_and_exit_code_2(config, capsys, changes, message):
    settings = yaml.safe_load(config.read_text())
    settings["model"]["prior"]["init_args"].update(changes)
    config.write_text(yaml.safe_dump(settings))
    assert run_command(main, ["--config", str(config)]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error


def test_the_example_in_the_documentation_runs(tmp_path, monkeypatch):
    page = (Path(__file__).parents[2] / "docs" / "priors.md").read_text()
    (example,) = [
        block for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "mygan" in block
    ]
    module = (
        "from tests.priors.dcgan import DCGANGenerator\n"
        "class Generator(DCGANGenerator):\n"
        "    def __init__(self, nz: int = 100, ngf: int = 64):\n"
        "        super().__init__(ngf, nz)\n"
    )
    (tmp_path / "mygan.py").write_text(module)
    monkeypatch.syspath_prepend(tmp_path)
    torch.save(trained_dcgan(features=8).state_dict(), tmp_path / "netG.pth")
    write_celeba_tree(tmp_path)
    config = tmp_path / "dcgan.yaml"
    config.write_text(example.replace("/data", str(tmp_path)))
    less = [
        "--budget=1",
        "--data.attacks.cma.init_args.search.init_args.population=2",
        "--data.controls=[]",
        "--data.decoys=1",
        "--model.client_model.init_args.width=8",
        "--model.random_samples=2",
        "--model.prior.init_args.generator.init_args.ngf=8",
    ]
    code = run_command(main, ["--config", str(config), *less, f"--out_dir={tmp_path}/runs"])
    assert code == 0
    assert len(list((tmp_path / "runs" / "dcgan" / "cases").glob("*/result.json"))) == 2
