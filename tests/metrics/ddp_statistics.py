"""Every statistic on one process or two, of the same images; used by test_statistics_ddp.py."""

import warnings
from pathlib import Path

import ggl_lightning  # noqa: F401

# isort: split
import torch
from torch import distributed

from ggl_lightning.audit.statistics import compute_statistics
from ggl_lightning.metrics import (
    AttributeAgreement,
    BinomialRate,
    BootstrapMean,
    IdentificationRate,
    MissingError,
    NormalizedLeakage,
    PairedDifference,
    PairedRateDifference,
)
from tests.audit.result_rows import small_audit

COUNT = 11


def statistics_of(rank: int, world: int) -> dict[str, dict[str, float] | str]:
    """What every statistic computes when each rank gives its share of the images."""
    generator = torch.Generator().manual_seed(0)
    first, second, third = torch.rand(3, COUNT, generator=generator, dtype=torch.float64)
    ranks = torch.randint(1, 101, (COUNT,), generator=generator)
    images = torch.rand(2, COUNT, 3, 4, 4, generator=generator) * 2 - 1
    mine = torch.arange(rank, COUNT, world)
    theirs = torch.arange(COUNT).flip(0)[rank::world]  # b is elsewhere than a

    statistics = {
        "mean": BootstrapMean(),
        "only_on_rank_0": BootstrapMean(),
        "difference": PairedDifference(),
        "rate_difference": PairedRateDifference(),
        "rate": BinomialRate(),
        "identification": IdentificationRate(5),
        "leakage": NormalizedLeakage(higher_is_better=True),
        "nothing": BootstrapMean(),
    }
    for part in mine.split(2):
        statistics["mean"].update(first[part])
        statistics["rate"].update((first[part] > 0.3).double())
        statistics["identification"].update(ranks[part], 99)
        statistics["leakage"].update(first[part], second[part] - 1, third[part] + 1)
    if rank == 0:
        statistics["only_on_rank_0"].update(second)
    statistics["difference"].update(mine, a=first[mine])
    statistics["difference"].update(theirs, b=second[theirs])
    statistics["rate_difference"].update(mine, a=(first[mine] > 0.3).double())
    statistics["rate_difference"].update(theirs, b=(second[theirs] > 0.6).double())

    agreement = AttributeAgreement({"bright": Brightness().eval()})
    agreement.update(images[0, mine], images[1, mine])
    found: dict[str, dict[str, float] | str] = {"agreement": {"mean": agreement.compute().item()}}
    for name, statistic in statistics.items():
        try:
            found[name] = {key: value.item() for key, value in statistic.compute().items()}
        except MissingError as missing:
            found[name] = missing.reason
    return found


class Brightness(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean(dim=(1, 2, 3))


def run_rank(rank: int, world: int, folder: str) -> None:
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message=".*compute.*before.*update.*")
    store = f"file://{folder}/store"
    distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=world)
    found = statistics_of(rank, world)
    if rank == 0:  # as after an audit: the others are not there to synchronise with
        compute_statistics(*small_audit())
    torch.save(found, Path(folder) / f"rank{rank}.pt")
    distributed.destroy_process_group()
