"""Other images of the private images' classes: decoys, and other clients' private images."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ggl_lightning.tensor_hash import hash_tensors


class Companions:
    """Picks images of given classes from the private images' split.

    Picks depend on what is asked for alone, never on what was picked before.

    Args:
        images: The split.
        labels: Its labels ``(count,)``.
        decoys: Decoys per private image; fewer where a class has fewer other images.

    Attributes:
        reason: Why there are no decoys, if there are none.
    """

    reason = "no decoys: data.decoys is 0, or the class has no other image"

    def __init__(self, images: Dataset, labels: Tensor, decoys: int) -> None:
        self._images = images
        self._labels = labels
        self._decoys = decoys
        # Successive cases mostly share their classes.
        self._read_decoys = lru_cache(maxsize=4)(self._read)
        self._hash = lru_cache(maxsize=None)(self._hash_image)
        self._hash_all = lru_cache(maxsize=16)(self._hash_images)
        self._hash_content = lru_cache(maxsize=8)(self._hash_images_and_labels)
        self._class_order = lru_cache(maxsize=None)(self._shuffled_class)
        self._class_places = lru_cache(maxsize=None)(self._places_in_class)

    def decoy_indices(self, index: int) -> list[int]:
        """Indices of the decoys of one private image: others of its class, in random order."""
        return [other for other in self.decoy_pool(index) if other != index][: self._decoys]

    def decoy_pool(self, index: int) -> list[int]:
        """Indices of the images that decoys are taken from: the same for all images of a class.

        They are one more than needed, so that an image which is itself among them loses none.
        """
        return self._class_order(int(self._labels[index]))[: self._decoys + 1]

    def decoys(self, index: int) -> Tensor:
        """The decoys of one private image, ``(decoys, 3, H, W)`` in ``[-1, 1]``."""
        indices, pool = self.decoy_indices(index), self.decoy_pool(index)
        place = {other: position for position, other in enumerate(pool)}
        return self._read_decoys(tuple(pool))[[place[other] for other in indices]]

    def decoys_hash(self, index: int) -> str:
        """What stands for all that the decoys of one private image show; each is read once."""
        return self._hash_all(tuple(self.decoy_indices(index)))

    def have_others(self, indices: Sequence[int]) -> bool:
        """Whether every class of a client's images has as many others as the client has."""
        held = self._labels[list(indices)]
        return all(
            len(self._class_order(label)) >= 2 * int((held == label).sum())
            for label in held.unique().tolist()
        )

    def other_indices(self, indices: Sequence[int], seed: int) -> list[int]:
        """Images that another client may hold: of the same classes, none of them the same.

        Args:
            indices: A client's private images, which `have_others`.
            seed: Another seed, other images.

        Returns:
            As many indices, each of the class of its counterpart.
        """
        random = np.random.default_rng([seed, *indices])
        taken = set(indices)
        others = []
        for index in indices:
            label = int(self._labels[index])
            order, places = self._class_order(label), self._class_places(label)
            gone = sorted(places[i] for i in taken if i in places)
            place = int(random.integers(len(order) - len(gone)))
            for passed in gone:  # counts on over the taken ones; listing the rest takes too long
                place += passed <= place
            others.append(order[place])
            taken.add(order[place])
        return others

    def read(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Images ``(N, 3, H, W)`` in ``[-1, 1]`` and labels ``(N,)``."""
        return self._read(tuple(indices)), self._labels[list(indices)]

    def content_hash(self, indices: Sequence[int]) -> str:
        """What stands for some images and their labels."""
        return self._hash_content(tuple(indices))

    def _read(self, indices: tuple[int, ...]) -> Tensor:
        return torch.stack([self._images[index][0] for index in indices])

    def _hash_image(self, index: int) -> str:
        return hash_tensors({"image": self._images[index][0]})[:32]

    def _hash_images(self, indices: tuple[int, ...]) -> str:
        return hashlib.sha256(" ".join(map(self._hash, indices)).encode()).hexdigest()

    def _hash_images_and_labels(self, indices: tuple[int, ...]) -> str:
        images, labels = self.read(indices)
        return hash_tensors({"images": images, "labels": labels})

    def _shuffled_class(self, label: int) -> list[int]:
        members = (self._labels == label).nonzero()[:, 0].numpy()
        return np.random.default_rng([label]).permutation(members).tolist()

    def _places_in_class(self, label: int) -> dict[int, int]:
        return {index: place for place, index in enumerate(self._class_order(label))}
