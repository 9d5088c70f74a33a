import pytest
import torch
from pytorch_lightning import Callback, Trainer, seed_everything
from reference_training import SEED, SETTINGS, reference_training
from tiny_data import TinyImages
from torch import nn

from ggl_lightning.errors import UserError
from ggl_lightning.priors.wgan_gp import WGANGP


def make_trainer(folder, **settings) -> Trainer:
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
    return Trainer(**{**defaults, **settings})


class WatchesChanges(Callback):
    """Notes after each batch which networks' weights have moved."""

    def __init__(self) -> None:
        self.moved: list[tuple[bool, bool]] = []
        self.logged: list[set[str]] = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        self.before = self._weights(pl_module)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        after = self._weights(pl_module)
        pairs = zip(self.before, after, strict=True)
        self.moved.append(tuple(not torch.equal(a, b) for a, b in pairs))
        self.logged.append(set(trainer.callback_metrics))

    @staticmethod
    def _weights(module: WGANGP) -> list[torch.Tensor]:
        networks = (module.critic.linear, module.generator.deconv_out)
        return [network.weight.detach().clone() for network in networks]


@pytest.mark.parametrize("precision", ["64-true", "bf16-mixed"])
def test_training_equals_a_plain_loop(tmp_path, precision):
    seed_everything(SEED, verbose=False)
    module = WGANGP(**SETTINGS)
    data = TinyImages(n_images=24, batch_size=4)
    make_trainer(tmp_path, precision=precision).fit(module, data)
    batches = [[part] for part in data.images.split(4)]
    expected = reference_training(1, batches, precision)
    for name, tensor in expected.state_dict().items():
        torch.testing.assert_close(module.state_dict()[name], tensor, msg=name)


def test_the_generator_moves_every_n_critic_batches_over_epochs_and_resumes(tmp_path):
    # Four batches an epoch and n_critic 3: its turn comes in the middle of epochs.
    module = WGANGP(width=2, n_critic=3)
    watch = WatchesChanges()
    make_trainer(tmp_path, max_epochs=2, callbacks=[watch]).fit(module, TinyImages())
    assert watch.moved == [(True, k % 3 == 0) for k in range(1, 9)]

    trainer = make_trainer(tmp_path, max_epochs=2, enable_checkpointing=True)
    trainer.fit(module, TinyImages())
    assert module.batches_seen == 16  # the count goes on in a second fit too
    checkpoint = trainer.checkpoint_callback.best_model_path

    resumed, watch = WGANGP(width=2, n_critic=3), WatchesChanges()
    make_trainer(tmp_path, max_epochs=3, callbacks=[watch]).fit(
        resumed, TinyImages(), ckpt_path=checkpoint
    )
    assert watch.moved == [(True, k % 3 == 0) for k in range(17, 21)]


def test_bf16_mixed_trains_and_logs_finite_values_under_the_documented_names(tmp_path):
    seed_everything(SEED, verbose=False)
    module, watch = WGANGP(width=4, n_critic=2, ema_decay=0.9), WatchesChanges()
    trainer = make_trainer(tmp_path, precision="bf16-mixed", limit_val_batches=2, callbacks=[watch])
    trainer.fit(module, TinyImages())
    assert watch.logged[-1] == {
        "train/critic_loss",
        "train/wasserstein",
        "train/gradient_norm",
        "train/gradient_penalty",
        "train/generator_loss",
        "train/images_per_second",
    }
    metrics = trainer.callback_metrics
    assert all(torch.isfinite(value) for value in metrics.values())
    assert metrics["val/frechet_distance"] > 0
    difference = metrics["train/gradient_penalty"] - metrics["train/wasserstein"]
    torch.testing.assert_close(metrics["train/critic_loss"], difference)


def test_it_learns_the_colour_of_the_data(tmp_path):
    seed_everything(0, verbose=False)
    data = TinyImages(n_images=64, batch_size=16)
    colour = torch.tensor([0.8, -0.6, 0.1]).view(1, 3, 1, 1)
    data.images = colour + 0.05 * data.images
    module = WGANGP(width=8, n_critic=2, learning_rate=2e-3)
    before = sample_colours(module)
    make_trainer(tmp_path, max_epochs=40).fit(module, data)
    error_before = (before - colour.flatten()).abs().max()
    error_after = (sample_colours(module) - colour.flatten()).abs().max()
    assert error_after < 0.3 * error_before


def sample_colours(module: WGANGP) -> torch.Tensor:
    with torch.no_grad():
        return module.eval().generator(torch.randn(64, 128)).mean(dim=(0, 2, 3))


def test_any_feature_extractor_can_measure_the_distance(tmp_path):
    class MeanColour(nn.Module):
        def forward(self, images):
            return images.mean(dim=(2, 3))

    seed_everything(SEED, verbose=False)
    module = WGANGP(width=2, feature_extractor=MeanColour())
    data = TinyImages()
    (metrics,) = make_trainer(tmp_path, limit_val_batches=None).validate(
        module, data, verbose=False
    )

    # The same latents as validation draws, and the distance of two Gaussians by its definition.
    latents = torch.randn(16, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        fake = module.eval().generator(latents).mean(dim=(2, 3)).double()
    real = data.images.mean(dim=(2, 3)).double()
    root = torch.linalg.eigvals(real.T.cov() @ fake.T.cov()).sqrt().real.sum()
    expected = (real.mean(0) - fake.mean(0)).square().sum()
    expected += real.T.cov().trace() + fake.T.cov().trace() - 2 * root
    assert metrics["val/frechet_distance"] == pytest.approx(expected.item(), rel=1e-3)


def test_images_of_another_size_than_the_model_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"\(3, 64, 64\)"):
        make_trainer(tmp_path).fit(WGANGP(width=2), TinyImages(image_size=64))


def test_precision_without_float32_weights_is_refused(tmp_path):
    with pytest.raises(UserError, match="bf16-true"):
        make_trainer(tmp_path, precision="bf16-true").fit(WGANGP(width=2), TinyImages())


@pytest.mark.parametrize("name", ["n_critic", "penalty_weight", "learning_rate", "width"])
def test_settings_that_must_be_positive(name):
    with pytest.raises(UserError, match=name):
        WGANGP(**{name: 0})


def test_mirrored_images_train_the_critic_half_of_the_time(tmp_path):
    class SeesImages(WGANGP):
        def critic_loss(self, real, labels=None):
            seen.append(real.clone())
            return super().critic_loss(real, labels)

    seen: list[torch.Tensor] = []
    seed_everything(SEED, verbose=False)
    data = TinyImages(n_images=16, batch_size=4)
    module = SeesImages(width=2, horizontal_flips=True)
    make_trainer(tmp_path, max_epochs=20).fit(module, data)
    images = data.images.repeat(20, 1, 1, 1)
    mirrored = [torch.equal(a, b.flip(-1)) for a, b in zip(torch.cat(seen), images, strict=True)]
    same = [torch.equal(a, b) for a, b in zip(torch.cat(seen), images, strict=True)]
    assert all(a != b for a, b in zip(mirrored, same, strict=True))
    assert 120 < sum(mirrored) < 200  # of 320; four standard deviations are 36
