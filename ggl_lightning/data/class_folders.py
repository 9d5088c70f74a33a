"""Folders of classes as a dataset of images in [-1, 1]."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torchvision.datasets import ImageFolder
from torchvision.datasets.folder import IMG_EXTENSIONS
from torchvision.transforms import Compose

from ggl_lightning.data.image_files import open_image
from ggl_lightning.data.image_transform import image_pixels, to_signed_range
from ggl_lightning.data.imagenet_layout import class_folders, is_image_of
from ggl_lightning.errors import UserError


class ClassFolders(ImageFolder):
    """torchvision's ``ImageFolder`` with images in [-1, 1] and errors that name the file.

    Args:
        folder: A folder of class folders; some may be empty.
        image_size: Height and width of the images, in pixels.

    Attributes:
        samples: Path and label of each image.
        targets: The labels alone.

    Raises:
        UserError: If there is no image in any of them.
    """

    samples: list[tuple[str, int]]
    targets: list[int]

    def __init__(self, folder: Path, image_size: int) -> None:
        transform = Compose([image_pixels(image_size), to_signed_range])
        super().__init__(
            str(folder),
            transform,
            loader=open_image,
            is_valid_file=is_image_of(folder),
            allow_empty=True,
        )
        if not self.samples:
            raise UserError(
                f"the class folders in {folder} hold no images ({', '.join(IMG_EXTENSIONS)})."
            )

    def find_classes(self, directory: str | Path) -> tuple[list[str], dict[str, int]]:
        """The class folders in alphabetical order, and the index of each."""
        classes = sorted(class_folders(Path(directory)))
        return classes, {name: index for index, name in enumerate(classes)}

    def keep(self, indices: Sequence[int]) -> None:
        """Leaves all images out but some.

        Args:
            indices: Which ones stay, in their new order.
        """
        self.samples = self.imgs = [self.samples[index] for index in indices]
        self.targets = [label for _, label in self.samples]
