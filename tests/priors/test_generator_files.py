import pickle

import pytest
import torch

from ggl_lightning.cli import run_command
from ggl_lightning.errors import UserError
from ggl_lightning.priors.cli import main as train_gan
from ggl_lightning.priors.generator_files import export_generator, load_generator, read_metadata
from ggl_lightning.priors.wgan_gp import WGANGP
from ggl_lightning.priors.wgan_gp_networks import WGANGPGenerator


def make_generator(width: int = 4, latent_dim: int = 6, image_size: int = 32) -> WGANGPGenerator:
    torch.manual_seed(1)
    generator = WGANGPGenerator(width, latent_dim, image_size)
    generator(torch.randn(8, latent_dim))  # statistics other than the initial ones
    return generator.eval()


def assert_same_images(first: WGANGPGenerator, second: WGANGPGenerator) -> None:
    latents = torch.randn(3, first.latent_dim)
    assert torch.equal(first(latents), second(latents))


@pytest.mark.parametrize("image_size", [32, 64])
def test_export_and_load_give_the_same_images(tmp_path, image_size):
    generator = make_generator(image_size=image_size)
    path = tmp_path / "new" / "prior.safetensors"
    export_generator(generator, path, provenance="seed 1")
    loaded = load_generator(path, width=4, latent_dim=6, image_size=image_size)
    assert not loaded.training
    assert_same_images(generator, loaded)
    assert read_metadata(path) == {
        "class": "ggl_lightning.priors.wgan_gp_networks.WGANGPGenerator",
        "width": "4",
        "latent_dim": "6",
        "image_size": str(image_size),
        "provenance": "seed 1",
    }
    assert [file.name for file in path.parent.iterdir()] == ["prior.safetensors"]


@pytest.mark.parametrize(
    "prefix", ["", "module.", "generator.", "module.generator.", "netG._orig_mod.module."]
)
@pytest.mark.parametrize("wrapped", ["state_dict", "netG", None])
@pytest.mark.parametrize("zipped", [True, False])
def test_published_checkpoints_load(tmp_path, prefix, wrapped, zipped):
    generator = make_generator()
    # Old files lack batch norm's counters.
    state = {
        prefix + name: tensor
        for name, tensor in generator.state_dict().items()
        if "num_batches_tracked" not in name
    }
    path = tmp_path / "netG.pth.tar"
    saved = {"epoch": 3, wrapped: state} if wrapped else state
    torch.save(saved, path, _use_new_zipfile_serialization=zipped)
    assert_same_images(generator, load_generator(path))


@pytest.mark.parametrize("ema_decay", [None, 0.9])
def test_a_training_checkpoint_gives_its_sampling_generator(tmp_path, ema_decay):
    module = WGANGP(width=4, latent_dim=6, ema_decay=ema_decay)
    if module.average is not None:
        module.average.module.deconv_out.weight.normal_()
    path = tmp_path / "last.ckpt"
    torch.save({"state_dict": module.state_dict(), "hyper_parameters": {}}, path)
    assert_same_images(module.sampling_generator.eval(), load_generator(path))


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weights_that_are_not_finite_are_neither_loaded_nor_exported(tmp_path, value, capsys):
    generator = make_generator()
    generator.deconv_out.weight.data[0, 0, 0, 0] = value
    torch.save({"state_dict": generator.state_dict()}, tmp_path / "last.ckpt")
    output = tmp_path / "prior.safetensors"
    expected = r"hold infinite or undefined values: deconv_out\.weight"
    with pytest.raises(UserError, match=rf"last\.ckpt' {expected}"):
        load_generator(tmp_path / "last.ckpt")
    with pytest.raises(UserError, match=rf"prior\.safetensors' {expected}"):
        export_generator(generator, output)
    arguments = ["export", "--ckpt", str(tmp_path / "last.ckpt"), "--output", str(output)]
    assert run_command(train_gan, arguments) == 2
    assert "infinite or undefined" in capsys.readouterr().err
    assert not output.exists()


class RunsCode:
    def __reduce__(self):
        return (open, ("executed", "w"))


def test_arbitrary_pickle_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {}, "extra": RunsCode()}, "evil.pth.tar")
    with pytest.raises(UserError, match="never done"):
        load_generator("evil.pth.tar")
    with open("evil.pkl", "wb") as file:  # noqa: PTH123
        pickle.dump(RunsCode(), file)
    with pytest.raises(UserError, match=r"evil\.pkl"):
        load_generator("evil.pkl")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("name", ["prior.safetensors", "prior.pth.tar"])
@pytest.mark.parametrize("keep", [0, 40, -100])
def test_damaged_files(tmp_path, name, keep):
    path = tmp_path / name
    if path.suffix == ".safetensors":
        export_generator(make_generator(), path)
    else:
        torch.save(make_generator().state_dict(), path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=name):
        load_generator(path)


def test_missing_file(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.pt' does not exist"):
        load_generator(tmp_path / "nowhere.pt")


def test_another_architecture_than_asked_for(tmp_path):
    path = tmp_path / "prior.safetensors"
    export_generator(make_generator(), path)
    with pytest.raises(UserError, match="has width 4, not 128"):
        load_generator(path, width=128)
    with pytest.raises(UserError, match="has image_size 32, not 64"):
        load_generator(path, image_size=64)


def test_tensors_that_do_not_fit_are_named_with_their_shapes(tmp_path):
    state = make_generator().state_dict()
    state["block1.0.weight"] = torch.zeros(16, 9, 2, 2)
    del state["block2.0.bias"]
    torch.save(state, tmp_path / "prior.pt")
    with pytest.raises(UserError) as error:
        load_generator(tmp_path / "prior.pt")
    assert "block1.0.weight is (16, 9, 2, 2), expected (16, 8, 2, 2)" in str(error.value)
    assert "block2.0.bias is missing" in str(error.value)


@pytest.mark.parametrize("saved", [{"conv1.weight": torch.zeros(2)}, [1, 2], {"state_dict": 3}])
def test_something_else_than_a_generator(tmp_path, saved):
    torch.save(saved, tmp_path / "other.pt")
    with pytest.raises(UserError, match=r"other\.pt"):
        load_generator(tmp_path / "other.pt")


def test_an_output_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="Cannot write"):
        export_generator(make_generator(), tmp_path / "file" / "prior.safetensors")
    with pytest.raises(UserError, match=r"must end in \.safetensors"):
        export_generator(make_generator(), tmp_path / "prior.pt")
