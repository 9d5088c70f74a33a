"""Dataloaders over the three splits, the same for every source of images."""

from __future__ import annotations

import os

from torch.utils.data import DataLoader

from ggl_lightning.data.base import ImageDataModule
from ggl_lightning.errors import UserError, check_non_negative, check_positive

SPLITS = ("train", "valid", "test")

_MANY_WORKERS = 64  # that a machine of few cores may still be asked for

_SPLITS_OF_STAGE = {
    "fit": ("train", "valid"),
    "validate": ("valid",),
    "test": ("test",),
    "predict": (),
    None: SPLITS,
}


class SplitLoaders(ImageDataModule):
    """An image data module whose dataloaders follow from `dataset`.

    Args:
        batch_size: Images per batch.
        num_workers: Processes that load batches; 0 loads them in the main process.
        pin_memory: Whether batches lie in pinned memory, for quicker copies to a GPU.
        persistent_workers: Whether workers live on between epochs; without workers, no effect.
        drop_last: Whether training drops the last, smaller batch. Validation and test never do.

    Raises:
        UserError: If a setting is out of range.
    """

    def __init__(
        self,
        batch_size: int = 64,
        num_workers: int = 0,
        pin_memory: bool = False,
        persistent_workers: bool = True,
        drop_last: bool = True,
    ) -> None:
        super().__init__()
        check_positive("batch_size", batch_size)
        check_non_negative("num_workers", num_workers)
        most = max(_MANY_WORKERS, 4 * (os.cpu_count() or 1))
        if num_workers > most:
            raise UserError(
                f"num_workers is {num_workers}: each is a process of its own, and this machine has "
                f"{os.cpu_count()} cores. Give at most {most}."
            )
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.pin_memory = pin_memory
        self.persistent_workers = persistent_workers
        self.drop_last = drop_last

    def open_split(self, split: str) -> None:
        """See `ImageDataModule.open_split`; no other split is looked at."""
        self.dataset(split)

    def setup(self, stage: str | None = None) -> None:
        """Opens the splits that the stage reads.

        Args:
            stage: ``fit``, ``validate``, ``test``, ``predict``, or None for all splits.
        """
        for split in _SPLITS_OF_STAGE[stage]:
            self.dataset(split)

    def train_dataloader(self) -> DataLoader:
        """The train split, shuffled.

        Raises:
            UserError: If it has fewer images than a batch, and the last batch is dropped.
        """
        count = len(self.dataset("train"))  # type: ignore[arg-type]
        if self.drop_last and count < self.batch_size:
            raise UserError(
                f"batch_size is {self.batch_size}, but the train split has only {count} images: "
                "lower batch_size, or set drop_last to false."
            )
        return self._loader("train", shuffle=True, drop_last=self.drop_last)

    def val_dataloader(self) -> DataLoader:
        """The valid split, in order."""
        return self._loader("valid")

    def test_dataloader(self) -> DataLoader:
        """The test split, in order."""
        return self._loader("test")

    def _loader(self, split: str, shuffle: bool = False, drop_last: bool = False) -> DataLoader:
        return DataLoader(
            self.dataset(split),
            batch_size=self.batch_size,
            shuffle=shuffle,
            drop_last=drop_last,
            num_workers=self.num_workers,
            pin_memory=self.pin_memory,
            persistent_workers=self.persistent_workers and self.num_workers > 0,
        )
