"""An audit's outcome in TensorBoard: verdict, parameters and metrics, every client's pictures."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from itertools import groupby, islice
from pathlib import Path

import torch
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams
from torchvision.transforms.functional import to_tensor
from torchvision.utils import make_grid

from ggl_lightning.audit.plan.controls import role_of
from ggl_lightning.audit.plan.roles import ATTACK
from ggl_lightning.audit.results.pictures import read_picture
from ggl_lightning.audit.results.run_folder import RunFolder
from ggl_lightning.audit.results.schema import Row, columns, is_done
from ggl_lightning.audit.results.values import makes_images, metric_value, source_of

_MOST_CASES = 500  # a file each
_MOST_CLIENTS = 100
_MORE = (
    "All results are in `report.html` in the run folder, with how to read them. Means of each "
    "defense and attack are in Scalars (`audit_means`), single cases in HParams, pictures of each "
    "client in Images (`clients`); all else is of single searches, by the names of their cases."
)


def log_outcome(
    loggers: Sequence[TensorBoardLogger],
    folder: RunFolder,
    rows: Sequence[Row],
    verdict: Sequence[str],
) -> None:
    """Writes the verdict, HParams of the attacks' cases and a picture for every client.

    HParams that an earlier run into the same folder has written are not written again. Beyond 500
    cases and 100 clients the rest is left to the report.

    Args:
        loggers: Where to.
        folder: The run folder the pictures are in.
        rows: All rows of the audit.
        verdict: What is to be said of it, line by line; nothing is written if there are none.
    """
    done = [row for row in rows if is_done(row)]
    for logger in loggers:
        if verdict:
            logger.experiment.add_text("audit", "\n\n".join([*verdict, _MORE]))
        for row in [row for row in done if row["role"] == ATTACK.name][:_MOST_CASES]:
            _log_parameters(Path(logger.log_dir) / "hparams" / row["name"], row)
        clients = groupby(done, key=lambda row: (row["seed"], source_of(row)))
        for (seed, source), members in islice(clients, _MOST_CLIENTS):
            cases = list(members)
            client = f"image{source:06d}" if isinstance(source, int) else source
            tag = f"clients/{client}_seed{seed}"
            pictures = _pictures(folder, cases)
            picture = _side_by_side([file for _, file in pictures])
            if picture is not None:
                logger.experiment.add_image(tag, picture)
                titles = [title for title, _ in pictures]
                logger.experiment.add_text(tag, _caption(tag, titles))


def _log_parameters(path: Path, row: Row) -> None:
    if path.exists():
        return
    parameters = {
        name: value
        for name, value in (row["defense_parameters"] or {}).items()
        if isinstance(value, bool | int | float | str) and name != "class"
    }
    given = {"defense": row["defense"], "attack": row["attack"], "seed": row["seed"]}
    metrics = {
        column.name: value
        for column in columns()
        if column.is_hparam and (value := metric_value(row, column.name)) is not None
    }
    # Without the list of names that add_hparams writes as well, of which TensorBoard takes one
    # case's for all: parameters that only other defenses have would not be shown.
    _, start, end = hparams({**given, "image": source_of(row), **parameters}, metrics)
    unfinished = path.with_name(f".{path.name}")
    try:
        with SummaryWriter(str(unfinished)) as writer:
            for summary in (start, end):
                writer.file_writer.add_summary(summary)
            for name, value in metrics.items():
                writer.add_scalar(name, value)
        unfinished.rename(path)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _pictures(folder: RunFolder, cases: Sequence[Row]) -> list[tuple[str, Path]]:
    """Titles and files: the private images, if they were given, then every reconstruction."""
    original = ("private image", folder.picture(cases[0]["name"], "original"))
    found = [
        (_title(case), folder.picture(case["name"], "reconstruction"))
        for case in cases
        if makes_images(case)
    ]
    was_given = cases[0]["image_index"] is not None or original[1].exists()
    return [original, *found] if was_given else found


def _side_by_side(files: Sequence[Path]) -> Tensor | None:
    """Pictures in their order, ``(3, H, W)`` in [0, 1]; None if one of them cannot be read."""
    images = [to_tensor(image) for file in files if (image := read_picture(file)) is not None]
    if len(images) < len(files):
        return None
    return make_grid(torch.stack(images), nrow=len(images), padding=2, pad_value=1)


def _title(case: Row) -> str:
    """What a case's picture is, for readers, and how close it comes."""
    role = case["role"]
    picture = "reconstruction" if role == ATTACK.name else role_of(role).title
    title = ", ".join(str(part) for part in (picture, case["defense"], case["attack"]) if part)
    psnr = metric_value(case, "psnr")
    return title if psnr is None else f"{title}: PSNR {psnr:.1f} dB"


def _caption(tag: str, titles: Sequence[str]) -> str:
    """What stands at each place of the picture, as a Markdown list."""
    listed = "\n".join(f"{place}. {title}" for place, title in enumerate(titles, 1))
    return f"From left to right in the picture `{tag}` (Images):\n\n{listed}"
