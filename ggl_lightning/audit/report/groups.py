"""The statistics of one defense and one attack, as the report reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ggl_lightning.audit.report.estimates import Estimate, read_estimate
from ggl_lightning.audit.results.schema import RANKS, headline_metrics


@dataclass(frozen=True)
class Group:
    """All cases of one defense and one attack.

    Attributes:
        entry: Its entry in the statistics.
        headline: The metric whose leakage is the group's leakage.
    """

    entry: Mapping[str, Any]
    headline: str

    @property
    def defense(self) -> str:
        """The defense's name."""
        return str(self.entry["defense"])

    @property
    def attack(self) -> str:
        """The attack's name."""
        return str(self.entry["attack"])

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The defense's class and parameters; empty if they are not known."""
        return self.entry.get("defense_parameters") or {}

    @property
    def leakage(self) -> Estimate:
        """Normalised leakage by the headline metric."""
        return self.leakage_of(self.headline)

    @property
    def null(self) -> str | None:
        """Role of the null that the leakage is measured against."""
        return (self.entry.get("leakage") or {}).get(self.headline, {}).get("null")

    def leakage_of(self, metric: str) -> Estimate:
        """Normalised leakage by a metric."""
        return read_estimate(
            (self.entry.get("leakage") or {}).get(metric),
            "value",
            "the statistics have no leakage by this metric",
        )

    def metric(self, name: str) -> Estimate:
        """Mean of a metric over the group's cases."""
        return read_estimate(
            (self.entry.get("metrics") or {}).get(name), "mean", "the metric was not computed"
        )

    def identification(self, by: str, top: int) -> Estimate:
        """Share of cases whose private image is among the ``top`` nearest or likeliest.

        Args:
            by: By what, one of `RANKS`.
            top: One of `TOP`.
        """
        entry = self._identification(by)
        rate = entry.get(f"top{top}")
        return read_estimate(
            rate if rate is not None else entry, "rate", "identification was not computed"
        )

    def chance(self, by: str, top: int) -> float | None:
        """The identification rate of guessing; None if it was not computed."""
        return (self._identification(by).get(f"top{top}") or {}).get("chance")

    def mechanism_bound(self, by: str, top: int) -> float | None:
        """The identification rate that no attacker exceeds, by the noise in what is sent.

        None if it was not computed; `noise_multiplier` says why.
        """
        return (self._identification(by).get(f"top{top}") or {}).get("mechanism_bound")

    @property
    def noise_multiplier(self) -> Estimate:
        """Standard deviation of the defense's noise over the largest norm under it."""
        return read_estimate(
            self.entry.get("noise_multiplier"), "value", "the defense's noise was not looked at"
        )

    def decoys(self, by: str) -> int | None:
        """How many decoys the private image stood among."""
        return self._identification(by).get("decoys")

    @property
    def label_accuracy(self) -> Estimate:
        """Share of labels that were inferred."""
        return read_estimate(
            self.entry.get("label_accuracy"), "rate", "label accuracy was not computed"
        )

    @property
    def attribute_agreement(self) -> Estimate:
        """Share of the private image's attributes that the reconstruction shows."""
        return read_estimate(
            self.entry.get("attribute_agreement"), "mean", "attribute agreement was not computed"
        )

    @property
    def utility(self) -> Estimate:
        """Accuracy of the client model trained under the defense."""
        return read_estimate(self._utility, "accuracy", "no utility was measured for this defense")

    @property
    def majority_share(self) -> float | None:
        """The accuracy of always naming the commonest class."""
        return self._utility.get("majority_share")

    @property
    def _utility(self) -> Mapping[str, Any]:
        return self.entry.get("utility") or {}

    def _identification(self, by: str) -> Mapping[str, Any]:
        return (self.entry.get("identification") or {}).get(by) or {}


def read_groups(
    statistics: Mapping[str, Any], defenses: Sequence[str], attacks: Sequence[str]
) -> list[Group]:
    """The groups in the report's order.

    Args:
        statistics: What `compute_statistics` gives.
        defenses: Names of the defenses in order.
        attacks: Names of the attacks in order.
    """
    entries = sorted(
        statistics["groups"],
        key=lambda entry: (defenses.index(entry["defense"]), attacks.index(entry["attack"])),
    )
    headlines = [metric.name for metric in headline_metrics()]
    headline = next(
        (
            metric
            for metric in headlines
            if any("value" in ((entry.get("leakage") or {}).get(metric) or {}) for entry in entries)
        ),
        headlines[0],
    )
    return [Group(entry, headline) for entry in entries]


def ranked_by(groups: Sequence[Group]) -> list[str]:
    """The names of `RANKS` that tables have: that of the update only if an attack ranks by it."""
    return [
        by
        for by in RANKS
        if by != "update" or any(group.identification(by, 1).value is not None for group in groups)
    ]
