"""Everything that is measured of reconstructions beside their private images."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from ggl_lightning.audit.plan.companions import Companions
from ggl_lightning.audit.plan.controls import Samples
from ggl_lightning.audit.plan.sources import Lineup
from ggl_lightning.audit.results.schema import METRICS
from ggl_lightning.audit.results.schema.columns import NO_RECONSTRUCTION, ONLY_BY_RECONSTRUCTION
from ggl_lightning.audit.results.values import ceiling_of
from ggl_lightning.audit.run.chance import Chance
from ggl_lightning.audit.run.matching import match_to_originals
from ggl_lightning.clients import ClassifierLayer
from ggl_lightning.devices import device_of
from ggl_lightning.metrics import (
    AttributeAgreement,
    ReconstructionMetrics,
    identification_ranks,
    mean_psnr,
    rank_of_first,
    representation_of,
    tells_apart,
)

RankByUpdate = Callable[[Tensor], Tensor | None]
"""How unlikely images ``(M, 3, H, W)`` are to be behind an update, ``(M,)``, or None."""

_NO_CLASSIFIERS = "no attribute classifiers: name some under model.attribute_classifiers"
_NO_UPDATE = "a control that sees no update"
_COLLAPSED = (
    "the client model's features of the private image and of its decoys are equal up to rounding"
)


class Scorer:
    """Scores the reconstructions of one client.

    Args:
        metrics: What compares a reconstruction with its private image.
        client_model: The client model, in eval mode, on the device where images are.
        classifier: Its last layer; its input are the features that identify an image.
        companions: Where decoys come from.
        attribute_classifiers: Classifiers of images ``(N, 3, H, W)`` to logits, by attribute.
        chance: Random images that are compared with each private image; None if there are none.
    """

    def __init__(
        self,
        metrics: ReconstructionMetrics,
        client_model: nn.Module,
        classifier: ClassifierLayer,
        companions: Companions | Lineup,
        attribute_classifiers: Mapping[str, nn.Module],
        chance: Chance | None,
    ) -> None:
        self._device = device_of(client_model)
        self._collection = metrics.collection().to(self._device)
        self._missing = dict(metrics.missing)
        if not attribute_classifiers:
            self._missing["attribute_agreement"] = _NO_CLASSIFIERS
        self._features = representation_of(client_model, classifier.layer)
        self._companions = companions
        self._attribute_classifiers = dict(attribute_classifiers)
        self._chance = chance
        # Successive cases are of one client.
        self._decoy_features = lru_cache(maxsize=1)(self._features_of_decoys)

    def score(
        self,
        reconstructions: Tensor | None,
        originals: Tensor,
        indices: tuple[int, ...],
        rank_by_update: RankByUpdate | None = None,
    ) -> dict[str, Any]:
        """Scores reconstructions in their originals' order.

        Args:
            reconstructions: ``(N, 3, H, W)`` in ``[-1, 1]``, on the client model's device; None if
                there are none.
            originals: The private images, likewise.
            indices: By which each has its decoys, see `Case.places`.
            rank_by_update: How unlikely each image of a lineup is by the update, see `Attack.rank`;
                None if there is no update.

        Returns:
            The result's fields: every metric, ``rank_pixel``, ``rank_feature``, ``rank_update`` and
            ``decoys`` (of a client's first image), ``attribute_agreement`` and ``missing_metrics``.
            What cannot be computed is None, with its reason in ``missing_metrics``.
        """
        count = len(self._companions.decoy_indices(indices[0]))
        rank, reason = self._rank_by_update(originals[:1], indices[0], count, rank_by_update)
        of_update: dict[str, Any] = {"rank_update": rank, "decoys": count}
        lacking = {} if reason is None else {"rank_update": reason}
        if reconstructions is None:
            names = (*METRICS, "rank_pixel", "rank_feature", "attribute_agreement")
            missing = dict.fromkeys(names, NO_RECONSTRUCTION) | lacking
            return {**dict.fromkeys(names), **of_update, "missing_metrics": missing}
        missing = self._missing | lacking
        ranks = self._ranks(reconstructions[:1], originals[:1], indices[0], count)
        if count == 0:
            missing |= dict.fromkeys(("rank_pixel", "rank_feature"), self._companions.reason)
        elif ranks["rank_feature"] is None:
            missing["rank_feature"] = _COLLAPSED
        return {
            **self._image_metrics(reconstructions, originals),
            **dict.fromkeys(name for name in self._missing if name != "attribute_agreement"),
            **ranks,
            **of_update,
            "attribute_agreement": self._agreement(reconstructions, originals),
            "missing_metrics": missing,
        }

    def random_psnr(self, originals: Tensor, labels: Tensor, seed: int) -> float | None:
        """Mean PSNR of random images for the given labels, in dB; None if there are none."""
        if self._chance is None:
            return None
        values = [
            mean_psnr(self._chance.draw(int(label), seed, position)[0], original)
            for position, (label, original) in enumerate(zip(labels, originals, strict=True))
        ]
        return _mean("psnr", values, [1] * len(values))

    def score_random(
        self, originals: Tensor, labels: Tensor, indices: tuple[int, ...], seed: int
    ) -> Samples:
        """Scores random images as if they were reconstructions.

        Args:
            originals: Private images ``(N, 3, H, W)`` in ``[-1, 1]``, on the client model's device.
            labels: Their labels ``(N,)``.
            indices: By which each has its decoys, see `Case.places`.
            seed: Seeds the samples.

        Returns:
            Scores: means over all samples; ranks are of the first sample alone, so that they can
            be counted like an attack's. The images are that first sample.
        """
        assert self._chance is not None  # or the control would have been left out
        drawn = [self._chance.draw(int(label), seed, i) for i, label in enumerate(labels)]
        samples = torch.stack([images for images, _ in drawn], dim=1)
        # Matched as reconstructions are, or chance would look worse than it is.
        orders = [match_to_originals(sample, originals) for sample in samples]
        samples = torch.stack([s[order] for s, order in zip(samples, orders, strict=True)])
        scores = self.score(samples[0], originals, indices)
        repeated = originals.repeat(len(samples), 1, 1, 1)
        scores |= self._image_metrics(samples.flatten(0, 1), repeated)
        scores["attribute_agreement"] = self._agreement(samples.flatten(0, 1), repeated)
        firsts = [latents[0] for _, latents in drawn if latents is not None]
        latents = torch.stack(firsts)[orders[0]] if firsts else None
        return Samples(scores, samples[0], latents)

    def _image_metrics(self, reconstructions: Tensor, originals: Tensor) -> dict[str, float]:
        parts: dict[str, list[float]] = {}
        counts: list[int] = []
        for ours, theirs in zip(reconstructions.split(64), originals.split(64), strict=True):
            # ``forward`` is of these images alone: other ranks score other cases.
            for name, mean in self._collection(ours, theirs).items():
                parts.setdefault(name, []).append(mean.item())
            counts.append(len(ours))
        return {name: _mean(name, means, counts) for name, means in parts.items()}

    def _rank_by_update(
        self, original: Tensor, index: int, count: int, rank: RankByUpdate | None
    ) -> tuple[int | None, str | None]:
        """The rank, or why there is none."""
        if rank is None:
            return None, _NO_UPDATE
        if count == 0:
            return None, self._companions.reason
        decoys = self._companions.decoys(index).to(original)
        with torch.enable_grad():
            scores = rank(torch.cat([original, decoys]))
        return (None, ONLY_BY_RECONSTRUCTION) if scores is None else (rank_of_first(scores), None)

    def _ranks(
        self, reconstruction: Tensor, original: Tensor, index: int, count: int
    ) -> dict[str, Any]:
        if count == 0:
            return {"rank_pixel": None, "rank_feature": None}
        decoys = self._companions.decoys(index).to(original)
        pixel = identification_ranks(reconstruction, original, decoys)
        found, private = self._features(reconstruction), self._features(original)
        of_decoys = self._decoy_features(index)
        known: dict[str, Any] = {"rank_pixel": int(pixel[0])}
        if not tells_apart(private, of_decoys) and tells_apart(original, decoys):
            return {**known, "rank_feature": None}
        feature = identification_ranks(found, private, of_decoys, computed=True)
        return {**known, "rank_feature": int(feature[0])}

    def _features_of_decoys(self, index: int) -> Tensor:
        parts = self._companions.decoys(index).split(64)
        return torch.cat([self._features(part.to(self._device)) for part in parts])

    def _agreement(self, reconstructions: Tensor, originals: Tensor) -> float | None:
        if not self._attribute_classifiers:
            return None
        metric = AttributeAgreement(self._attribute_classifiers).to(originals.device)
        return metric(reconstructions, originals).item()


def _mean(name: str, means: list[float], counts: list[int]) -> float:
    """The mean over images, from those over parts of them."""
    ceiling = ceiling_of(name)
    if ceiling is not None and len({math.isinf(mean) for mean in means}) > 1:
        means = [min(mean, ceiling) for mean in means]
    return sum(mean * count for mean, count in zip(means, counts, strict=True)) / sum(counts)
