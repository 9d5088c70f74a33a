"""The published command lines and settings, and what the attack must be able to do."""

import json
from pathlib import Path

import pytest
import yaml

from ggl_lightning.attacks import GenerativeGradientLeakage
from ggl_lightning.attacks.searches import AdamSearch, NevergradSearch
from ggl_lightning.attacks.searches.turbo import TuRBOSearch
from ggl_lightning.audit.cli import main
from ggl_lightning.cli import run_command
from tests.data.conftest import write_celeba_tree

CONFIGS = Path(__file__).parents[2] / "configs" / "audit"

IN_RANGE = """
model:
  client_model:
    class_path: ggl_lightning.clients.MLP
    init_args: {num_classes: 2, width: 64}
  prior: {class_path: ggl_lightning.priors.WGANGPPrior}
  exp_name: in_range
data:
  images: {class_path: tests.tiny.ShippedPriorImages}
  controls: []
  defenses:
    none: {class_path: ggl_lightning.defenses.NoDefense}
  attacks:
    adam:
      class_path: ggl_lightning.attacks.GenerativeGradientLeakage
      init_args:
        search:
          class_path: ggl_lightning.attacks.searches.AdamSearch
          init_args: {restarts: 4}
        budget: 250
        kl_weight: 0.0
trainer: {accelerator: cpu}
"""


def _attacks(run):
    rows = json.loads((run / "summary.json").read_text())
    return [row for row in rows if row["role"] == "attack"]


def test_an_image_in_the_shipped_priors_range_is_recovered(tmp_path):
    config = tmp_path / "in_range.yaml"
    config.write_text(IN_RANGE)
    assert run_command(main, ["--config", str(config), "--out_dir", str(tmp_path)]) == 0
    (case,) = _attacks(tmp_path / "in_range")
    assert case["psnr"] > 30
    assert case["psnr"] > case["psnr_random_mean"] + 15


def test_the_published_command_line_runs(tmp_path):
    write_celeba_tree(tmp_path)
    code = run_command(
        main,
        ["--config", str(CONFIGS / "celeba32.yaml"), "--n_trials", "1", "--budget", "2",
         "--ng_method", "CMA", "--exp_name", "CMA_no_defense", "--defense", "none", "--idx", "3",
         "--out_dir", str(tmp_path), "--data.images.init_args.root", str(tmp_path),
         "--model.client_model.init_args.width", "8", "--trainer.accelerator", "cpu"],
    )  # fmt: skip
    assert code == 0
    (case,) = _attacks(tmp_path / "CMA_no_defense")
    assert (case["image_index"], case["defense"], case["evaluations"]) == (3, "none", 101)
    assert case["inferred_labels"] == case["labels"]


REALISTIC = CONFIGS / "celeba32_training_client.yaml"


def test_a_client_that_trains_as_flowers_users_do(tmp_path, capsys):
    """Planned, then run: training mode, momentum, batches, buffers sent."""
    write_celeba_tree(tmp_path)
    arguments = [
        "--config", str(REALISTIC), "--budget", "1", "--ng_method", "CMA", "--idx", "0-3",
        "--data.client_batch", "4", "--model.procedure.init_args.batch_size", "2",
        "--defense", "none", "--out_dir", str(tmp_path / "runs"),
        "--data.images.init_args.root", str(tmp_path), "--data.controls", "[]",
        "--data.attacks.cma.init_args.search.init_args.population", "2",
        "--model.client_model.init_args.width", "8", "--trainer.accelerator", "cpu",
    ]  # fmt: skip
    assert run_command(main, [*arguments, "--dry_run"]) == 0
    assert "training mode while the client trains" in capsys.readouterr().out
    assert run_command(main, arguments) == 0
    (case,) = _attacks(tmp_path / "runs" / "celeba32_training_client")
    evaluation = case["details"]["evaluation"]
    assert (evaluation["mode"], evaluation["orders"], evaluation["buffers"]) == ("train", 1, True)
    assert evaluation["way"] == "vmapped over candidates"
    assert case["details"]["procedure"]["optimizer"]["momentum"] == 0.9


def test_the_realistic_client_differs_from_the_published_one_in_what_the_client_does(printed):
    ours, published = printed(REALISTIC.name), printed("celeba32.yaml")
    training = ours["model"]["procedure"]["init_args"]
    assert (training["epochs"], training["batch_size"], training["shuffle"]) == (1, 4, True)
    assert (training["mode"], training["send_buffers"]) == ("train", True)
    assert ours["data"]["client_batch"] == 8
    for section in ("model", "data", "trainer"):
        for config in (ours, published):
            for name in ("procedure", "exp_name", "idx", "client_batch", "defenses"):
                config[section].pop(name, None)
        assert ours[section] == published[section]


@pytest.fixture
def printed(capsys):
    def run(config, *arguments):
        with pytest.raises(SystemExit) as ended:
            run_command(main, ["--config", str(CONFIGS / config), *arguments, "--print_config"])
        assert ended.value.code == 0
        return yaml.safe_load(capsys.readouterr().out)

    return run


PUBLISHED = ["--n_trials", "1", "--budget", "500", "--ng_method", "CMA"]


@pytest.mark.parametrize("config", ["celeba32.yaml", "imagenet_biggan.yaml"])
@pytest.mark.parametrize(
    ("options", "section", "expected"),
    [
        (["--exp_name", "CMA_no_defense"], "model", {"exp_name": "CMA_no_defense"}),
        (["--out_dir", "elsewhere"], "model", {"out_dir": "elsewhere"}),
        (["--trained_model", "client.ckpt"], "model", {"trained_model": "client.ckpt"}),
        (["--idx", "4000"], "data", {"idx": 4000}),
        (["--seed", "123"], "data", {"seeds": 123}),
        (["--gpu", "0"], "trainer", {"accelerator": "gpu", "devices": [0]}),
    ],
)
def test_every_shortcut_on_the_published_settings(printed, config, options, section, expected):
    resolved = printed(config, *PUBLISHED, *options)
    assert {name: resolved[section][name] for name in expected} == expected
    attack = resolved["data"]["attacks"]["cma"]["init_args"]
    assert (attack["n_trials"], attack["budget"]) == (1, 500)
    assert attack["search"]["init_args"] == {"method": "CMA", "population": 50}
    assert attack["squash"] is (config == "imagenet_biggan.yaml")


@pytest.mark.parametrize(
    ("name", "class_path", "classes"),
    [
        ("ResNet18", "ggl_lightning.clients.ResNet18", 2),
        ("ConvNet", "ggl_lightning.clients.ConvNet", 2),
        ("LeNet", "ggl_lightning.clients.LeNet", 2),
        ("MLP", "ggl_lightning.clients.MLP", 2),
        ("resnet18", "ggl_lightning.clients.TorchvisionClassifier", 2),
    ],
)
def test_every_client_model_by_name(printed, name, class_path, classes):
    client = printed("celeba32.yaml", "--model", name)["model"]["client_model"]
    assert client["class_path"] == class_path
    assert client["init_args"]["num_classes"] == classes


def test_use_weight_fits_both_published_clients(printed):
    for config in ("celeba32.yaml", "imagenet_biggan.yaml"):
        attack = printed(config, "--use_weight")["data"]["attacks"]["cma"]["init_args"]
        assert attack["use_weight"] is True


@pytest.mark.parametrize("config", ["table3_celeba.yaml", "table3_imagenet.yaml"])
def test_the_papers_settings(printed, config):
    data = printed(config)["data"]
    strengths = {
        name: list((defense.get("init_args") or {}).values())
        for name, defense in data["defenses"].items()
    }
    assert strengths == {
        "none": [], "noise0.1": [0.1], "clipping4": [4.0], "sparsity90": [90.0],
        "representation80": [80.0],
    }  # fmt: skip
    attacks = {name: attack["init_args"] for name, attack in data["attacks"].items()}
    assert {name: attack["budget"] for name, attack in attacks.items()} == {
        "cma": 800, "bo": 1000, "adam": 2500,
    }  # fmt: skip
    assert attacks["cma"]["search"]["init_args"]["population"] == 50
    for name, attack in attacks.items():
        assert attack["adaptive"] is True
        assert attack["n_trials"] == 4
        squashed = config == "table3_imagenet.yaml" and name == "cma"
        assert attack["squash"] is squashed
        if config == "table3_celeba.yaml":
            assert attack["kl_weight"] == 0.1


def test_searches_of_the_demo_table_cost_the_same(printed):
    """Counted by the searches themselves; the final recommendation is one more for each."""
    costs = {}
    kinds = {kind.__name__: kind for kind in (AdamSearch, NevergradSearch, TuRBOSearch)}
    for name, attack in printed("demo_table.yaml")["data"]["attacks"].items():
        settings = attack["init_args"]
        search = kinds[settings["search"]["class_path"].rsplit(".", 1)[1]](
            **settings["search"]["init_args"]
        )
        costs[name] = GenerativeGradientLeakage(
            search, settings["budget"], refine_steps=settings["refine_steps"]
        ).evaluations
    assert len(costs) == 4
    assert len(set(costs.values())) == 1, costs
