"""Means of results over cases and ranks, for loggers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric


class GroupMeans(Metric):
    """Mean of each of several fields over the rows that have it, over all ranks.

    Args:
        fields: Names of the fields; a row in which one is None does not count for it.
        **kwargs: For `torchmetrics.Metric`.
    """

    full_state_update = False

    totals: Tensor
    counts: Tensor

    def __init__(self, fields: Sequence[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.fields = list(fields)
        zeros = torch.zeros(len(self.fields))
        self.add_state("totals", zeros.clone(), dist_reduce_fx="sum")
        self.add_state("counts", zeros.clone(), dist_reduce_fx="sum")

    def update(self, row: Mapping[str, Any]) -> None:
        """Adds a row."""
        known = torch.tensor([row[field] is not None for field in self.fields])
        values = torch.tensor([float(row[field] or 0) for field in self.fields])
        self.totals += values.to(self.totals)
        self.counts += known.to(self.counts)

    def compute(self) -> dict[str, float]:
        """The means by field; a field that no row has is left out."""
        found = zip(self.fields, self.totals.tolist(), self.counts.tolist(), strict=True)
        return {field: total / count for field, total, count in found if count > 0}
