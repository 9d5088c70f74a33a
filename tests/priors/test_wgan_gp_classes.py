"""A WGAN-GP that is conditioned on classes: its networks, training, files and command."""

import pytest
import torch
from PIL import Image
from pytorch_lightning import Trainer, seed_everything
from tiny_data import TinyImages
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from ggl_lightning.cli import run_command
from ggl_lightning.errors import UserError
from ggl_lightning.priors.cli import main
from ggl_lightning.priors.generator_files import export_generator, load_generator, read_metadata
from ggl_lightning.priors.image_grid import FixedLatentGrid
from ggl_lightning.priors.validation import prior_problems
from ggl_lightning.priors.wgan_gp import WGANGP
from ggl_lightning.priors.wgan_gp_networks import WGANGPCritic, WGANGPGenerator
from ggl_lightning.priors.wgan_gp_prior import WGANGPPrior
from tests.data.class_folders import write_class_folders

COLOURS = torch.tensor([[0.8, -0.6, 0.1], [-0.7, 0.5, -0.2], [0.0, 0.1, 0.9]])


class ColouredClasses(TinyImages):
    """Class ``k`` is noise around its own colour."""

    def __init__(self, n_images: int = 48, batch_size: int = 16, n_classes: int = 3) -> None:
        super().__init__(n_images=n_images, batch_size=batch_size)
        self.labels = torch.arange(n_images) % n_classes
        colours = COLOURS[self.labels % len(COLOURS)].view(-1, 3, 1, 1)
        self.images = colours + 0.05 * self.images

    def train_dataloader(self) -> DataLoader:
        return DataLoader(TensorDataset(self.images, self.labels), self.batch_size)


def fit(folder, module: WGANGP, data: TinyImages, ckpt_path=None, **settings) -> Trainer:
    defaults = {
        "accelerator": "cpu",
        "max_epochs": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "limit_val_batches": 0,
        "log_every_n_steps": 1,
        "default_root_dir": folder,
    }
    trainer = Trainer(**{**defaults, **settings})
    trainer.fit(module, data, ckpt_path=ckpt_path)
    return trainer


def make_generator(num_classes: int | None = 3, image_size: int = 32) -> WGANGPGenerator:
    torch.manual_seed(1)
    generator = WGANGPGenerator(4, 6, image_size, num_classes)
    generator(torch.randn(8, 6), torch.zeros(8, dtype=torch.long))  # other statistics than initial
    return generator.eval()


def test_only_what_knows_classes_is_added_to_the_unconditional_networks():
    """Published names stay, and an unconditional network draws the same weights as ever."""
    for network in (WGANGPGenerator, WGANGPCritic):
        torch.manual_seed(0)
        plain = network(width=4).state_dict()
        torch.manual_seed(0)
        assert all(
            torch.equal(tensor, plain[name])
            for name, tensor in network(width=4, num_classes=None).state_dict().items()
        )
        extra = network(width=4, num_classes=3).state_dict().keys() - plain.keys()
        assert extra == {
            f"class_{'embedding' if network is WGANGPGenerator else 'projection'}.weight"
        }


def test_the_generator_appends_the_classes_vector_to_the_latent():
    generator, plain = make_generator(), make_generator(None)
    # With these weights the class's vector enters as a second latent.
    plain.preprocess[0] = nn.Linear(12, generator.first_channels * 16)
    plain.load_state_dict(
        {n: t for n, t in generator.state_dict().items() if n != "class_embedding.weight"}
    )
    latents, labels = torch.randn(5, 6), torch.tensor([0, 2, 1, 2, 0])
    together = torch.cat([latents, generator.class_embedding.weight[labels]], dim=1)
    assert torch.equal(generator(latents, labels), plain(together))


def test_the_critic_is_miyato_and_koyamas_projection():
    torch.manual_seed(0)
    critic = WGANGPCritic(4, num_classes=3).double()
    images, labels = torch.rand(5, 3, 32, 32).double(), torch.tensor([0, 2, 1, 2, 0])
    features = critic.main(images).flatten(1)
    projected = torch.stack([features[i] @ critic.class_projection.weight[labels[i]]
                             for i in range(5)])  # fmt: skip
    expected = features @ critic.linear.weight[0] + critic.linear.bias + projected
    torch.testing.assert_close(critic(images, labels), expected)


@pytest.mark.parametrize("network", [WGANGPGenerator, WGANGPCritic])
def test_networks_of_classes_need_labels_and_a_number(network):
    inputs = torch.zeros(2, 128) if network is WGANGPGenerator else torch.zeros(2, 3, 32, 32)
    with pytest.raises(UserError, match="3 classes: it needs a label"):
        network(4, num_classes=3)(inputs)
    with pytest.raises(UserError, match="num_classes is 0"):
        network(4, num_classes=0)


def test_the_losses_take_real_and_generated_images_of_the_same_classes():
    """Against the losses written out."""
    torch.manual_seed(0)
    module = WGANGP(width=4, latent_dim=6, num_classes=3).double().eval()
    real, labels = torch.rand(6, 3, 32, 32).double() * 2 - 1, torch.arange(6) % 3
    module.seed_noise(0)
    torch.set_default_dtype(torch.float64)
    try:
        loss, values = module.critic_loss(real, labels)
        module.seed_noise(0)
        latents = torch.randn(6, 6, generator=module._noise)
        mix = torch.rand(6, generator=module._noise).view(-1, 1, 1, 1)
    finally:
        torch.set_default_dtype(torch.float32)
    fake = module.generator(latents, labels).detach()
    between = (real + mix * (fake - real)).requires_grad_()
    (slope,) = torch.autograd.grad(module.critic(between, labels).sum(), between)
    penalty = 10 * (slope.flatten(1).norm(dim=1) - 1).square().mean()
    real_score, fake_score = module.critic(real, labels).mean(), module.critic(fake, labels).mean()
    # Scores are averaged in float32, as ever.
    torch.testing.assert_close(loss, fake_score - real_score + penalty, rtol=1e-5, atol=1e-6)
    assert values["train/wasserstein"] == pytest.approx((real_score - fake_score).item(), abs=1e-6)


@pytest.fixture(scope="module")
def coloured(tmp_path_factory):
    """A run on coloured classes, and its checkpoint after half of the epochs."""
    seed_everything(0, verbose=False)
    folder = tmp_path_factory.mktemp("coloured")
    settings = {"width": 8, "n_critic": 1, "learning_rate": 2e-3, "betas": (0.0, 0.99),
                "num_classes": 3}  # fmt: skip
    trainer = fit(folder, WGANGP(**settings), ColouredClasses(), max_epochs=40)
    checkpoint = folder / "half.ckpt"
    trainer.save_checkpoint(checkpoint)
    module = WGANGP(**settings)
    fit(folder, module, ColouredClasses(), ckpt_path=checkpoint, max_epochs=80)
    return module, checkpoint


def test_each_class_learns_its_own_colour_and_a_run_resumes(coloured):
    module, _ = coloured
    assert module.batches_seen == 80 * 3
    with torch.no_grad():
        for label, colour in enumerate(COLOURS):
            labels = torch.full((64,), label)
            images = module.eval().generator(torch.randn(64, 128), labels)
            distances = (images.mean(dim=(0, 2, 3)) - COLOURS).norm(dim=1)
            assert distances.argmin() == label
            assert distances[label] < 0.35 * (COLOURS - colour).norm(dim=1).max()


def test_the_prior_of_a_training_checkpoint_is_conditioned(coloured, tmp_path):
    module, checkpoint = coloured
    prior = WGANGPPrior(str(checkpoint), num_classes=3)
    assert (prior.num_classes, prior.latent_shape) == (3, (128,))
    export_generator(module.sampling_generator, tmp_path / "p.safetensors")
    prior = WGANGPPrior(str(tmp_path / "p.safetensors"))
    latents, labels = prior.sample(3).requires_grad_(), torch.tensor([0, 1, 2])
    images = prior(latents, labels)
    assert torch.equal(images, module.eval().generator(latents, labels))
    assert not torch.allclose(images[:1], prior(latents[:1], labels[1:2]), atol=0.1)
    images.sum().backward()
    assert latents.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in prior.parameters())
    assert prior_problems(prior, [0, 2]) == []


def test_labels_that_are_no_class_of_the_prior_are_refused(tmp_path):
    export_generator(make_generator(), tmp_path / "p.safetensors")
    prior = WGANGPPrior(str(tmp_path / "p.safetensors"))
    for label in (3, -1):
        with pytest.raises(UserError, match=rf"The label {label} is none of the prior's 3 classes"):
            prior(prior.sample(1), torch.tensor([label]))
    (problem,) = prior_problems(prior, [0, 5])
    assert problem.startswith("The label 5 is none")
    with pytest.raises(UserError, match="needs a label"):
        prior(prior.sample(1))


@pytest.mark.parametrize("image_size", [32, 64])
def test_files_hold_the_classes(tmp_path, image_size):
    path = tmp_path / "p.safetensors"
    generator = make_generator(3, image_size)
    export_generator(generator, path)
    assert read_metadata(path)["num_classes"] == "3"
    loaded = load_generator(path, latent_dim=6, num_classes=3)
    latents, labels = torch.randn(3, 6), torch.tensor([2, 0, 1])
    assert torch.equal(loaded(latents, labels), generator(latents, labels))
    with pytest.raises(UserError, match="has num_classes 3, not 4"):
        load_generator(path, num_classes=4)
    export_generator(make_generator(None, image_size), path)
    with pytest.raises(UserError, match=r"num_classes is 3, but the generator in .* unconditional"):
        WGANGPPrior(str(path), num_classes=3)


def test_vectors_of_classes_that_do_not_fit_are_named(tmp_path):
    for shape, expected in (((3,), "no vector for each class"), ((3, 5), "preprocess.0.weight is")):
        state = {**make_generator().state_dict(), "class_embedding.weight": torch.zeros(shape)}
        torch.save(state, tmp_path / "p.pt")
        with pytest.raises(UserError, match=expected):
            load_generator(tmp_path / "p.pt")


def test_a_grid_has_a_row_a_class_and_a_column_a_latent():
    torch.manual_seed(0)
    module = WGANGP(width=2, latent_dim=4, num_classes=3)
    grid = FixedLatentGrid(n_images=40, images_per_row=4)
    images = grid._generate(module).unflatten(0, (3, 4))
    noise = torch.Generator().manual_seed(grid.seed)
    latents = torch.randn(4, 4, generator=noise)
    with torch.no_grad():
        for label in range(3):
            expected = module.eval().generator(latents, torch.full((4,), label))
            torch.testing.assert_close(images[label] * 2 - 1, expected)
    # Fewer images than classes: as many rows as fit.
    assert len(FixedLatentGrid(n_images=2, images_per_row=1)._generate(module)) == 2


def test_a_label_that_is_no_class_ends_a_training_by_name(tmp_path):
    module = WGANGP(width=2, num_classes=2)
    with pytest.raises(UserError, match="num_classes is 2, but the images have the label 2"):
        fit(tmp_path, module, ColouredClasses())


def test_the_distance_is_to_generated_images_of_the_same_classes(tmp_path):
    class MeanColour(nn.Module):
        def forward(self, images):
            return images.mean(dim=(2, 3))

    torch.manual_seed(0)
    module = WGANGP(width=2, latent_dim=6, num_classes=3, feature_extractor=MeanColour())
    data = ColouredClasses(n_images=32)
    (metrics,) = Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, default_root_dir=tmp_path
    ).validate(module, data, verbose=False)
    latents = torch.randn(32, 6, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        fake = module.eval().generator(latents, data.labels).mean(dim=(2, 3)).double()
    real = data.images.mean(dim=(2, 3)).double()
    root = torch.linalg.eigvals(real.T.cov() @ fake.T.cov()).sqrt().real.sum()
    expected = (real.mean(0) - fake.mean(0)).square().sum()
    expected += real.T.cov().trace() + fake.T.cov().trace() - 2 * root
    assert metrics["val/frechet_distance"] == pytest.approx(expected.item(), rel=1e-3)


CONFIG = """
seed_everything: 1
model: {width: 2, latent_dim: 4, n_critic: 2, ema_decay: 0.9, num_classes: 3}
data:
  class_path: ggl_lightning.data.imagenet.ImageNetDataModule
  init_args: {root: FOLDER/images, image_size: 32, num_classes: 3, batch_size: 2}
trainer:
  accelerator: cpu
  max_epochs: 1
  num_sanity_val_steps: 0
  enable_progress_bar: false
  enable_model_summary: false
  logger:
    class_path: pytorch_lightning.loggers.TensorBoardLogger
    init_args: {save_dir: FOLDER, name: run}
  callbacks:
    - class_path: ggl_lightning.priors.image_grid.FixedLatentGrid
      init_args: {n_images: 6, images_per_row: 2, write_png: true}
    - class_path: pytorch_lightning.callbacks.ModelCheckpoint
      init_args: {filename: last, every_n_epochs: 1, save_on_train_epoch_end: true}
"""


def test_the_command_trains_resumes_exports_and_refuses(tmp_path, capsys):
    write_class_folders(tmp_path / "images")
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG.replace("FOLDER", str(tmp_path)))
    few = ["fit", f"--config={config}", "--model.num_classes=2"]
    assert run_command(main, few) == 2
    assert "model.num_classes is 2, but the images have the label 2" in capsys.readouterr().err
    many = ["fit", f"--config={config}", "--model.num_classes=4"]
    assert run_command(main, many) == 2
    assert "the train split has labels below 3 only" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()

    assert run_command(main, ["fit", f"--config={config}"]) == 0, capsys.readouterr().err
    run = tmp_path / "run" / "version_0"
    (picture,) = (run / "samples").iterdir()
    assert Image.open(picture).size == (2 * 34 + 2, 3 * 34 + 2)

    last = run / "checkpoints" / "last.ckpt"
    resumed = ["fit", f"--config={config}", f"--ckpt_path={last}", "--trainer.max_epochs=2"]
    for changed in ("null", "4"):
        capsys.readouterr()
        assert run_command(main, [*resumed, f"--model.num_classes={changed}"]) == 2
        value = "None" if changed == "null" else "4"
        assert f"model.num_classes is {value}" in capsys.readouterr().err
    assert run_command(main, resumed) == 0, capsys.readouterr().err

    output = tmp_path / "p.safetensors"
    assert run_command(main, ["export", f"--ckpt={last}", f"--output={output}"]) == 0
    assert "32x32 images of 3 classes" in capsys.readouterr().out
    assert WGANGPPrior(str(output)).num_classes == 3
