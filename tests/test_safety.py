"""Nothing in the package runs code from a file, starts a program, or opens a connection."""

import ast
import contextlib
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch import nn

from ggl_lightning.attacks.searches.snapshots import read_trials
from ggl_lightning.audit.report import build_report
from ggl_lightning.cli import run_command
from ggl_lightning.clients import TrainedClassifier, load_trained_client
from ggl_lightning.clients.cli import main as train_client
from ggl_lightning.command_line.yaml_text import ValueLoader, WrittenLoader
from ggl_lightning.data.class_folders import ClassFolders
from ggl_lightning.data.image_files import open_image
from ggl_lightning.data.pixel_cache import CachedFaces
from ggl_lightning.errors import UserError
from ggl_lightning.metrics import lpips_network
from ggl_lightning.priors import BigGANPrior, ModulePrior, WGANGPPrior
from ggl_lightning.priors.cli import main as train_gan
from ggl_lightning.updates import read_recording
from tests.audit.result_rows import case
from tests.priors.tiny_biggan import random_biggan, save_biggan, tiny_config
from tests.tiny import TinyClient

REPOSITORY = Path(__file__).parents[1]
SOURCES = sorted([*REPOSITORY.glob("*.py"), *REPOSITORY.glob("ggl_lightning/**/*.py")])

FORBIDDEN = (
    *("pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "ctypes"),
    *("yaml.load", "yaml.unsafe_load", "yaml.full_load", "yaml.Loader", "yaml.UnsafeLoader"),
    *("eval", "exec", "compile", "__import__", "importlib.import_module", "runpy"),
    *("subprocess", "os.system", "os.popen", "os.exec", "os.spawn", "os.posix_spawn", "os.fork"),
    *("socket", "requests", "urllib.request", "http", "ftplib", "smtplib", "fsspec"),
    *("torch.hub.load", "torch.hub.download", "torchvision.datasets.utils"),
    *("tempfile.mktemp", "pandas.read_pickle", "numpy.fromregex", "torch.jit.load"),
    *("pytorch_pretrained_biggan.BigGAN.from_pretrained",),
)
"""Names, of modules or in them; ``os.exec`` stands for ``os.execv`` and so on."""

ALLOWED = {"pickle.UnpicklingError", "compile.__doc__"}

NEEDED = {
    "torch.load": ("weights_only", True),
    "numpy.load": ("allow_pickle", False),
    "numpy.save": ("allow_pickle", False),
    "PIL.Image.open": ("formats", None),
}
"""Calls that must say how: argument and value, or any value."""

DOWNLOADS = {"pytorch_pretrained_biggan.file_utils.cached_path": "biggan_files.py"}
"""Calls that may reach the network, each in the one place that asks whether it may."""

EXCUSED = {
    **DOWNLOADS,
    "yaml.load": "yaml_text.py",  # with loaders that construct no more than the safe one
    "subprocess.Popen": "ranks.py",  # the type of what Lightning has started; nothing is started
    "subprocess.TimeoutExpired": "ranks.py",
}


def findings(source: str) -> list[str]:
    """What a source file uses that it must not, with line numbers."""
    tree = ast.parse(source)
    known: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                known[alias.asname or alias.name.partition(".")[0]] = (
                    alias.name if alias.asname else alias.name.partition(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            known.update({a.asname or a.name: f"{node.module}.{a.name}" for a in node.names})

    def full(node: ast.AST) -> str | None:
        if isinstance(node, ast.Name):
            return known.get(node.id, node.id)
        if isinstance(node, ast.Attribute):
            base = full(node.value)
            return None if base is None else f"{base}.{node.attr}"
        return None

    explained = set()
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and full(node.func) in NEEDED:
            name, value = NEEDED[full(node.func)]
            given = {k.arg: getattr(k.value, "value", None) for k in node.keywords}
            if name in given and (value is None or given[name] is value):
                explained.add(node.func)
    inner = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
    for node in ast.walk(tree):
        if id(node) in inner or not isinstance(node, ast.Name | ast.Attribute):
            continue
        name = full(node)
        if name is None or name in ALLOWED:
            continue
        bad = any(
            name == word or name.startswith((f"{word}.", word if "." in word else f"{word}."))
            for word in FORBIDDEN
        )
        if bad or name in DOWNLOADS or (name in NEEDED and node not in explained):
            found.append(f"{node.lineno}: {name}")
    return found


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_no_source_file_uses_what_could_run_code_from_data(source):
    found = findings(source.read_text())
    excused = {name for name, file in EXCUSED.items() if file == source.name}
    assert [line for line in found if line.partition(": ")[2] not in excused] == []


def test_what_is_excused_does_what_is_said_of_it():
    assert all(
        issubclass(loader, yaml.SafeLoader | getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        and loader.yaml_constructors.keys() <= yaml.SafeLoader.yaml_constructors.keys()
        for loader in (WrittenLoader, ValueLoader)
    )
    ranks = (REPOSITORY / "ggl_lightning" / "training" / "ranks.py").read_text()
    called = {ast.unparse(n.func) for n in ast.walk(ast.parse(ranks)) if isinstance(n, ast.Call)}
    assert not any(name.startswith("subprocess") for name in called)


@pytest.mark.parametrize(
    "code",
    [
        "import torch\ntorch.load(f)",
        "import torch\ntorch.load(f, weights_only=False)",
        "import torch\ntorch.load(f, weights_only=asked)",
        "from torch import load as read\nread(f)",
        "import torch\nread = torch.load",
        "import numpy as np\nnp.load(f)",
        "import numpy as np\nnp.load(f, allow_pickle=True)",
        "import numpy as np\nnp.save(f, a)",
        "import pickle\npickle.loads(b)",
        "from pickle import Unpickler\nUnpickler(f)",
        "import yaml\nyaml.load(f, Loader=yaml.SafeLoader)",
        "eval(text)",
        "import os\nos.system(c)",
        "import os\nos.execvp(c, a)",
        "import subprocess as s\ns.run(c)",
        "from urllib import request\nrequest.urlopen(u)",
        "import torch\ntorch.hub.load_state_dict_from_url(u)",
        "from PIL import Image\nImage.open(f)",
        "from pytorch_pretrained_biggan import file_utils\nfile_utils.cached_path(u)",
        "from pytorch_pretrained_biggan import BigGAN\nBigGAN.from_pretrained(n)",
    ],
)
def test_what_could_is_found(code):
    assert findings(code)


def test_what_could_not_is_left_alone():
    assert not findings(
        "import pickle, re, torch, yaml\nimport numpy as np\nfrom PIL import Image\n"
        "torch.load(f, weights_only=True)\nnp.load(f, allow_pickle=False)\nmodel.eval()\n"
        "re.compile(p)\nyaml.safe_load(t)\nImage.open(f, formats=['PNG'])\n"
        "try: torch.compile(m)\nexcept pickle.UnpicklingError: torch.hub.get_dir()\n"
    )


class Bomb:
    """Leaves a mark if anyone unpickles it."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.fixture
def mark(tmp_path, monkeypatch):
    """Where the bomb leaves it; the environment asks torch for as little safety as it can."""
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    return tmp_path / "mark"


@pytest.fixture(params=["zip", "legacy", "pickle", "two"])
def bombed(request, tmp_path, mark):
    """A checkpoint with a bomb in it; ``two`` has it in a class that torch knows."""
    file = tmp_path / "bombed.pt"
    state = {"state_dict": {"weight": torch.zeros(2)}, "extra": Bomb(mark)}
    if request.param == "pickle":
        file.write_bytes(pickle.dumps(state, protocol=2))
    elif request.param == "two":
        model = nn.Linear(1, 1)
        model.bomb = Bomb(mark)
        torch.save(model, file)
    else:
        torch.save(state, file, _use_new_zipfile_serialization=request.param == "zip")
    return file


def _biggan(file):
    folder = save_biggan(random_biggan(tiny_config()), file.parent / "biggan")
    file.replace(folder / "pytorch_model.bin")
    return BigGANPrior(str(folder))


def _snapshot(file):
    return read_trials(file.rename(file.with_name("snapshot.safetensors")), "key")


LOADERS = {
    "prior": lambda file: WGANGPPrior(str(file)),
    "prior of any class": lambda file: ModulePrior(nn.Linear(2, 2), [2], 8, checkpoint=str(file)),
    "trained client": lambda file: load_trained_client(TinyClient(), file),
    "attribute classifier": lambda file: TrainedClassifier(TinyClient, str(file)).build(),
    "BigGAN folder": _biggan,
    "LPIPS vgg": lambda file: lpips_network("vgg", file),
    "LPIPS alex": lambda file: lpips_network("alex", file),
    "snapshot": _snapshot,
    "recorded update": read_recording,
}


@pytest.mark.parametrize("load", LOADERS.values(), ids=LOADERS)
def test_code_in_a_file_of_weights_is_refused_and_not_run(bombed, load, mark):
    content = bombed.read_bytes()
    with pytest.raises(UserError):
        load(bombed)
    assert not mark.exists()
    armed = bombed.with_name("armed.pt")
    armed.write_bytes(content)
    with contextlib.suppress(RuntimeError):  # a bare pickle is no checkpoint, but has been run
        torch.load(armed, weights_only=False)
    assert mark.exists()


COMMANDS = {
    "train_client": (train_client, "configs/client/synthetic32.yaml"),
    "train_gan": (train_gan, "configs/gan/synthetic32.yaml"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_code_in_a_checkpoint_to_resume_from_or_to_export_is_not_run(
    bombed, command, mark, capsys, tmp_path
):
    main, config = COMMANDS[command]
    arguments = ["--config", str(REPOSITORY / config), "--ckpt_path", str(bombed)]
    assert run_command(main, ["fit", *arguments]) == 2
    assert run_command(main, ["fit", *arguments, "--weights_only", "false"]) == 2
    assert "never done" in capsys.readouterr().err
    export = ["--ckpt", str(bombed), "--output", str(tmp_path / "out.safetensors")]
    assert run_command(main, ["export", *export]) == 2
    assert not mark.exists()


def test_code_in_a_cache_of_pixels_is_not_run(tmp_path, mark):
    np.save(tmp_path / "pixels.npy", np.array([Bomb(mark)], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match="cannot read the cache"):
        CachedFaces(tmp_path / "pixels.npy", torch.zeros(1, dtype=torch.long))
    assert not mark.exists()


def test_code_in_yaml_is_not_run(tmp_path, mark, capsys):
    config = f'data: !!python/object/apply:os.mkdir ["{mark}"]\n'
    run = tmp_path / "run"
    row = case(mse=0.1)
    folder = run / "cases" / row["name"]
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps(row))
    (run / "config.yaml").write_text(config)
    build_report([run], tmp_path / "report")
    for main in (train_client, train_gan):
        assert run_command(main, ["fit", "--config", str(run / "config.yaml")]) == 2
    assert not mark.exists()
    yaml.unsafe_load(config)
    assert mark.exists()


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n"


def test_pictures_that_are_programs_are_not_opened(tmp_path, monkeypatch):
    def run_it(*anything, **more):
        raise AssertionError("Ghostscript was started")

    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", run_it)
    file = tmp_path / "classes" / "n01" / "image.jpg"
    file.parent.mkdir(parents=True)
    file.write_bytes(POSTSCRIPT)
    with pytest.raises(AssertionError, match="Ghostscript"):
        Image.open(file).load()
    with pytest.raises(UserError, match="no picture of a format that is read"):
        open_image(file)
    with pytest.raises(UserError, match=r"cannot read the image .*image\.jpg"):
        ClassFolders(tmp_path / "classes", 8)[0]


@pytest.mark.parametrize("seed", range(40))
def test_a_damaged_checkpoint_is_the_users_to_mend(tmp_path, seed):
    random = np.random.default_rng(seed)
    file = tmp_path / "damaged.pt"
    torch.save(
        {"state_dict": TinyClient().state_dict()}, file, _use_new_zipfile_serialization=False
    )
    content = bytearray(file.read_bytes())
    for position in random.integers(0, 300, 3):
        content[position] = random.integers(0, 256)
    file.write_bytes(content)
    with contextlib.suppress(UserError):  # or it is loaded, since only numbers were damaged
        load_trained_client(TinyClient(), file)
