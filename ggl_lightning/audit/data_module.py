"""The grid of cases an audit runs over."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Dataset, Subset

from ggl_lightning.attacks import GenerativeGradientLeakage
from ggl_lightning.audit.case import Case, check_name
from ggl_lightning.data.base import ImageDataModule
from ggl_lightning.defenses import Defense
from ggl_lightning.errors import UserError, check_positive


class CaseDataset(Dataset[Case]):
    """Private images x defenses x attacks x seeds.

    Seeds vary slowest and attacks fastest: a run that is cut short has complete comparisons of
    defenses and attacks on its first images.
    """

    def __init__(
        self,
        images: Dataset,
        idx: Sequence[int],
        defenses: dict[str, Defense],
        attacks: dict[str, GenerativeGradientLeakage],
        seeds: Sequence[int],
        client_batch: int = 1,
    ) -> None:
        self._images = images
        batches = [tuple(idx[i : i + client_batch]) for i in range(0, len(idx), client_batch)]
        self._grid = list(product(seeds, batches, defenses.items(), attacks.items()))

    def __len__(self) -> int:
        return len(self._grid)

    def __getitem__(self, position: int) -> Case:
        seed, indices, (defense_name, defense), (attack_name, attack) = self._grid[position]
        images, labels = zip(*(self._images[index] for index in indices), strict=True)
        return Case(
            indices=indices,
            images=torch.stack(images),
            labels=torch.tensor([int(label) for label in labels]),
            defense_name=defense_name,
            defense=defense,
            attack_name=attack_name,
            attack=attack,
            seed=seed,
        )


class AuditDataModule(pl.LightningDataModule):
    """Yields the cases of an audit, one at a time.

    Args:
        images: Where private images come from.
        attacks: Attacks by the name they have in results.
        defenses: Defenses by the name they have in results.
        idx: Indices of the private images within the split; one index or a list.
        seeds: Seeds of the cases.
        split: Split the private images are taken from.
        client_batch: Private images per client; ``idx`` is cut into batches of this size, in order.

    Raises:
        UserError: If a list is empty or has duplicates, a seed is negative, or a name is not safe
            in a file name; from `setup`, if an index is out of the split's range.
    """

    def __init__(
        self,
        images: ImageDataModule,
        attacks: dict[str, GenerativeGradientLeakage],
        defenses: dict[str, Defense],
        idx: int | list[int] = 0,
        seeds: int | list[int] = 0,
        split: str = "test",
        client_batch: int = 1,
    ) -> None:
        super().__init__()
        self.images = images
        self.attacks = attacks
        self.defenses = defenses
        self.idx = [idx] if isinstance(idx, int) else idx
        self.seeds = [seeds] if isinstance(seeds, int) else seeds
        self.split = split
        self.client_batch = client_batch
        check_positive("client_batch", client_batch)
        for what, values in (("idx", self.idx), ("seeds", self.seeds)):
            if not values or len(set(values)) < len(values):
                raise UserError(f"{what} is {values}: it must list at least one value, each once.")
        if len(self.idx) % client_batch:
            raise UserError(
                f"client_batch is {client_batch}, which does not divide the {len(self.idx)} "
                "private images of idx: every client needs a whole batch."
            )
        if min(self.seeds) < 0:
            raise UserError(f"seeds is {self.seeds}: a seed must not be negative.")
        for what, names in (("defense", defenses), ("attack", attacks)):
            if not names:
                raise UserError(f"The audit has no {what}: name at least one under data.{what}s.")
            for name in names:
                check_name(what, name)

    def prepare_data(self) -> None:
        """Lets the image data module prepare its files."""
        self.images.prepare_data()

    def setup(self, stage: str) -> None:
        """Opens the images and checks the indices."""
        self.images.setup(stage)
        images = self.images.dataset(self.split)
        count = len(images)  # type: ignore[arg-type]
        outside = [index for index in self.idx if not 0 <= index < count]
        if outside:
            raise UserError(
                f"idx {', '.join(map(str, outside))} is out of range: the {self.split} split has "
                f"{count} images, numbered 0 to {count - 1}."
            )
        self.cases = CaseDataset(
            images, self.idx, self.defenses, self.attacks, self.seeds, self.client_batch
        )

    def test_dataloader(self) -> DataLoader:
        """This process's share of the cases: every world-size-th one, without padding."""
        world = self.trainer.world_size if self.trainer is not None else 1
        rank = self.trainer.global_rank if self.trainer is not None else 0
        share = Subset(self.cases, range(rank, len(self.cases), world))
        return DataLoader(share, batch_size=None, num_workers=0)

    def transfer_batch_to_device(
        self, batch: Any, device: torch.device, dataloader_idx: int
    ) -> Any:
        """Leaves a case as it is; `AuditModule` moves what it needs."""
        return batch
