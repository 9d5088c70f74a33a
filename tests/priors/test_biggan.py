"""BigGAN as a prior gives the library's images; nothing unsafe or unasked happens on the way."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import requests
import torch
from pytorch_pretrained_biggan import (
    BigGAN,
    file_utils,
    one_hot_from_int,
    truncated_noise_sample,
)
from pytorch_pretrained_biggan.model import (
    PRETRAINED_CONFIG_ARCHIVE_MAP,
    PRETRAINED_MODEL_ARCHIVE_MAP,
)
from scipy import stats

from ggl_lightning.errors import UserError
from ggl_lightning.priors import BigGANPrior
from tests.priors.tiny_biggan import (
    PUBLISHED,
    narrow_config,
    random_biggan,
    save_biggan,
    tiny_config,
)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory) -> Path:
    return save_biggan(random_biggan(tiny_config()), tmp_path_factory.mktemp("biggan") / "tiny")


@pytest.fixture
def prior(tiny_folder) -> BigGANPrior:
    return BigGANPrior(str(tiny_folder), output_size=None)


@pytest.fixture
def own_folder(tiny_folder, tmp_path) -> Path:
    """A copy to damage."""
    for file in tiny_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


@pytest.fixture
def empty_cache(tmp_path, monkeypatch) -> Path:
    """An empty cache of the library's, and a network that nobody may touch."""

    def refuse(*_args, **_kwargs):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(file_utils, "PYTORCH_PRETRAINED_BIGGAN_CACHE", tmp_path / "cache")
    monkeypatch.setattr(requests, "head", refuse)
    monkeypatch.setattr(requests, "get", refuse)
    return tmp_path / "cache"


@pytest.mark.parametrize(("size", "truncation"), [(128, 0.4), (256, 1.0), (512, 1.0)])
def test_images_are_those_of_the_library(tmp_path, size, truncation):
    folder = save_biggan(random_biggan(narrow_config(size), seed=size), tmp_path)
    classes = [0, 999]
    noise = torch.from_numpy(truncated_noise_sample(2, truncation=truncation, seed=3))
    library = BigGAN.from_pretrained(str(folder)).eval()
    with torch.no_grad():
        expected = library(noise, torch.from_numpy(one_hot_from_int(classes, 2)), truncation)
    prior = BigGANPrior(str(folder), truncation, output_size=None)
    assert (prior.latent_shape, prior.image_size, prior.num_classes) == ((128,), size, 1000)
    images = prior(noise, torch.tensor(classes))
    assert images.shape == (2, 3, size, size)
    assert images.std() > 0.1  # a saturated or constant image would hide differences
    torch.testing.assert_close(images, expected, atol=2e-5, rtol=0)


@pytest.mark.parametrize("size", [128, 256, 512])
def test_published_architectures_load_at_their_full_width(tmp_path, size):
    """With tensors that have shapes but no values: 230 MB each would be slow."""
    config = PUBLISHED[size]
    with torch.device("meta"):
        model = BigGAN(config).to("meta")
    prior = BigGANPrior(str(save_biggan(model, tmp_path)), output_size=None)
    assert (prior.latent_shape, prior.image_size, prior.num_classes) == ((128,), size, 1000)
    latents = torch.empty(2, 128, device="meta")
    one_hot = torch.empty(2, 1000, device="meta")
    assert prior.generator(latents, one_hot, 1.0).shape == (2, 3, size, size)


def test_output_size_averages_areas(tiny_folder, prior):
    latents, labels = prior.sample(3, torch.Generator().manual_seed(0)), torch.arange(3)
    full = prior(latents, labels).numpy()
    half = BigGANPrior(str(tiny_folder), output_size=4)
    assert half.image_size == 4
    expected = full.reshape(3, 3, 4, 2, 4, 2).mean(axis=(3, 5))
    np.testing.assert_allclose(half(latents, labels), expected, atol=1e-6)
    # 8 to 5 pixels: output pixel i covers the inputs it touches, floor(8i/5) to ceil(8(i+1)/5).
    spans = [(8 * i // 5, -(-8 * (i + 1) // 5)) for i in range(5)]
    rows = np.stack([full[..., a:b, :].mean(axis=-2) for a, b in spans], axis=-2)
    expected = np.stack([rows[..., a:b].mean(axis=-1) for a, b in spans], axis=-1)
    fifth = BigGANPrior(str(tiny_folder), output_size=5)
    np.testing.assert_allclose(fifth(latents, labels), expected, atol=1e-6)


def test_images_are_224_unless_asked_otherwise(tiny_folder):
    assert BigGANPrior(str(tiny_folder)).image_size == 224


def test_each_image_depends_on_its_own_latent_and_label(prior):
    latents = prior.sample(4, torch.Generator().manual_seed(1))
    labels = torch.tensor([4, 0, 2, 2])
    together = prior(latents, labels)
    for i in range(4):
        torch.testing.assert_close(prior(latents[i : i + 1], labels[i : i + 1])[0], together[i])
    others = prior(latents, (labels + 1) % 5)
    assert ((others - together).flatten(1).abs().amax(1) > 1e-3).all()


def test_gradients_reach_the_latents_and_nothing_else(tiny_folder):
    prior = BigGANPrior(str(tiny_folder), output_size=5).double()
    latents = prior.sample(2, torch.Generator().manual_seed(2)).double().requires_grad_()
    labels = torch.tensor([1, 3])
    assert torch.autograd.gradcheck(lambda z: prior(z, labels).mean((1, 2, 3)), latents)
    prior(latents, labels).square().sum().backward()
    assert latents.grad.abs().min() > 0
    assert all(parameter.grad is None for parameter in prior.parameters())


def test_samples_follow_the_librarys_truncated_normal(tiny_folder):
    for truncation in (1.0, 0.3):
        prior = BigGANPrior(str(tiny_folder), truncation)
        latents = prior.sample(500, torch.Generator().manual_seed(4))
        assert latents.shape == (500, 16)
        assert latents.abs().max() <= 2 * truncation
        reference = stats.truncnorm(-2, 2, scale=truncation)
        assert stats.kstest(latents.flatten().numpy(), reference.cdf).pvalue > 0.01
        assert latents.equal(prior.sample(500, torch.Generator().manual_seed(4)))
        assert not latents.equal(prior.sample(500, torch.Generator().manual_seed(5)))


def test_truncation_chooses_the_statistics_and_leaves_latents_alone(tiny_folder):
    latents, labels = (
        torch.randn(2, 16, generator=torch.Generator().manual_seed(0)),
        torch.arange(2),
    )
    full, short = (BigGANPrior(str(tiny_folder), t, output_size=None) for t in (1.0, 0.5))
    assert (full(latents, labels) - short(latents, labels)).abs().max() > 1e-3
    library = BigGAN.from_pretrained(str(tiny_folder)).eval()
    with torch.no_grad():
        expected = library(latents, torch.eye(5)[labels], 0.5)
    torch.testing.assert_close(short(latents, labels), expected, atol=1e-5, rtol=0)


def test_settings_are_part_of_the_state_that_identifies_a_prior(tiny_folder):
    def state(**settings) -> bytes:
        return BigGANPrior(str(tiny_folder), **settings).state_dict()["settings"].numpy().tobytes()

    assert state() == state()
    assert len({state(), state(truncation=0.5), state(output_size=8)}) == 3


def test_it_stays_in_eval_mode_and_reads_without_moving_the_random_state(tiny_folder):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    prior = BigGANPrior(str(tiny_folder))
    assert torch.get_rng_state().equal(before)
    prior.train()
    assert not any(module.training for module in prior.modules())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"truncation": 0.0}, "truncation is 0.0: it must be above 0 and at most 1"),
        ({"truncation": 1.5}, "truncation is 1.5"),
        ({"truncation": float("nan")}, "truncation is nan"),
        ({"output_size": 0}, "output_size is 0"),
    ],
)
def test_bad_settings_are_refused(tiny_folder, settings, message):
    with pytest.raises(UserError, match=message):
        BigGANPrior(str(tiny_folder), **settings)


def test_labels_must_be_classes_of_the_generator(prior):
    latents = prior.sample(2)
    with pytest.raises(UserError, match="needs a label with every latent"):
        prior(latents)
    for wrong in (5, -1):
        with pytest.raises(UserError, match=f"label {wrong} is none of the prior's 5 classes"):
            prior(latents, torch.tensor([0, wrong]))


# --- files -------------------------------------------------------------------------------------


def test_a_name_that_is_not_cached_says_how_to_get_it_and_downloads_nothing(empty_cache):
    with pytest.raises(UserError) as caught:
        BigGANPrior("biggan-deep-256")
    message = str(caught.value)
    assert str(empty_cache) in message
    assert "nothing is downloaded unasked" in message
    assert PRETRAINED_MODEL_ARCHIVE_MAP["biggan-deep-256"] in message
    assert PRETRAINED_CONFIG_ARCHIVE_MAP["biggan-deep-256"] in message
    assert "allow_download" in message
    assert not empty_cache.exists()


def fake_network(monkeypatch, tiny_folder) -> list[str]:
    """Serves the tiny generator at the published addresses; returns what was fetched."""
    contents = {
        PRETRAINED_CONFIG_ARCHIVE_MAP["biggan-deep-128"]: "config.json",
        PRETRAINED_MODEL_ARCHIVE_MAP["biggan-deep-128"]: "pytorch_model.bin",
    }
    fetched = []

    def respond(url: str, **_options) -> requests.Response:
        response = requests.Response()
        response.status_code = 200
        response.headers["ETag"] = '"1"'
        response.raw = io.BytesIO((tiny_folder / contents[url]).read_bytes())
        return response

    def get(url: str, **options) -> requests.Response:
        fetched.append(url)
        return respond(url, **options)

    monkeypatch.setattr(requests, "head", respond)
    monkeypatch.setattr(requests, "get", get)
    return fetched


def test_downloads_when_asked_and_uses_the_cache_ever_after(
    empty_cache, monkeypatch, tiny_folder, prior
):
    with monkeypatch.context() as network:
        fetched = fake_network(network, tiny_folder)
        BigGANPrior("biggan-deep-128", allow_download=True)
        assert len(fetched) == 2
    # The network refuses again.
    cached = BigGANPrior("biggan-deep-128", output_size=None)
    latents = prior.sample(1)
    assert cached(latents, torch.tensor([1])).equal(prior(latents, torch.tensor([1])))


def test_a_failing_download_is_the_users_to_know(empty_cache, monkeypatch):
    def fail(*_args, **_kwargs):
        raise requests.ConnectionError("no route to host")

    monkeypatch.setattr(requests, "head", fail)
    with pytest.raises(UserError, match=r"Downloading biggan-deep-512 .* failed: no route to host"):
        BigGANPrior("biggan-deep-512", allow_download=True)


def test_a_folder_comes_before_a_name(empty_cache, tiny_folder, tmp_path, monkeypatch):
    save_biggan(BigGAN.from_pretrained(str(tiny_folder)), tmp_path / "biggan-deep-128")
    monkeypatch.chdir(tmp_path)
    assert BigGANPrior("biggan-deep-128").num_classes == 5


def test_says_what_weights_may_be(tiny_folder, tmp_path):
    with pytest.raises(UserError, match="neither a folder nor one of biggan-deep-128, biggan"):
        BigGANPrior("biggan-deep-64")
    with pytest.raises(UserError, match="It is a file: give the folder it lies in"):
        BigGANPrior(str(tiny_folder / "pytorch_model.bin"))
    with pytest.raises(UserError, match=r"lacks config\.json and pytorch_model\.bin"):
        BigGANPrior(str(tmp_path))


class Bomb:
    """Leaves a mark if anyone unpickles it."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
def test_code_in_a_file_is_never_run(own_folder, form):
    mark = own_folder / "mark"
    file = own_folder / "pytorch_model.bin"
    state = {**torch.load(file), "bomb": Bomb(mark)}
    if form == "pickle":
        file.write_bytes(pickle.dumps(state, protocol=2))
    else:
        torch.save(state, file, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(UserError, match=r"pytorch_model\.bin"):
        BigGANPrior(str(own_folder))
    assert not mark.exists()
    with contextlib.suppress(RuntimeError):  # a bare pickle is no checkpoint, but has been run
        torch.load(file, weights_only=False)
    assert mark.exists()  # it would have gone off


def test_files_in_torchs_format_of_2019_are_read(own_folder, prior):
    file = own_folder / "pytorch_model.bin"
    torch.save(torch.load(file), file, _use_new_zipfile_serialization=False)
    latents, labels = prior.sample(1), torch.tensor([0])
    old = BigGANPrior(str(own_folder), output_size=None)
    assert old(latents, labels).equal(prior(latents, labels))


def test_tensors_must_be_complete_but_extra_ones_are_ignored(own_folder):
    file = own_folder / "pytorch_model.bin"
    state = torch.load(file)
    torch.save({**state, "discriminator.weight": torch.zeros(1)}, file)
    BigGANPrior(str(own_folder))
    gone = "generator.layers.0.bn_0.running_vars"
    torch.save({n: t for n, t in state.items() if n != gone}, file)
    with pytest.raises(UserError, match=f"do not fit BigGAN: {gone} is missing"):
        BigGANPrior(str(own_folder))
    torch.save({**state, "embeddings.weight": torch.zeros(16, 7)}, file)
    with pytest.raises(UserError, match=r"embeddings\.weight is \(16, 7\), expected \(16, 5\)"):
        BigGANPrior(str(own_folder))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "Cannot read the BigGAN configuration"),
        ("[]", "Cannot read the BigGAN configuration"),
        ('{"layers": 3}', "does not describe a BigGAN"),
        ('{"layers": [[true, 16]]}', "does not describe a BigGAN"),
        ('{"channel_width": "wide"}', "does not describe a BigGAN"),
        ('{"n_stats": 1}', "does not describe a BigGAN"),
        ('{"output_dim": 64}', "output_dim is 64, but its layers generate 128x128"),
    ],
)
def test_a_wrong_configuration_is_named(own_folder, text, message):
    (own_folder / "config.json").write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        BigGANPrior(str(own_folder))
    assert str(own_folder / "config.json") in str(caught.value)


def test_a_file_cut_short_is_named(own_folder):
    file = own_folder / "pytorch_model.bin"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"pytorch_model\.bin"):
        BigGANPrior(str(own_folder))


def test_the_saved_configuration_is_the_librarys(tiny_folder):
    """Guards the tests themselves: what they save is what the library documents."""
    keys = json.loads((tiny_folder / "config.json").read_text()).keys()
    assert keys == tiny_config().to_dict().keys()
