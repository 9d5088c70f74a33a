"""What people do to a shipped configuration, as hypothesis strategies."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path as FilePath

import yaml
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from tests.fuzz.calls import DEFENSES, FOR_EVERY_ATTACK, SHORTCUTS, Call
from tests.fuzz.yaml_tree import (
    Mapping,
    Node,
    Path,
    Scalar,
    at,
    duplicate,
    leaves,
    parse,
    paths,
    put,
    repeats_a_key,
    write,
)

REPOSITORY = FilePath(__file__).parents[2]

_NUMBERS = [
    "0", "-0", "1", "-1", "2", "3", "7", "1.0", "0.5", "1.5", "-0.1", "1e-3", "1.0e-3", "1e3",
    "1.0e+3", "+2", "010", "0123", "0o10", "0x10", "0b11", "1_000", "1:30", "2024_01_01",
    "2024-01-01", "'3'", '"0.1"', "1e30", "-1e30", "1e400", ".nan", ".inf", "-.inf", "nan", "inf",
    "NaN", "99999", "2147483648", "9223372036854775808", "100000000000000000000", "1,5", "50%", "½",
    "\N{FULLWIDTH DIGIT THREE}", "1.2.3", "1e", "0-1", "0-99", "3-1",
]  # fmt: skip
_WORDS = [
    "null", "Null", "~", "", '""', "''", "none", "None", "yes", "no", "on", "off", "y", "true",
    "True", "false", "FALSE", "x", "é", "日本", "'a b'", "a/b", "../x", "..", ".", "/", "~/x", "{}",
    "[]", "[1]", "[1, 2]", "[0.5, 0.5]", "[a, b]", "[[1]]", "[null]", "{a: 1}", "{class_path: x}",
    "''' '", "'tab\t'", "'null'", "'true'", "' 1'", "'a: b'", "'#1'", "'-1'", "auto", "default",
    "x" * 300, "'%s'", "'{0}'", "'$HOME'", "'*'", "con", "'a\\b'", "'☃'",
]  # fmt: skip
_LIKELY = [
    "0",
    "1",
    "2",
    "3",
    "0.5",
    "1.0",
    "1e-3",
    "'1'",
    "true",
    "false",
    "null",
    "[]",
    "a",
    "x1",
]
_BROKEN_YAML = ["[1", "{a", "'x",
'"x', "@x", "`x`", "%x", "&a", "*a", "!x 1", "a: b", "a #b", "- x",
                "!!python/name:os.system", "|", "\t1"]  # fmt: skip
_CLASSES = [
    "ggl_lightning.defenses.Noise", "ggl_lightning.defenses.noise.Noise", "Noise", "noise",
    "ggl_lightning.defenses.Clipping", "ggl_lightning.defenses.DPSGD", "ggl_lightning.defenses",
    "ggl_lightning.defenses.Compose", "ggl_lightning.defenses.Sign", "Sign",
    "ggl_lightning.defenses.Quantization", "ggl_lightning.defenses.LayerwiseClipping",
    "ggl_lightning.defenses.Defense", "ggl_lightning.attacks.searches.AdamSearch", "AdamSearch",
    "ggl_lightning.attacks.searches.turbo.TuRBOSearch", "ggl_lightning.attacks.searches.Search",
    "ggl_lightning.clients.ConvNet", "ggl_lightning.clients.LeNet", "ggl_lightning.clients.MLP",
    "ggl_lightning.clients.ResNet18", "ggl_lightning.clients.TorchvisionClassifier",
    "ggl_lightning.priors.ModulePrior", "ggl_lightning.priors.BigGANPrior",
    "ggl_lightning.priors.WGANGPPrior", "ggl_lightning.priors.base.Prior",
    "ggl_lightning.data.celeba.CelebADataModule", "ggl_lightning.data.imagenet.ImageNetDataModule",
    "ggl_lightning.data.image_folders.ImageFolderDataModule",
    "ggl_lightning.audit.RandomImages",
    "ggl_lightning.audit.ClassBalancedImages",
    "ggl_lightning.clients.GradientUpdate", "ggl_lightning.clients.LocalSGD",
    "torch.nn.Linear", "torch.nn.Identity", "torch.optim.Adam", "torch.optim.SGD",
    "torch.optim.lr_scheduler.StepLR", "torch.optim.lr_scheduler.ReduceLROnPlateau",
    "torchvision.models.resnet18", "pytorch_lightning.loggers.CSVLogger",
    "pytorch_lightning.callbacks.EarlyStopping", "pytorch_lightning.callbacks.ModelCheckpoint",
    "lightning.pytorch.callbacks.ModelCheckpoint", "ModelCheckpoint", "os.system", "print", "int",
    "builtins.dict", "collections", "ggl_lightning", "ggl_lightning.", ".Noise", "a.b.C",
    "ggl_lightning.attacks.callbacks.SearchTimeLimit", "tests.tiny.TinyClient",
]  # fmt: skip

# Options that are in none of the files, and values for those that have few good ones.
_TRAINER: dict[str, list[str]] = {
    "accelerator": ["cpu", "gpu", "cuda", "mps", "tpu", "auto", "CPU", "npu", "x"],
    "devices": ["1", "auto", "0", "-1", "[0]", "[1]", "[0, 0]", "'1'", "'0,1'", "1.5", "[]",
                "null"],
    "strategy": ["auto", "ddp_x", "dp", "fsdp", "deepspeed", "DDP", "single_device", "null"],
    "precision": ["32-true", "32", "16", "64", "bf16", "16-true", "16-mixed", "bf16-mixed",
                  "bf16-true", "64-true", "float32", "transformer-engine", "8", "null"],
    "num_nodes": ["1", "0", "-1"],
    "logger": ["false", "true", "null", "[]", "CSVLogger", "TensorBoardLogger", "x",
               "pytorch_lightning.loggers.CSVLogger", "{class_path: CSVLogger}"],
    "callbacks": ["null", "[]", "RichProgressBar", "{class_path: LearningRateMonitor}", "x",
                  "[{class_path: pytorch_lightning.callbacks.Timer}]",
                  "{class_path: EarlyStopping}"],
    "fast_dev_run": ["true", "false", "1", "2", "0", "-1"],
    "limit_train_batches": ["0", "1", "2", "0.5", "1.0", "-1", "2.5"],
    "limit_val_batches": ["0", "1", "2", "0.5", "1.0", "-1", "2.5"],
    "limit_test_batches": ["0", "1", "2", "0.5", "1.0", "-1", "2.5"],
    "overfit_batches": ["0", "1", "0.5"],
    "val_check_interval": ["0", "1", "1.0", "0.5", "100", "2.5"],
    "check_val_every_n_epoch": ["1", "2", "0", "-1", "null"],
    "num_sanity_val_steps": ["0", "1", "-1", "-2", "2"],
    "log_every_n_steps": ["0", "1", "-1"],
    "enable_checkpointing": ["false", "true"],
    "enable_progress_bar": ["true", "false"],
    "enable_model_summary": ["true", "false"],
    "accumulate_grad_batches": ["1", "2", "0", "-1"],
    "gradient_clip_val": ["1", "0.5", "0", "-1"],
    "gradient_clip_algorithm": ["norm", "value", "x"],
    "deterministic": ["true", "warn", "x"],
    "benchmark": ["true"],
    "inference_mode": ["true", "false"],
    "use_distributed_sampler": ["true", "false"],
    "profiler": ["simple", "advanced", "x", "null"],
    "detect_anomaly": ["true"],
    "barebones": ["true"],
    "plugins": ["null", "x", "[]"],
    "sync_batchnorm": ["true"],
    "reload_dataloaders_every_n_epochs": ["1", "-1"],
    "default_root_dir": ["runs", "/nowhere/else", "''", "null"],
    "enable_autolog_hparams": ["false"],
    "model_registry": ["x", "null"],
    "max_epochs": ["1", "0", "-1", "2", "null", "1.5"],
    "max_steps": ["1", "0", "-1", "-2", "2"],
    "min_epochs": ["1", "0", "5"],
    "max_time": ["00:00:01:00", "1:00", "x", "null", "5"],
}  # fmt: skip
_AUDIT_SETTINGS: dict[str, list[str]] = {
    "model.update_rule": ["null", "GradientUpdate", "ggl_lightning.clients.LocalSGD", "x",
                          "{class_path: ggl_lightning.clients.LocalSGD, init_args: {steps: 0}}"],
    "model.procedure": ["null", "PlainGradient", "LocalTraining", "x",
                        "{class_path: LocalTraining, init_args: {batch_size: 0}}"],
    "model.utility": ["null", "{}", "true",
                      "{class_path: ggl_lightning.federated.FederatedTraining}",
                      "{rounds: 0}", "{rounds: 1, clients: 2, clients_per_round: 1}",
                      "{rounds: 1, clients: 1000, clients_per_round: 1}",
                      "{class_path: ggl_lightning.federated.FederatedTraining, init_args: {"
                      "rounds: 1, clients: 2, clients_per_round: 3, images_per_client_update: 1}}"],
    "model.attribute_classifiers": ["null", "{}", "{a: x}", "{A.B: {}}", "[]"],
    "model.random_samples": ["1", "2", "0", "-1"],
    "model.client_seed": ["0", "5", "-1", "18446744073709551616", "1.5"],
    "data.split": ["train", "valid", "val", "test", "Test", "all", "validation"],
    "data.client_batch": ["1", "2", "3", "0", "-1"],
    "data.controls": ["[]", "[null_random]", "[bound]", "[null_other, bound]", "[attack]", "[x]",
                      "[bound, bound]", "bound", "null", "[null_noise]", "[null-noise]", "[BOUND]"],
    "data.decoys": ["0", "1", "3", "-1", "1000"],
    "data.idx": ["0", "[0, 1]", "0-1", "[0-1, 3]", "'0'", "0-9:4", "1-0", "-1", "[0, 0]", "[]",
                 "010",
                 "400", "RandomImages", "{class_path: ggl_lightning.audit.RandomImages, "
                 "init_args: {count: 1}}", "{class_path: "
                 "ggl_lightning.audit.RandomImages, init_args: {count: 0}}",
                 "{class_path: ggl_lightning.audit.ClassBalancedImages, init_args: "
                 "{per_class: 1, classes: []}}"],
    "data.seeds": ["0", "[0, 1]", "[]", "[0, 0]", "-1", "1.0", "9223372036854775808", "007"],
    "data.images.init_args.target_attribute": ["Male", "male", "Young", "20", "40", "-1", "x",
                                               "02"],
    "data.images.init_args.image_size": ["32", "64", "16", "0", "-1", "33", "7", "1"],
    "data.images.init_args.batch_size": ["1", "0", "-1", "64"],
    "model.prior.init_args.checkpoint": ["null"],
    "model.trained_model": ["null"],
    "model.client_model.init_args.width": ["1", "2", "0", "-1", "3"],
    "model.client_model.init_args.num_classes": ["2", "1", "0", "-1", "3", "10"],
    "seed_everything": ["0", "1", "-1", "true", "false", "null", "4294967296"],
}  # fmt: skip
_TRAINING_SETTINGS: dict[str, list[str]] = {
    "ckpt_path": ["null", "last", "best", "hpc", "x.ckpt", "''"],
    "weights_only": ["true", "false", "null"],
    "seed_everything": ["0", "1", "-1", "true", "false", "null", "4294967296"],
    "data.init_args.batch_size": ["1", "2", "0", "-1", "1000"],
    "data.init_args.num_workers": ["0", "-1"],
    "data.init_args.image_size": ["32", "64", "16", "0", "7"],
    "data.init_args.target_attribute": ["Male", "male", "Young", "20", "40", "-1"],
    "data.init_args.drop_last": ["true", "false"],
    "data.init_args.persistent_workers": ["true", "false"],
    "data.init_args.cache_dir": ["null", "cache", "runs", "notes.txt", "~/cache"],
    "data.init_args.pin_memory": ["true"],
    "optimizer": ["SGD", "torch.optim.SGD", "{class_path: torch.optim.SGD, init_args: {lr: 0.1}}"],
    "lr_scheduler": ["torch.optim.lr_scheduler.StepLR"],
}  # fmt: skip
_CLIENT_SETTINGS: dict[str, list[str]] = {
    "model.client_model.init_args.width": ["1", "2", "0", "-1", "3"],
    "model.client_model.init_args.num_classes": ["2", "1", "0", "3", "10"],
    "model.optimizer": ["null", "SGD", "Adam", "torch.optim.Adam", "torch.optim.LBFGS"],
    "model.optimizer.init_args.lr": ["0", "-1", "1e30", "1e-3", ".nan", "x", "'0.1'"],
    "model.lr_scheduler": ["null", "StepLR", "ReduceLROnPlateau",
                           "{class_path: ReduceLROnPlateau, init_args: {monitor: val/accuracy}}",
                           "{class_path: ReduceLROnPlateau, init_args: {monitor: x}}",
                           "{class_path: torch.optim.lr_scheduler.ReduceLROnPlateau}",
                           "{class_path: StepLR, init_args: {step_size: 1}}"],
}  # fmt: skip
_GAN_SETTINGS: dict[str, list[str]] = {
    "model.width": ["1", "0", "-1", "8", "7"],
    "model.critic_width": ["1", "0", "-1", "null"],
    "model.latent_dim": ["1", "0", "-1", "8"],
    "model.image_size": ["32", "64", "16", "0", "33", "7"],
    "model.n_critic": ["1", "0", "-1", "5"],
    "model.learning_rate": ["0", "-1", "1e6", "1e-4", ".nan"],
    "model.betas": ["[0, 1]", "[0.5, 0.999]", "[0.5]", "0.5", "[0.5, 0.9, 0.9]", "[-1, 2]"],
    "model.ema_decay": ["0", "1", "-1", "2", "null", "0.999"],
    "model.penalty_weight": ["0", "-1", "10", ".inf"],
}  # fmt: skip

# Settings of which much costs much: only little is tried in runs.
_COSTLY = {
    "budget", "n_trials", "population", "initial", "batch_size", "restarts", "refine_steps",
    "random_samples", "decoys", "rounds", "clients", "clients_per_round", "width", "critic_width",
    "images_per_client_update", "latent_dim", "n_critic", "max_epochs", "num_workers",
    "train_images",
    "test_images", "image_size", "num_classes", "hidden_layers", "idx", "seeds", "per_class",
    "count",
    "T_max", "num_sanity_val_steps", "devices", "num_nodes", "min_epochs", "min_steps",
    "accumulate_grad_batches",
}  # fmt: skip
_AFFORDABLE = 30


@dataclass
class Draft:
    """A call while it is being changed."""

    script: str
    before: list[str]
    tree: Mapping
    costly: bool
    things: FilePath
    overlays: list[Mapping] = field(default_factory=list)
    options: list[tuple[list[str], Path, Node]] = field(default_factory=list)
    content: bytes | None = None
    words: list[str] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)
    mentions: set[str] = field(default_factory=set)

    def note(self, change: str, *mentions: str) -> None:
        self.changes.append(change)
        for mention in mentions:
            # A home folder is written out, a long text cut, and quotes may be what was typed.
            bare = mention.strip("'\"").removeprefix("~/")[:60]
            self.mentions.update(name for name in (bare or mention, *_within(mention)) if name)

    def call(self) -> Call:
        """What is typed in the end."""
        content = write(self.tree).encode() if self.content is None else self.content
        files = {"config.yaml": content}
        words = [*self.before, "--config", "config.yaml"]
        given = [] if self.content is not None else list(leaves(self.tree))
        for number, overlay in enumerate(self.overlays):
            name = f"more{number}.yaml"
            files[name] = write(overlay).encode()
            words += ["--config", name]
            given += leaves(overlay)
        for option_words, path, node in self.options:
            words += option_words
            given.append((path, node))
        return Call(
            self.script,
            words + self.words,
            files,
            given,
            self.changes,
            self.mentions,
            refused=self.content is None and repeats_a_key(self.tree),
        )


def _dotted(path: Path) -> str:
    return ".".join(path)


def _draw_path(draw: DrawFn, draft: Draft) -> Path:
    """A setting: one of the file, or one that it leaves out."""
    inside = list(paths(draft.tree))
    others = [tuple(name.split(".")) for name in _settings(draft)]
    others += [("trainer", name) for name in _TRAINER]
    if draft.costly:
        return draw(st.sampled_from(inside + others))
    values = [
        path
        for path in inside
        if path[-1] != "class_path" and isinstance(at(draft.tree, path), Scalar)
    ]
    return draw(st.sampled_from(draw(st.sampled_from([inside, values, values, others, others]))))


def _keys(path: Path) -> tuple[str, ...]:
    """The names by which a message may call a setting: it, and what it is part of."""
    own = tuple(step for step in path[-3:] if not step.isdecimal())
    return (*own, "federated training") if "utility" in own else own


def _within(text: str) -> list[str]:
    """The names in a value, by which a message may call it: of its keys and of its classes."""
    names = []
    for path, node in leaves(_as_node(text)):
        names += path
        if path[-1:] == ("class_path",) and isinstance(node, Scalar):
            names.append(node.content.rpartition(".")[2])
    return names


def _typo(draw: DrawFn, name: str) -> str:
    """A name as a slip makes it."""
    at_ = draw(st.integers(0, max(len(name) - 1, 0)))
    slips = [
        name[:at_] + name[at_ + 1 :],
        name[: at_ + 1] + name[at_:],
        name[:at_] + name[at_ : at_ + 2][::-1] + name[at_ + 2 :],
        name[:at_] + "x" + name[at_ + 1 :],
        name.upper(),
        name.capitalize(),
        name.lower(),
        name.swapcase(),
        name.replace("_", "-"),
        name.replace("_", ""),
        name + "s",
        name.rstrip("s"),
        name.rpartition(".")[2],
        name.replace(".", "/"),
        name + " ",
        "é" + name,
    ]
    return draw(st.sampled_from([slip for slip in dict.fromkeys(slips) if slip != name]))


def _good_or_bad(draw: DrawFn, draft: Draft, path: Path, current: Node | None) -> str:
    """Another value for a setting, as YAML."""
    known = [
        *(_settings(draft).get(_dotted(path), [])),
        *(_TRAINER.get(path[-1], []) if path[0] == "trainer" else []),
    ]
    pools = [st.sampled_from(_NUMBERS), st.sampled_from(_WORDS)]
    if not draft.costly:
        pools += [st.sampled_from(_LIKELY)] * 4
    if known:
        pools += [st.sampled_from(known)] * (4 if draft.costly else 12)
    if path[-1] == "class_path":
        pools = [st.sampled_from(_CLASSES)] * 3 + pools
    if path[-1] in {"root", "checkpoint", "weights", "trained_model", "ckpt_path"}:
        pools += [st.sampled_from(_files(draft.things))] * 3
    if isinstance(current, Scalar) and current.text:
        pools.append(st.builds(lambda: _typo(draw, current.text)))
        pools.append(st.sampled_from([f"'{current.content}'", f"[{current.text}]"]))
    text = draw(st.one_of(pools))
    if not draft.costly and _is_costly(path, text):
        return draw(st.sampled_from(["0", "1", "-1", "2", "x", "null"]))
    return text


def _is_costly(path: Path, text: str) -> bool:
    if not set(path) & _COSTLY:
        return False
    try:
        return not abs(float(text.strip("'\"").replace("_", "").replace(",", ""))) <= _AFFORDABLE
    except ValueError:
        return any(len(word) > 4 and word.isdigit() for word in text.replace("-", " ").split())


def _files(things: FilePath) -> list[str]:
    return [
        "nowhere", "config.yaml", "''", "~", "~/nowhere", "~nosuchuser/x", "nowhere/at/all.pt",
        *(str(path) for path in sorted(things.iterdir())),
    ]  # fmt: skip


def _settings(draft: Draft) -> dict[str, list[str]]:
    if draft.script == "audit.py":
        return _AUDIT_SETTINGS
    own = _GAN_SETTINGS if draft.script == "train_gan.py" else _CLIENT_SETTINGS
    return _TRAINING_SETTINGS | own


# --- Changes: each draws one and makes it. ---


def _drop(draw: DrawFn, draft: Draft) -> None:
    path = draw(st.sampled_from(list(paths(draft.tree))))
    above = at(draft.tree, path[:-1])
    if isinstance(above, Mapping):
        del above.pairs[above.position(path[-1])]
    else:
        del above.items[int(path[-1])]
    draft.note(f"without {_dotted(path)}", *path)


def _repeat(draw: DrawFn, draft: Draft) -> None:
    path = draw(st.sampled_from(list(paths(draft.tree))))
    above = at(draft.tree, path[:-1])
    if not isinstance(above, Mapping):
        return
    value = duplicate(above[path[-1]])
    if draw(st.booleans()):
        value = Scalar(_good_or_bad(draw, draft, path, value))
    above.pairs.insert(draw(st.integers(0, len(above.pairs))), (path[-1], value))
    draft.note(f"{_dotted(path)} twice", *_keys(path))


def _misspell_key(draw: DrawFn, draft: Draft) -> None:
    path = draw(st.sampled_from([p for p in paths(draft.tree) if not p[-1].isdecimal()]))
    above = at(draft.tree, path[:-1])
    position = above.position(path[-1])
    name = _typo(draw, path[-1])
    if name.strip() != name or name == "":
        name = repr(name)
    above.pairs[position] = (name, above.pairs[position][1])
    draft.note(f"{_dotted(path)} spelled {name}", name, *_keys(path))


def _set(draw: DrawFn, draft: Draft) -> None:
    path = _draw_path(draw, draft)
    text = _good_or_bad(draw, draft, path, _current(draft, path))
    put(draft.tree, path, _as_node(text))
    if isinstance(_as_node(text), Scalar) and text in _BROKEN_YAML:
        draft.content = write(draft.tree).encode()
    draft.note(f"{_dotted(path)}: {text}", text, *_keys(path))


def _break_yaml(draw: DrawFn, draft: Draft) -> None:
    path = draw(st.sampled_from(list(paths(draft.tree))))
    text = draw(st.sampled_from(_BROKEN_YAML))
    put(draft.tree, path, Scalar(text))
    draft.content = write(draft.tree).encode()
    draft.note(f"{_dotted(path)}: {text}", text.strip("'\""), "config.yaml", *_keys(path))


def _set_in_trainer(draw: DrawFn, draft: Draft) -> None:
    path = ("trainer", draw(st.sampled_from(sorted(_TRAINER))))
    text = _good_or_bad(draw, draft, path, None)
    put(draft.tree, path, _as_node(text))
    draft.note(f"{_dotted(path)}: {text}", text, *_keys(path))


def _option(draw: DrawFn, draft: Draft, name: str, text: str, path: Path) -> None:
    words = draw(st.sampled_from([[f"--{name}", text], [f"--{name}={text}"]]))
    draft.options.append((words, path, _as_node(text)))
    draft.note(shlex.join(words), text, *_keys(path), *name.split("."))


def _give_option(draw: DrawFn, draft: Draft) -> None:
    path = _draw_path(draw, draft)
    for _ in range(draw(st.sampled_from([1, 1, 1, 2]))):
        text = _good_or_bad(draw, draft, path, _current(draft, path))
        _option(draw, draft, _dotted(path), text, path)


def _misspell_option(draw: DrawFn, draft: Draft) -> None:
    known = [_dotted(path) for path in paths(draft.tree)]
    if draft.script == "audit.py":
        known += [*SHORTCUTS, *FOR_EVERY_ATTACK, "defense", "d_param", "client", "ng_method"]
    name = draw(st.sampled_from(known))
    spelled = _typo(draw, name)
    text = draw(st.sampled_from(["1", "0", "x", "true"]))
    path = tuple(spelled.split("."))
    _option(draw, draft, spelled, text, path)


def _give_shortcut(draw: DrawFn, draft: Draft) -> None:
    if draft.script != "audit.py":
        return _give_option(draw, draft)
    values = {
        "out_dir": ["elsewhere", "~/runs", "", "a/b", "é", "notes.txt", "/proc/x", ".", "010",
                    "1e3"],
        "exp_name": ["a", "0123", "2024_01_01", "a/b", "..", "", "é", "a b", "no", "1e3", "null",
                     "-x"],
        "trained_model": _files(draft.things),
        "idx": _AUDIT_SETTINGS["data.idx"],
        "seed": ["0", "5", "-1", "1.5", "007", "[0, 1]", "x"],
        "gpu": ["0", "-1", "x"],
        "budget": ["1", "2", "0", "-1", "1.5", "x", "007", "null", "1e1", ""],
        "n_trials": ["1", "2", "0", "-1", "x"],
        "adaptive": ["true", "false", "yes", "1", "0", "x", "TRUE", "null"],
        "use_weight": ["true", "false", "[1, 2]", "x"],
        "defense": [*DEFENSES, "Noise", "nosie", "", "null", "dp_sgd", "sign", "[none, noise]"],
        "d_param": ["0.1", "1", "0", "-1", "1e38", ".nan", "x", "101", "1e-3", "0,1"],
        "ng_method": ["CMA", "adam", "Adam", "BO", "bo", "DE", "cma", "x", "OnePlusOne", "PSO"],
        "client": ["ResNet18", "resnet18", "Resnet18", "MLP", "LeNet", "ConvNet", "vit_b_16",
                   "alexnet",
                   "x", "", "mobilenet_v2", "models.resnet18"],
        "model": ["ResNet18", "resnet18", "nowhere.yaml", "config.yaml", "MLP"],
    }  # fmt: skip
    name = draw(st.sampled_from(sorted(values)))
    text = draw(st.sampled_from(values[name]))
    if not draft.costly and _is_costly((name,), text):
        text = "1"
    if name == "model":
        draft.options.append(([f"--{name}", text], ("client",), Scalar(text)))
        if text == "config.yaml":
            draft.options[-1] = ([f"--{name}", text], ("client",), Scalar(""))
        draft.note(f"--{name} {text}", name, text, "client")
    elif name in {"adaptive", "use_weight"} and draw(st.booleans()):
        draft.options.append(([f"--{name}"], (name,), Scalar("true")))
        draft.note(f"--{name}", name)
    else:
        _option(draw, draft, name, text, (name,))
    if name == "d_param" or (name == "defense" and draw(st.booleans())):
        other = "defense" if name == "d_param" else "d_param"
        _option(draw, draft, other, draw(st.sampled_from(values[other])), (other,))


def _second_file(draw: DrawFn, draft: Draft) -> None:
    overlay = Mapping()
    for _ in range(draw(st.sampled_from([1, 1, 2]))):
        path = _draw_path(draw, draft)
        if any(step.isdecimal() for step in path):
            continue
        text = _good_or_bad(draw, draft, path, _current(draft, path))
        put(overlay, path, _as_node(text))
        draft.note(f"second file: {_dotted(path)}: {text}", text, *_keys(path))
    if overlay.pairs:
        draft.overlays.append(overlay)


def _other_file(draw: DrawFn, draft: Draft) -> None:
    text = write(draft.tree)
    contents: dict[str, bytes] = {
        "empty": b"",
        "only a comment": b"# nothing\n",
        "a list": b"- 1\n- 2\n",
        "a word": b"hello\n",
        "a number": b"12\n",
        "null": b"null\n",
        "UTF-16": text.encode("utf-16"),
        "Latin-1": text.replace("32", "32  # \xe9", 1).encode("latin-1"),
        "with a byte-order mark": text.encode("utf-8-sig"),
        "with carriage returns": text.replace("\n", "\r\n").encode(),
        "with tabs": text.replace("  ", "\t").encode(),
        "JSON": b'{"model": {}}',
        "a picture": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
        "zeros": bytes(64),
        "cut off": text[: len(text) * 2 // 3].encode(),
        "two documents": f"{text}---\n{text}".encode(),
        "of another command": _other_command(draft.script),
        "indented": "".join(f"  {line}\n" for line in text.splitlines()).encode(),
        "notes": b"what to do: nothing\n  - more\n",
    }
    what = draw(st.sampled_from(sorted(contents)))
    draft.content = contents[what]
    draft.note(
        f"the file is {what}", "config.yaml", "config", "model", "data", "what to do", "trainer"
    )


def _other_command(script: str) -> bytes:
    other = "gan/demo.yaml" if script == "audit.py" else "audit/demo.yaml"
    return (REPOSITORY / "configs" / other).read_bytes()


def _bad_words(draw: DrawFn, draft: Draft) -> None:
    """Words of the command line that no setting has."""
    words = draw(
        st.sampled_from(
            [
                ["--budget"], ["--nosuch", "1"], ["--nosuch=1"], ["-x"], ["extra"], ["--"],
                ["--=1"],
                ["--model"], ["--config"], ["--config", "nowhere.yaml"], ["--config", "."],
                ["--config="], ["--confg", "config.yaml"], ["--model.nosuch", "1"],
                ["--trainer", "1"], ["--data", "x"], ["--model.prior", "nosuch"], ["--version=1"],
                ["--trainer.callbacks+", "x"], ["--trainer.nosuch=1"], ["--model.", "1"],
                ["—budget"],
                ["--budget 1"], ["budget=1"], ["--data.images", "CelebADataModul"],
                ["--print-config"],
            ]
        )
    )  # fmt: skip
    draft.words += words
    draft.note(shlex.join(words), *_parts(words))


def _parts(words: list[str]) -> list[str]:
    return [part for word in words for part in (word, *re.split("[ =.]", word)) if part]


def _bad_subcommand(draw: DrawFn, draft: Draft) -> None:
    if not draft.before:
        return _bad_words(draw, draft)
    word = draw(
        st.sampled_from(["", "Fit", "train", "fit fit", "test", "predict", "validate", "-"])
    )
    draft.before = word.split()
    draft.note(f"subcommand {word!r}", word, "fit", "subcommand", "config")


def _current(draft: Draft, path: Path) -> Node | None:
    try:
        return at(draft.tree, path)
    except (TypeError, KeyError, IndexError, AttributeError, ValueError):
        return None


def _as_node(text: str) -> Node:
    try:
        node = parse(text)
    except yaml.YAMLError:
        return Scalar(text)
    return Scalar(text) if isinstance(node, Scalar) else node


Change = Callable[[DrawFn, Draft], None]

_CHANGES: list[Change] = [
    _drop,
    _repeat,
    _misspell_key,
    *[_set] * 3,
    _break_yaml,
    *[_set_in_trainer] * 2,
    *[_give_option] * 2,
    _misspell_option,
    *[_give_shortcut] * 2,
    *[_second_file] * 2,
    _other_file,
    _bad_words,
    _bad_subcommand,
]
# Most others end before anything is built.
_CHANGES_FOR_RUNS: list[Change] = [
    _drop,
    *[_set] * 5,
    *[_set_in_trainer] * 3,
    *[_give_option] * 3,
    *[_give_shortcut] * 3,
    _second_file,
]


@st.composite
def changed(draw: DrawFn, bases: dict[str, Mapping], things: FilePath, costly: bool) -> Call:
    """A shipped configuration with one or two changes.

    Args:
        draw: Hypothesis's.
        bases: Configurations by their path below ``configs``.
        things: A folder of files that are no configurations.
        costly: Whether values that would make a run long are drawn too.
    """
    kind = draw(st.sampled_from(sorted({name.partition("/")[0] for name in bases})))
    name = draw(st.sampled_from(sorted(name for name in bases if name.startswith(kind))))
    draft = Draft(
        script={"audit": "audit.py", "gan": "train_gan.py", "client": "train_client.py"}[kind],
        before=[] if kind == "audit" else ["fit"],
        tree=duplicate(bases[name]),
        costly=costly,
        things=things,
        changes=[name],
    )
    for _ in range(draw(st.sampled_from([1, 1, 1, 2] if costly else [1, 1, 2, 3]))):
        draw(st.sampled_from(_CHANGES if costly else _CHANGES_FOR_RUNS))(draw, draft)
    return draft.call()


def shipped() -> dict[str, Mapping]:
    """The shipped configurations, by their path below ``configs``."""
    folder = REPOSITORY / "configs"
    return {
        path.relative_to(folder).as_posix(): parse(path.read_text())
        for path in sorted(folder.rglob("*.yaml"))
    }


def tiny(trees: dict[str, Mapping], faces: FilePath) -> dict[str, Mapping]:
    """The configurations of faces, so small that they are run in seconds.

    Args:
        trees: From `shipped`.
        faces: Root of the data.
    """
    small = {}
    for name, tree in trees.items():
        # The demo's closed forms need more public images and decoys than there are here.
        if "imagenet" in name or "natural" in name or name == "audit/demo.yaml":
            continue
        tree = duplicate(tree)
        everything = _TINY["audit" if name.startswith("audit") else name.partition("/")[0]]
        for dotted, text in everything.items():
            put(tree, tuple(dotted.split(".")), _as_node(text.replace("FACES", str(faces))))
        if name.startswith("audit"):
            if "client_batch" in tree["data"]:
                # One client, with all the images that its update is of.
                images = range(int(tree["data"]["client_batch"].text))
                tree["data"].set("idx", _as_node(str(list(images))))
            for _, attack in tree["data"]["attacks"].pairs:
                _shrink(attack["init_args"])
        small[name] = tree
    return small


def _shrink(attack: Mapping) -> None:
    """Gives an attack the least budget that its search can do with."""
    search = attack["search"]["init_args"]
    least = {"budget": "1", "n_trials": "1", "refine_steps": "1"}
    if "initial" in search:
        least["budget"] = "3"
    for settings, values in (
        (attack, least),
        (search, {"population": "2", "restarts": "1", "initial": "2", "batch_size": "1"}),
    ):
        for name, text in values.items():
            if name in settings:
                settings.set(name, Scalar(text))


_TINY = {
    "audit": {
        "model.client_model.init_args.width": "4",
        "model.random_samples": "2",
        "model.utility": "null",
        "model.out_dir": "runs",
        "model.exp_name": "audit",
        "data.images.init_args.root": "FACES",
        "data.idx": "[0]",
        "data.controls": "[]",
        "data.decoys": "0",
        "trainer.accelerator": "cpu",
    },
    "client": {
        "model.client_model.init_args.width": "4",
        "data.init_args.root": "FACES",
        "data.init_args.batch_size": "4",
        "data.init_args.num_workers": "0",
        "data.init_args.pin_memory": "false",
        "data.init_args.cache_dir": "null",
        "trainer.max_epochs": "1",
        "trainer.accelerator": "cpu",
    },
    "gan": {
        "model.width": "4",
        "model.critic_width": "4",
        "model.latent_dim": "8",
        "data.init_args.root": "FACES",
        "data.init_args.batch_size": "4",
        "data.init_args.num_workers": "0",
        "data.init_args.pin_memory": "false",
        "data.init_args.cache_dir": "null",
        "trainer.max_epochs": "1",
        "trainer.accelerator": "cpu",
        "trainer.precision": "32-true",
    },
}


def one_case(tree: Mapping, attack: str, defense: str) -> Mapping:
    """An audit's configuration with one attack, and one defense beside none."""
    tree = duplicate(tree)
    data = tree["data"]
    data.set("attacks", Mapping([(attack, data["attacks"][attack])]))
    keep = dict.fromkeys(["none", defense])
    data.set("defenses", Mapping([(name, data["defenses"][name]) for name in keep]))
    return tree


def single_cases(trees: dict[str, Mapping]) -> dict[str, Mapping]:
    """Configurations of audits cut down to one attack and two defenses, in every pairing."""
    cut = {}
    for name, tree in trees.items():
        if not name.startswith("audit"):
            cut[name] = tree
            continue
        for attack, _ in tree["data"]["attacks"].pairs:
            for defense, _ in tree["data"]["defenses"].pairs:
                cut[f"{name}/{attack}/{defense}"] = one_case(tree, attack, defense)
    return cut
