"""A learnable task for tests in this folder and the processes they start."""

import torch
from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader, TensorDataset


def bright_or_dark(count: int, seed: int) -> TensorDataset:
    """Noisy 8x8 images; the label says whether the upper half is brighter than the lower."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    images = 0.6 * (torch.rand(count, 3, 8, 8, generator=generator) * 2 - 1)
    signs = (labels.float() * 2 - 1)[:, None, None, None]
    images[:, :, :4] += 0.2 * signs
    images[:, :, 4:] -= 0.2 * signs
    return TensorDataset(images, labels)


class BrightOrDark(LightningDataModule):
    def __init__(self, train_images: int = 128, val_images: int = 100, batch_size: int = 16):
        super().__init__()
        self.train_images = train_images
        self.val_images = val_images
        self.batch_size = batch_size

    def train_dataloader(self) -> DataLoader:
        return DataLoader(bright_or_dark(self.train_images, 0), self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(bright_or_dark(self.val_images, 1), self.batch_size)
