"""A data module of random images, for tests in this folder and the processes they start."""

import torch
from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader, TensorDataset


class TinyImages(LightningDataModule):
    def __init__(
        self, image_size: int = 32, n_images: int = 16, batch_size: int = 4, seed: int = 0
    ) -> None:
        super().__init__()
        noise = torch.Generator().manual_seed(seed)
        self.images = torch.rand(n_images, 3, image_size, image_size, generator=noise) * 2 - 1
        self.batch_size = batch_size

    def train_dataloader(self) -> DataLoader:
        labels = torch.zeros(len(self.images), dtype=torch.long)
        return DataLoader(TensorDataset(self.images, labels), self.batch_size)

    def val_dataloader(self) -> DataLoader:
        return self.train_dataloader()
