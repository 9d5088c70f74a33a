"""Any generator becomes a prior by description alone, and a wrong description is refused."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from ggl_lightning.errors import UserError
from ggl_lightning.priors import ModulePrior
from tests.priors.dcgan import ConditionalBytes, DCGANGenerator, trained_dcgan

SHAPE = (100, 1, 1)


@pytest.fixture(scope="module")
def trained() -> DCGANGenerator:
    return trained_dcgan().requires_grad_(False)


def describe(**changes) -> ModulePrior:
    settings = {"generator": DCGANGenerator(), "latent_shape": SHAPE, "image_size": 64}
    return ModulePrior(**{**settings, **changes})


def assert_same_images(prior: ModulePrior, generator: nn.Module) -> None:
    latents = prior.sample(2, torch.Generator().manual_seed(9))
    assert prior(latents).equal(generator(latents))


LAYOUTS = {
    "g.pt": (lambda s: s, {}),
    "g.pth": (lambda s: {f"module.{n}": t for n, t in s.items()}, {}),
    "g.pth.tar": (lambda s: {"epoch": 3, "state_dict": s}, {}),
    "parts.pt": (
        lambda s: {"netG": s, "netD": {"w": s["main.0.weight"]}},
        {"state_dict_key": "netG"},
    ),
    "run.ckpt": (
        lambda s: {
            "state_dict": {
                **{f"generator.{n}": t for n, t in s.items()},
                "critic.0.weight": torch.zeros(2),
            }
        },
        {"prefix": "generator."},
    ),
    "found.pt": (lambda s: {"netG": s, "netD": {"w": s["main.0.weight"]}, "epoch": 1}, {}),
    "found.ckpt": (
        lambda s: {
            "state_dict": {
                **{f"generator._orig_mod.{n}": t for n, t in s.items()},
                "critic.0.weight": torch.zeros(2),
            }
        },
        {},
    ),
    # From before torch counted batch-norm's batches.
    "old.pth": (lambda s: {n: t for n, t in s.items() if not n.endswith("tracked")}, {}),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_checkpoints_in_all_usual_layouts_are_read(tmp_path, trained, name):
    arrange, settings = LAYOUTS[name]
    torch.save(arrange(dict(trained.state_dict())), tmp_path / name)
    assert_same_images(describe(checkpoint=str(tmp_path / name), **settings), trained)


def test_safetensors_are_read(tmp_path, trained):
    tensors = {n: t.contiguous() for n, t in trained.state_dict().items()}
    save_file(tensors, tmp_path / "g.safetensors")
    assert_same_images(describe(checkpoint=str(tmp_path / "g.safetensors")), trained)
    with pytest.raises(UserError, match="leave state_dict_key out"):
        describe(checkpoint=str(tmp_path / "g.safetensors"), state_dict_key="g")


def test_without_a_checkpoint_the_module_is_used_as_it_is(trained):
    assert_same_images(describe(generator=trained), trained)


def test_samples_are_standard_normal_in_the_latent_shape(trained):
    prior = describe(generator=trained)
    latents = prior.sample(200, torch.Generator().manual_seed(0))
    assert latents.shape == (200, 100, 1, 1)
    assert latents.equal(torch.randn(200, 100, 1, 1, generator=torch.Generator().manual_seed(0)))


def test_the_range_is_mapped_and_the_size_averaged():
    torch.manual_seed(0)
    generator = ConditionalBytes().requires_grad_(False)
    prior = ModulePrior(generator, (4,), 8, output_range=(0, 255), output_size=4, conditional=True)
    assert (prior.image_size, prior.latent_shape) == (4, (4,))
    latents, labels = prior.sample(3), torch.tensor([2, 0, 1])
    images = prior(latents, labels)
    expected = generator(latents, labels).numpy().reshape(3, 3, 4, 2, 4, 2).mean((3, 5)) / 127.5 - 1
    assert images.shape == (3, 3, 4, 4)
    np.testing.assert_allclose(images, expected, atol=1e-6)
    assert not prior(latents, labels.roll(1)).equal(images)
    with pytest.raises(UserError, match="needs a label with every latent"):
        prior(latents)


def test_gradients_reach_the_latents_alone_and_eval_mode_stays():
    prior = describe(generator=trained_dcgan().train(), output_size=32, output_range=(-1.5, 1.5))
    prior.train()
    assert not any(module.training for module in prior.modules())
    latents = prior.sample(2).requires_grad_()
    images = prior(latents)
    assert torch.allclose(images[:1], prior(latents[:1]), atol=1e-6)  # no batch statistics
    images.square().sum().backward()
    assert latents.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in prior.parameters())


def test_what_changes_the_images_changes_the_state():
    def state(**changes) -> bytes:
        prior = describe(generator=nn.Sequential(trained_dcgan(), nn.LeakyReLU(0.2)), **changes)
        return prior.state_dict()["settings"].numpy().tobytes()

    assert state() == state()
    softer = describe(generator=nn.Sequential(trained_dcgan(), nn.LeakyReLU(0.3)))
    others = {state(output_range=(-1, 2)), state(output_size=32)}
    assert len({state(), softer.state_dict()["settings"].numpy().tobytes(), *others}) == 4


class Returns(nn.Module):
    """Returns what it is told to, whatever the latent."""

    def __init__(self, output: object) -> None:
        super().__init__()
        self.output = output

    def forward(self, latents):
        return self.output


class Noisy(nn.Module):
    def forward(self, latents):
        return torch.rand(len(latents), 3, 64, 64)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"latent_shape": (100,)}, r"DCGANGenerator fails on latents of shape \(1, 100\)"),
        ({"latent_shape": (64, 1, 1)}, r"fails on latents of shape \(1, 64, 1, 1\)"),
        ({"latent_shape": ()}, r"latent_shape is \[\]"),
        ({"latent_shape": (100, 0)}, r"latent_shape is \[100, 0\]"),
        ({"image_size": 32}, r"returns \(1, 3, 64, 64\) .* expected \(1, 3, 32, 32\): check"),
        ({"image_size": 0}, "image_size is 0"),
        ({"output_size": -1}, "output_size is -1"),
        ({"output_range": (1, 0)}, r"output_range is \[1, 0\]"),
        ({"output_range": (0, float("inf"))}, r"output_range is \[0, inf\]"),
        (
            {"output_range": (0, 1)},
            r"returns values from -\S+ to \S+, outside output_range \[0, 1\]",
        ),
        ({"conditional": True}, r"fails on latents .* and labels of shape \(1,\)"),
        ({"generator": Returns(None)}, "returns NoneType for one latent"),
        ({"generator": Returns(torch.zeros(1, 1, 64, 64))}, r"returns \(1, 1, 64, 64\)"),
        ({"generator": Returns(torch.full((1, 3, 64, 64), torch.nan))}, "NaN or infinite"),
        ({"generator": Noisy()}, "another image each time"),
    ],
)
def test_a_wrong_description_is_refused_at_once(trained, changes, message):
    with pytest.raises(UserError, match=message):
        describe(**{"generator": trained, **changes})


class Bomb:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize(
    ("saved", "settings", "message"),
    [
        ({"epoch": 1}, {}, "holds no tensors, but a dictionary with the keys 'epoch'"),
        ({"netG": {"w": torch.zeros(1)}, "netD": {}}, {}, r"holds 1 tensors under 'netG' \(w, "),
        (
            {"netG": {"w": torch.zeros(1)}, "netD": {}},
            {"state_dict_key": "g_ema"},
            "could name: 'netG'; 'netD'",
        ),
        ({"netG": {}}, {"state_dict_key": "g_ema"}, "no state dict at state_dict_key 'g_ema'"),
        ([1], {}, "holds a list"),
        ({"w": torch.zeros(1)}, {"prefix": "g."}, r"starts with 'g\.'. Found: w\."),
        ({"w": torch.zeros(1)}, {}, r"main\.0\.weight is missing"),
        ({"main.0.weight": torch.zeros(2)}, {}, r"main\.0\.weight is \(2,\), expected \(100, 64"),
    ],
)
def test_a_checkpoint_that_does_not_fit_names_what(tmp_path, saved, settings, message):
    torch.save(saved, tmp_path / "g.pt")
    with pytest.raises(UserError, match=message) as caught:
        describe(checkpoint=str(tmp_path / "g.pt"), **settings)
    assert str(tmp_path / "g.pt") in str(caught.value)


def test_a_checkpoint_of_another_width_or_with_more_tensors_is_refused(tmp_path):
    torch.save(trained_dcgan(features=4).state_dict(), tmp_path / "narrow.pt")
    with pytest.raises(UserError, match=r"do not fit DCGANGenerator: main\.0\.weight is \(100, 32"):
        describe(checkpoint=str(tmp_path / "narrow.pt"))
    more = {**trained_dcgan().state_dict(), "main.99.weight": torch.zeros(1)}
    torch.save(more, tmp_path / "more.pt")
    with pytest.raises(UserError, match=r"main\.99\.weight is not expected"):
        describe(checkpoint=str(tmp_path / "more.pt"))


def test_an_average_beside_the_generator_must_be_chosen(tmp_path, trained):
    average = {name: tensor * 2 for name, tensor in trained.state_dict().items()}
    path = tmp_path / "g.pt"
    torch.save({"g": trained.state_dict(), "g_ema": average}, path)
    with pytest.raises(UserError, match=r"several sets .* under 'g'; under 'g_ema'"):
        describe(checkpoint=str(path))
    assert_same_images(describe(checkpoint=str(path), state_dict_key="g"), trained)


def test_weights_that_are_not_finite_are_refused(tmp_path, trained):
    state = {name: tensor.clone() for name, tensor in trained.state_dict().items()}
    state["main.0.weight"][0, 0] = torch.inf
    torch.save(state, tmp_path / "g.pt")
    with pytest.raises(
        UserError, match=r"g\.pt' hold infinite or undefined values: main\.0\.weight"
    ):
        describe(checkpoint=str(tmp_path / "g.pt"))


def test_missing_files_and_files_with_code_are_refused(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        describe(checkpoint=str(tmp_path / "none.pt"))
    torch.save({"state_dict": Bomb(tmp_path / "mark")}, tmp_path / "bomb.pt")
    with pytest.raises(UserError, match="would run code from the file, which is never done"):
        describe(checkpoint=str(tmp_path / "bomb.pt"))
    assert not (tmp_path / "mark").exists()
    torch.load(tmp_path / "bomb.pt", weights_only=False)
    assert (tmp_path / "mark").exists()  # it would have gone off
