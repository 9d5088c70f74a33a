"""Every mistake in arguments, files and components is one line, exit code 2, and nothing else."""

import functools
import math
from pathlib import Path

import pytest
import yaml

from ggl_lightning.audit import RandomImages
from ggl_lightning.audit.cli import main as audit_main
from ggl_lightning.cli import run_command
from ggl_lightning.clients.cli import main as train_client
from ggl_lightning.command_line.value_text import as_written
from ggl_lightning.priors.cli import main as train_gan
from tests.audit.conftest import tiny_config, tiny_settings  # noqa: F401 - a fixture

_ATTACK = "data.attacks.cma.init_args"
_SEARCHES = "ggl_lightning.attacks.searches"


def _component(class_path, **init_args):
    return {"class_path": class_path, "init_args": init_args}


@pytest.fixture
def refused(tmp_path, capsys, monkeypatch):
    """The one line a command ends with, after exit code 2 and no files."""
    monkeypatch.chdir(tmp_path)

    def run(command, arguments):
        capsys.readouterr()
        before = set(tmp_path.rglob("*"))
        assert run_command(command, arguments) == 2
        lines = capsys.readouterr().err.strip().splitlines()
        assert [line for line in lines if line.startswith("error: ")] == lines[-1:]
        assert not any("usage:" in line or "Subtypes" in line for line in lines)
        assert not [path for path in set(tmp_path.rglob("*")) - before if path.is_file()]
        return lines[-1]

    return run


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--bugdet", "3"], "no option --bugdet. Did you mean --budget?"),
        (["--budget 3"], "'--budget 3' is one argument"),
        (["--budge", "3"], "no option --budge. Did you mean --budget?"),
        (["--budget", "many"], "budget is many: expected a whole number"),
        (["--budget"], "--budget: expected one argument"),
        (["stray"], "'stray' is not expected"),
        (["--idx", "1:30"], "idx has '1:30'"),
        (["--trainer.max_epochz", "1"], "Did you mean --trainer.max_epochs"),
        (["--data.images.init_args.cnt", "1"], "TinyImages has no setting 'cnt' (in data.images)"),
        ([f"--{_ATTACK}.search.init_args.popul", "1"], "Did you mean population?"),
        ([f"--{_ATTACK}.search", "NevergradSerch"], f"Did you mean {_SEARCHES}.NevergradSearch?"),
        (["--config", "nowhere.yaml"], "nowhere.yaml': there is no such file"),
        (["--config", "~nobody_here/x.yaml"], "there is no such file"),
        (["--model", "missing.yaml"], "'missing.yaml', and there is no such file"),
        (["--data", "missing.yaml"], "there is no file 'missing.yaml'"),
        (["--client", "Resnet18"], "Did you mean 'ResNet18'"),
        (["--ng_method", "Adam"], "Did you mean 'adam'"),
        (["--seed_everything", "-1"], "seed_everything is -1"),
        (["--optimizer", "torch.optim.SGD"], "--optimizer has no meaning in an audit"),
        (["--lr_scheduler.step_size", "2"], "has no meaning in an audit"),
        (
            ["--trained_model", "~nobody_here/x"],
            "trained_model is '~nobody_here/x': no home folder of ~nobody_here",
        ),
        (
            ["--data.defenses", "{a: {class_path: Noise}, a: {class_path: Sign}}"],
            "'a' stands twice",
        ),
        (["--print_config=skip_defalt"], "Did you mean 'skip_default'"),
        (["--trainer.strategy", "nope"], "invalid strategy name"),
        (["--trainer.devices", "0"], "The trainer refuses its settings"),
    ],
)
def test_arguments(refused, tiny_config, arguments, expected):  # noqa: F811
    assert expected in refused(audit_main, ["--config", str(tiny_config), *arguments])


@pytest.mark.parametrize(
    ("setting", "value", "expected"),
    [
        ("model.client seed", 1, "There is no setting 'client seed'. Did you mean client_seed"),
        ("model.client_modl", 1, "model has no setting 'client_modl'. Did you mean client_model"),
        (f"{_ATTACK}.budgett", 1, "GenerativeGradientLeakage has no setting 'budgett'"),
        (
            f"{_ATTACK}.xearch",
            _component(f"{_SEARCHES}.NevergradSearch", method="CMA"),
            "GenerativeGradientLeakage has no setting 'xearch' (in data.attacks). Did you mean s",
        ),
        (f"{_ATTACK}.search", _component(f"{_SEARCHES}.NevergradSerch"), "Did you mean"),
        (f"{_ATTACK}.search", _component("ggl_lightning.defenses.Noise"), "Noise is no Search"),
        ("data.images", None, "data.images must be given"),
        ("trainer", None, "trainer is null: expected settings by name"),
        ("trainer.detect_anomaly", None, "detect_anomaly of Trainer is null"),
        ("data.defenses", ["none"], "data.defenses is [none]: expected settings by name"),
        ("data.defenses.x", _component("Noise", std="big"), "std of Noise"),
        ("data.controls", ["null_rndom"], "Did you mean 'null_random'"),
        ("data.split", 3, "Write it in quotes"),
        ("model.exp_name", 123, "model.exp_name is 123"),
        (
            "model.client_model",
            _component("tests.tiny.TinyClint"),
            "Did you mean tests.tiny.TinyCli",
        ),
        (
            "trainer.callbacks",
            [_component("lightning.pytorch.callbacks.ModelCheckpoint")],
            "Did you mean pytorch_lightning.callbacks.ModelCheckpoint?",
        ),
        (
            "trainer.callbacks",
            _component("pytorch_lightning.callbacks.ModelCheckpoint", monitr="x"),
            "ModelCheckpoint has no setting 'monitr' (in trainer.callbacks). Did you mean monitor?",
        ),
        (
            "trainer.callbacks",
            [_component("ggl_lightning.attacks.callbacks.SearchTimeLimit", seconds=0)],
            "seconds of the search time limit is 0",
        ),
        (
            "trainer.callbacks",
            [_component("pytorch_lightning.callbacks.EarlyStopping", monitor="x", mode="up")],
            "EarlyStopping refuses its arguments: `mode`",
        ),
        (
            "data.idx",
            _component("ggl_lightning.audit.RandomImages", count=0),
            "count of RandomImages is 0",
        ),
        (
            "data.idx",
            _component("ggl_lightning.audit.RandomImages", count="x"),
            "count of RandomImages (in data.idx) is x: expected a whole number",
        ),
        (
            "data.idx",
            _component("ggl_lightning.audit.RandomImages"),
            "count must be given for RandomImages",
        ),
        (
            "data.idx",
            _component("ggl_lightning.audit.ClassBalancedImages", per_class=1, classes=[]),
            "classes of ClassBalancedImages is []",
        ),
        (
            "model.utility",
            _component("ggl_lightning.federated.FederatedTraining", rounds=0),
            "rounds of federated training is 0",
        ),
        (
            "model.update_rule",
            _component("ggl_lightning.clients.LocalSGDUpdate", steps=0, learning_rate=0.1),
            "steps of local SGD is 0",
        ),
        (
            "model.attribute_classifiers",
            {"Wearing.Hat": {"client_model": _component("tests.tiny.TinyClient"), "weights": "x"}},
            "An attribute classifier is called 'Wearing.Hat'",
        ),
    ],
)
def test_settings(refused, tmp_path, setting, value, expected):
    config = tiny_settings(tmp_path / "runs")
    *above, name = setting.split(".")
    inner = config
    for key in above:
        inner = inner[key]
    inner[name] = value
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    assert expected in refused(audit_main, ["--config", "c.yaml"])


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is empty"),
        (b"model: {", "is not YAML"),
        ("model: {}\n".encode("utf-16"), "not text in UTF-8"),
        ("# gr\N{LATIN SMALL LETTER U WITH DIAERESIS}n\n".encode("latin-1"), "not text in UTF-8"),
        (b"client_seed: 1\nclient_seed: 2\n", "'client_seed' stands twice"),
    ],
)
@pytest.mark.parametrize("option", ["--config", "--model", "--data.defenses"])
def test_files(refused, tmp_path, tiny_config, option, content, expected):  # noqa: F811
    (tmp_path / "bad.yaml").write_bytes(content)
    line = refused(audit_main, ["--config", str(tiny_config), option, "bad.yaml"])
    assert expected in line or option.lstrip("-") in line


@pytest.mark.parametrize("command", [train_gan, train_client])
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "fit, validate or export, and nothing is"),
        (["test"], "'test' is none of them"),
        (["predict", "--model.width", "8"], "'predict' is none of them"),
        (["--config", "x.yaml", "fit"], "The first argument must say what to do"),
        (["fit", "--traner.max_epochs", "1"], "Did you mean --trainer.max_epochs"),
        (["export"], "ckpt, output must be given"),
        (["export", "--ckpt", "~/no.ckpt", "--output", "x"], str(Path("~/no.ckpt").expanduser())),
        (["export", "--ckpt", "a", "--outptu", "x"], "Did you mean --output?"),
    ],
)
def test_trainings(refused, command, arguments, expected):
    assert expected in refused(command, arguments)


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("batch_size", "0", "batch_size is 0"),
        ("target_attribute", "male", "Did you mean 'Male'"),
        ("image_size", "7", "image_size is 7"),
    ],
)
def test_data_of_trainings(refused, option, value, expected):
    arguments = [
        "fit",
        "--model.client_model=ggl_lightning.clients.LeNet",
        "--model.optimizer=torch.optim.SGD",
        "--data=ggl_lightning.data.celeba.CelebADataModule",
        "--data.init_args.root=faces",
        f"--data.init_args.{option}={value}",
    ]
    assert expected in refused(train_client, arguments)


def test_what_is_wrong_in_the_code_keeps_its_traceback(tmp_path, monkeypatch, tiny_config):  # noqa: F811
    @functools.wraps(RandomImages.__init__)  # the parser reads its arguments
    def broken(*_, **__):
        raise TypeError("a bug")

    monkeypatch.setattr("ggl_lightning.audit.RandomImages.__init__", broken)
    arguments = [
        "--data.idx",
        "{class_path: ggl_lightning.audit.RandomImages, init_args: {count: 1}}",
    ]
    with pytest.raises(TypeError, match=r"^a bug$"):
        run_command(audit_main, ["--config", str(tiny_config), *arguments])


@pytest.mark.parametrize(
    "setting", ["trainer.limit_test_batches", "data.decoys", "model.client_seed"]
)
def test_a_comment_is_no_null(refused, tiny_config, setting):  # noqa: F811
    arguments = ["--config", str(tiny_config), f"--{setting}", "#1"]
    assert f"{setting} is #1: expected a" in refused(audit_main, arguments)


@pytest.mark.parametrize("command", [train_gan, train_client])
@pytest.mark.parametrize("text", ["0", "[1]"])
def test_a_section_that_holds_no_settings(refused, tmp_path, command, text):
    shipped = Path(__file__).parents[2] / "configs"
    name = "gan/celeba32.yaml" if command is train_gan else "client/celeba32.yaml"
    (tmp_path / "more.yaml").write_text(f"trainer: {text}\n")
    line = refused(command, ["fit", f"--config={shipped / name}", "--config=more.yaml"])
    assert f"trainer is {text}: expected settings by name" in line


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("nosuch.Class", "'nosuch.Class' cannot be imported, since there is no module 'nosuch'"),
        ("{class_path: nosuch.Class}", "expected the path of a class, as package.module.Class."),
        ("ggl_lightning.nosuch.MLP", "Did you mean ggl_lightning.clients.MLP?"),
        ("{class_path: torch.nn.Lin}", "Did you mean torch.nn.Linear?"),
        ("ggl_lightning.defenses.Noise", "Noise is no torch.nn.Module, nor a function"),
        ("math.sin", "math.sin is no torch.nn.Module, nor a function"),
        ("math.pi", f"model.client_model: {math.pi} is no class."),
        ("[1]", "model.client_model is [1]: expected a class_path of a Module"),
        ("null", "model.client_model is null: expected a class_path of a Module"),
        ("{class_path: [3]}", "expected the path of a class as class_path, with its init_args"),
        ("{init_args: {width: {a: 1}}}", "is {a: 1}: expected a whole number."),
        ("here.Model", "here lies in the current folder: Python looks for modules there with"),
    ],
)
def test_what_is_no_client_model(refused, tmp_path, given, expected):
    (tmp_path / "here.py").touch()
    line = refused(audit_main, ["--config", "demo", "--model.client_model", given])
    assert line.startswith("error: ")
    assert expected in line
    assert "Callable" not in line


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            ["--trainer.strategy", "{class_path: x.Y, init_args: {a: {b: [1, null]}}}"],
            "strategy {class_path: x.Y, init_args: {a: {b: [1, null]}}}",
        ),
        (
            ["--trainer.logger", "{a: 3}"],
            "{a: 3}: expected a class_path of a Logger or a list or true or false or null.",
        ),
        (["--data.images.init_args.root", "[1]"], "is [1]: expected text or a path."),
    ],
)
def test_values_are_told_as_they_are_written(refused, options, expected):
    assert expected in refused(audit_main, ["--config", "demo", *options])


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("Namespace(a='x', b=Namespace(c=None, d=(1, 2)))", "{a: x, b: {c: null, d: [1, 2]}}"),
        ("got Namespace(a=1), not Namespace()", "got {a: 1}, not {}"),
        ("Namespace(a=')', b=1) (x)", "{a: ), b: 1} (x)"),
        (
            "Namespace(root=Path_fr('x.yaml', cwd='/y'))",
            "{root: 'Path_fr(''x.yaml'', cwd=''/y'')'}",
        ),
        ("{'a': {'b': True}}", "{a: {b: true}}"),
        ("Namespace(a=<object>)", "Namespace(a=<object>)"),
        ("Namespace(a=1", "Namespace(a=1"),
        ("[x", "[x"),
        ("Namespace", "Namespace"),
        ("3 (three)", "3 (three)"),
    ],
)
def test_python_in_a_text_becomes_yaml(text, written):
    assert as_written(text) == written


@pytest.mark.parametrize("name", ["models.resnet18", "torch.nothing"])
def test_a_client_model_that_cannot_be_imported(refused, name):
    shipped = Path(__file__).parents[2] / "configs/audit/demo.yaml"
    assert name.split(".")[0] in refused(audit_main, [f"--config={shipped}", f"--client={name}"])
