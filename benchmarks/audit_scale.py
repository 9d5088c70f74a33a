"""What an audit costs beside its searches, by the number of its cases.

Fills a run folder with finished cases, then runs the same audit into it: everything that an audit
does around its searches, at its start and at its end, happens then, and nothing else. One case of
each role is run for real, for two rounds; the others are written by the audit's own code with that
case's row and other numbers, with small images and loss curves of as many rounds as asked for.

    python benchmarks/audit_scale.py --json audit_scale.json
    python benchmarks/audit_scale.py --cases 100000 --split-size 162770
    python benchmarks/audit_scale.py --cases 1000000 --split-size 162770 --start-only

Times are of the CPU, user and system, since the folder is in the page cache: with a cold disk or
over a network, reading small files takes longer. Memory is the peak of the resident set (Linux).
Every number of cases has a process of its own.
"""

import ggl_lightning  # noqa: I001  (first: it repairs torchvision beside a CPU-only torch)

import argparse
import copy
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor
from torch.utils.data import Dataset

from ggl_lightning.attacks import GenerativeGradientLeakage, Progress
from ggl_lightning.attacks.searches.snapshots import RoundLosses
from ggl_lightning.attacks.searches import NevergradSearch
from ggl_lightning.audit.run import module as audit_module
from ggl_lightning.audit.plan import schedule
from ggl_lightning.audit.statistics import compute as statistics
from ggl_lightning.audit.plan.case import Case
from ggl_lightning.audit.plan.data_module import AuditDataModule
from ggl_lightning.audit.run.module import AuditModule
from ggl_lightning.audit.results.row import Outcome
from ggl_lightning.audit.report import build, page
from ggl_lightning.audit.results.row import row
from ggl_lightning.clients import ResNet18
from ggl_lightning.data.base import ImageDataModule
from ggl_lightning.defenses import NoDefense, Noise
from ggl_lightning.priors import WGANGPPrior

POOL = 256  # different images
RANKS = 64
FIRST = 200  # cases that are written as an audit writes them, each waiting for the disk


class PoolImages(Dataset):
    """Many indices, few images."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self._images, self._labels = images, labels

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self._images[index % POOL], int(self._labels[index])


class PoolDataModule(ImageDataModule):
    """A split of any size in no memory, with two classes."""

    image_size = 32

    def __init__(self, images: Tensor, count: int) -> None:
        super().__init__()
        self._labels = torch.randint(2, (count,), generator=torch.Generator().manual_seed(0))
        self._dataset = PoolImages(images, self._labels)

    def setup(self, stage: str) -> None:
        """Nothing to open."""

    def dataset(self, split: str) -> Dataset:
        """The same for every split."""
        return self._dataset

    def labels(self, split: str) -> Tensor:
        """Likewise."""
        return self._labels


class Meter:
    """CPU seconds of functions, of all their calls, those that they call included."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.peaks: dict[str, float] = {}

    @contextmanager
    def time(self, name: str) -> Iterator[None]:
        """Times a block."""
        started = time.process_time()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.process_time() - started

    @contextmanager
    def peak(self, name: str) -> Iterator[None]:
        """Also takes the peak of the memory within a block, in 2^20 bytes."""
        Path("/proc/self/clear_refs").write_text("5")
        with self.time(name):
            yield
        status = Path("/proc/self/status").read_text()
        (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
        self.peaks[name] = int(line.split()[1]) / 2**10

    def wrap(self, owner: Any, function: str, name: str) -> None:
        """Times a function of a class or module from now on."""
        original: Callable[..., Any] = getattr(owner, function)

        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.time(name):
                return original(*args, **kwargs)

        setattr(owner, function, timed)


def make_audit(
    folder: Path, images: int, split_size: int, rounds: int
) -> tuple[AuditModule, AuditDataModule]:
    """An audit of two defenses under one attack with all controls: eight cases for each image."""
    prior = WGANGPPrior()
    generator = torch.Generator().manual_seed(1)
    labels = torch.zeros(POOL, dtype=torch.long)
    pool = prior(prior.sample(POOL, generator), labels).detach()
    grid = AuditDataModule(
        PoolDataModule(pool, max(split_size, images)),
        {"cma": GenerativeGradientLeakage(NevergradSearch(), budget=rounds)},
        {"none": NoDefense(), "noise": Noise(0.1)},
        idx=f"0-{images - 1}",
    )
    module = AuditModule(lambda: ResNet18(width=8), prior, out_dir=str(folder), exp_name="scale")
    return module, grid


def templates(module: AuditModule, grid: AuditDataModule) -> dict[tuple, Outcome]:
    """What the first client's cases leave behind, each run for two rounds."""
    runner = module.runner(grid)
    found = {}
    for position, spec in enumerate(grid.cases.specs):
        if spec.indices != grid.cases.specs[0].indices:
            break
        case = grid.cases[position]
        short = copy.copy(case.attack)
        if isinstance(short, GenerativeGradientLeakage):
            short.budget = 2
        case = Case(spec, case.images, case.labels, case.defense, short)
        found[kind(case)] = runner.run(case, "", Progress())
    return found


def kind(case: Case) -> tuple:
    """What the cases of different images have in common."""
    return case.spec.role, case.spec.defense_name, case.spec.attack_name


def imitate(case: Case, key: str, template: Outcome, rounds: int, random: Any) -> Outcome:
    """A case like the template, with numbers of its own."""
    psnr = {"attack": 15.0, "bound": 20.0}.get(case.spec.role, 11.0) + random.normal() * 1.5
    mse = 4 * 10 ** (-psnr / 10)
    made = {
        name: value * (1 + 0.1 * random.normal())
        for name, value in template.result.items()
        if isinstance(value, float)
    }
    searched = bool(template.histories)
    done = {"rounds": rounds, "evaluations": 50 * rounds + 1} if searched else {}
    base = row(case, key, template.result["details"]["setting"])
    result = {
        **{name: template.result[name] if base[name] is None else base[name] for name in base},
        **made,
        **done,
        "details": {**template.result["details"], **base["details"]},
        "missing_metrics": template.result["missing_metrics"],
        "mse": mse,
        "psnr": psnr,
        "label_accuracy": template.result["label_accuracy"],
        "rank_pixel": int(random.integers(1, 102)),
        "rank_feature": int(random.integers(1, 102)),
    }
    losses = random.random((rounds, 3)).tolist() if searched else []
    history = [RoundLosses(50 * i, *three) for i, three in enumerate(losses, 1)]
    assert case.images is not None
    return Outcome(result, case.images.flip(3), template.artefacts, [history] if searched else [])


def fabricate(module: AuditModule, grid: AuditDataModule, rounds: int) -> dict[str, float]:
    """Writes all cases; returns what writing one takes, in milliseconds of wall time."""
    grid.setup("test")
    module.prepare(grid)
    module.run_folder.make()
    models, random = templates(module, grid), np.random.default_rng(0)

    def write(position: int) -> None:
        case = grid.cases[position]
        key = module.keys[case.spec.name]
        outcome = imitate(case, key, models[kind(case)], rounds, random)
        module.run_folder.write_case(case.images, outcome)

    started = time.perf_counter()
    for position in range(min(FIRST, len(grid.cases))):
        write(position)
    taken = time.perf_counter() - started
    with mock.patch.object(os, "fsync"):
        for position in range(FIRST, len(grid.cases)):
            write(position)
    return {"ms_to_write_a_case_with_fsync": 1e3 * taken / FIRST}


def usage(folder: Path) -> dict[str, float]:
    """Bytes and files below a folder."""
    apparent = blocks = files = 0
    for root, folders, names in os.walk(folder):
        for name in [*names, *folders]:
            found = os.lstat(Path(root) / name)
            files += 1
            blocks += 512 * found.st_blocks
            apparent += found.st_size if name in names else 0
    return {"bytes": apparent, "bytes_on_disk": blocks, "inodes": files}


def measure(folder: Path, options: argparse.Namespace) -> dict[str, object]:
    """Runs an audit whose cases are all finished."""
    images = max(1, options.only // 8)
    numbers: dict[str, object] = {}
    module, grid = make_audit(folder, images, options.split_size, options.rounds)
    numbers |= fabricate(module, grid, options.rounds)
    stored = usage(folder / "scale" / "cases")
    cases = len(grid.cases)
    numbers |= {f"{name}_per_case": value / cases for name, value in stored.items()}
    numbers |= {"cases": cases, "images": images}
    del module, grid

    meter = Meter()
    module, grid = make_audit(folder, images, options.split_size, options.rounds)
    for owner, function, name in (
        (AuditDataModule, "setup", "start: grid"),
        (AuditModule, "prepare", "start: keys"),
        (AuditModule, "setup", "start: all but grid"),
        (AuditModule, "on_test_epoch_end", "end: all"),
        (audit_module, "log_outcome", "end: TensorBoard"),
        (audit_module, "collect", "end: reading"),
        (build, "compute_statistics", "end: statistics"),
        (statistics, "defense_differences", "end: statistics: differences"),
        (build, "results_table", "end: table"),
        (build, "write_chunks", "end: writing tables and page"),
        (build, "parquet_bytes", "end: Parquet"),
        (build, "render_page", "end: page"),
        (page, "_loss_figures", "end: page: loss curves"),
        (page, "make_grid", "end: page: pictures"),
    ):
        meter.wrap(owner, function, name)
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1,
        inference_mode=False,
        use_distributed_sampler=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        logger=TensorBoardLogger(module.run_folder.path, name="tensorboard", version=""),
    )
    with meter.peak("nothing"):
        pass
    with meter.peak("everything"):
        trainer.test(module, grid, verbose=False)
    with meter.time("share out"):
        schedule.share_out([grid.cases.cost(i) for i in range(cases)], RANKS)
    files = [file for file in module.run_folder.path.iterdir() if file.is_file()]
    return {
        **numbers,
        "cpu_seconds": meter.seconds,
        "peak_mb": meter.peaks,
        "file_bytes": {file.name: file.stat().st_size for file in files},
        "torch": torch.__version__,
        "ggl_lightning": ggl_lightning.__version__,
    }


def measure_start(folder: Path, options: argparse.Namespace) -> dict[str, object]:
    """What every process of an audit does before its first case, and holds from then on."""
    meter = Meter()
    module, grid = make_audit(folder, options.only // 8, options.split_size, options.rounds)
    with meter.peak("nothing"):
        pass
    with meter.peak("start: grid"):
        grid.setup("test")
    with meter.peak("start: keys"):
        module.prepare(grid)
    with meter.peak("share out"):
        schedule.share_out([grid.cases.cost(i) for i in range(len(grid.cases))], RANKS)
    return {"cases": len(grid.cases), "cpu_seconds": meter.seconds, "peak_mb": meter.peaks}


def in_fresh_process(options: argparse.Namespace, cases: int) -> dict[str, Any]:
    """The numbers of so many cases."""
    command = [
        *(sys.executable, __file__, f"--only={cases}", f"--rounds={options.rounds}"),
        f"--split-size={options.split_size}",
        *(["--start-only"] if options.start_only else []),
    ]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, nargs="+", default=[1000, 10000])
    parser.add_argument("--rounds", type=int, default=200, help="rounds of each loss curve")
    parser.add_argument("--split-size", type=int, default=20000, help="images in the split")
    parser.add_argument("--start-only", action="store_true", help="only what needs no files")
    parser.add_argument("--json", type=Path, help="file to write the numbers to")
    parser.add_argument("--only", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        warnings.simplefilter("ignore")
        with tempfile.TemporaryDirectory() as folder:
            run = measure_start if options.start_only else measure
            print(json.dumps(run(Path(folder), options)))
        return
    found = []
    for cases in options.cases:
        found.append(in_fresh_process(options, cases))
        print(json.dumps(found[-1], indent=2))
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
