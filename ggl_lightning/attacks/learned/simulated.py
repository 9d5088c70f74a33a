"""Public images' updates by doing to them what the client is believed to have done."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor
from tqdm import tqdm

from ggl_lightning.attacks.learned.examples import TINY, Examples, Gram
from ggl_lightning.attacks.learned.noise import noise_level

_PROBES = 48
"""Images by which entries are chosen, at most."""

_LEAST_PROBES = 8

_BYTES_OF_ENTRY = 2
"""Entries are kept in half precision: a cosine of thousands of them is exact enough."""

Simulate = Callable[[Tensor], Sequence[Tensor]]
"""Images ``(C, 3, H, W)`` in, their updates out, a tensor ``(C, *shape)`` for each parameter."""


class SimulatedExamples(Examples):
    """Updates under any procedure and defense, each computed once.

    Of each only the entries that vary most from image to image are kept, as many as fit the memory.

    Args:
        simulate: The client's side: updates of images, one image each, as they would be received.
        names: For each tensor of an update its name; None of one that is not to be used.
        images: Public images ``(M, 3, H, W)`` in ``[-1, 1]``.
        memory_bytes: Bound on what entries take.
        ranks: The most that tensors' true rank can be, by name, of those for which it is known;
            None if what is received is no sum of an update and noise.
        kept: `state` of the same examples, made before; None computes them.
    """

    def __init__(
        self,
        simulate: Simulate,
        names: Sequence[str | None],
        images: Tensor,
        memory_bytes: int,
        ranks: Mapping[str, int] | None,
        kept: Mapping[str, Tensor] | None = None,
    ) -> None:
        self._count = len(images)
        self._ranks = ranks
        self._entries: dict[str, Tensor] = {}
        self._values: dict[str, Tensor] = {}
        if kept is None:
            self._choose(simulate, names, images, memory_bytes)
            self._fill(simulate, names, images)
        else:
            for name in (each for each in names if each is not None):
                if f"entries/{name}" in kept:
                    self._entries[name] = kept[f"entries/{name}"]
                    self._values[name] = kept[f"values/{name}"]
        self.names = [name for name in names if name in self._entries]
        self._norms = {name: _norms(values) for name, values in self._values.items()}

    def __len__(self) -> int:
        return self._count

    @property
    def state(self) -> dict[str, Tensor]:
        """What there is to keep, by names in which those of the parameters stand."""
        found = {}
        for name in self.names:
            found[f"entries/{name}"] = self._entries[name]
            found[f"values/{name}"] = self._values[name]
        return found

    def prepare(self, names: Sequence[str]) -> None:
        """See `Examples.prepare`: there is nothing to be done."""

    def grams(self, names: Sequence[str], count: int | None = None) -> dict[str, Gram]:
        """See `Examples.grams`."""
        found = {}
        for name in names:
            values, norms = self._values[name][:count], self._norms[name][:count]
            cosines = torch.empty(len(values), len(values))
            size = max(1, 2**25 // max(1, values.shape[1]))
            blocks = [slice(start, start + size) for start in range(0, len(values), size)]
            for i, rows in enumerate(blocks):
                ours = _unit(values[rows], norms[rows])
                for columns in blocks[i:]:
                    block = ours @ _unit(values[columns], norms[columns]).mT
                    cosines[rows, columns] = block
                    cosines[columns, rows] = block.mT
            found[name] = Gram(cosines, norms)
        return found

    def rows(self, name: str, received: Tensor) -> Tensor:
        """See `Examples.rows`."""
        values = self._values[name]
        ours = self.seen_of(name, received).float().cpu()
        size = max(1, 2**25 // max(1, values.shape[1]))
        parts = [
            values[start : start + size].float() @ ours for start in range(0, len(values), size)
        ]
        return torch.cat(parts).double()

    def seen_of(self, name: str, received: Tensor) -> Tensor:
        """See `Examples.seen_of`: those that vary most among public images."""
        return received.flatten()[self._entries[name].to(received.device)]

    def noise_in(self, received: Mapping[str, Tensor]) -> float | None:
        """See `Examples.noise_in`."""
        if self._ranks is None:
            return 0.0
        return noise_level([(received[name], rank) for name, rank in self._ranks.items()])

    def entries_of(self, name: str) -> int:
        """See `Examples.entries_of`."""
        return len(self._entries[name])

    def bytes_of(self, name: str) -> int:
        """See `Examples.bytes_of`; it is kept in any case."""
        return 0

    def _choose(
        self,
        simulate: Simulate,
        names: Sequence[str | None],
        images: Tensor,
        memory_bytes: int,
    ) -> None:
        """Entries by their variance, relative to their tensor's mean square."""
        parts = _in_parts(simulate, images[:_PROBES])
        gathered: list[list[Tensor]] = [[] for _ in names]
        taken = seen = 0
        for updates in parts:
            for column, name, tensor in zip(gathered, names, updates, strict=True):
                if name is not None:
                    column.append(tensor.flatten(1).cpu())
                    taken += column[-1].nbytes
            seen += len(updates[0])
            if taken > memory_bytes and seen >= _LEAST_PROBES:
                break
        shares = {}
        for name, column in zip(names, gathered, strict=True):
            if name is None:
                continue
            stacked = torch.cat(column)
            column.clear()
            whole = stacked.square().sum(dim=1).mean()
            if whole > 0:
                shares[name] = stacked.var(dim=0, correction=0) / whole
        budget = max(1, memory_bytes // (_BYTES_OF_ENTRY * self._count))
        total = sum(len(share) for share in shares.values())
        least = 0.0
        if total > budget:
            everything = torch.cat(list(shares.values()))
            least = float(everything.kthvalue(total - budget + 1).values)
        for name, share in shares.items():
            (entries,) = ((share >= least) & (share > 0)).nonzero(as_tuple=True)
            if len(entries):
                self._entries[name] = entries

    def _fill(self, simulate: Simulate, names: Sequence[str | None], images: Tensor) -> None:
        columns = {name: index for index, name in enumerate(names) if name in self._entries}
        for name in columns:
            assert name is not None
            size = (self._count, len(self._entries[name]))
            self._values[name] = torch.empty(size, dtype=torch.float16)
        start = 0
        with tqdm(
            total=self._count, desc="Learned inversion: updates", leave=False, disable=None
        ) as bar:
            scales: dict[str, float] = {}
            for updates in _in_parts(simulate, images):
                for name, index in columns.items():
                    assert name is not None
                    tensor = updates[index].flatten(1)
                    seen = tensor[:, self._entries[name].to(tensor.device)].float().cpu()
                    # Brought to a scale that half precision holds; cosines do not depend on it.
                    scale = scales.setdefault(name, float(seen.abs().amax()) or 1.0)
                    self._values[name][start : start + len(seen)] = (seen / scale).clamp(
                        -_LARGEST, _LARGEST
                    )
                start += len(updates[0])
                bar.update(len(updates[0]))


_LARGEST = 6e4
"""What half precision holds."""


def _in_parts(simulate: Simulate, images: Tensor) -> Iterator[Sequence[Tensor]]:
    for some in images.split(8):
        yield simulate(some)


def _norms(values: Tensor) -> Tensor:
    squares = [part.float().square().sum(dim=1).double() for part in values.split(256)]
    return torch.cat(squares).sqrt().clamp(min=TINY)


def _unit(values: Tensor, norms: Tensor) -> Tensor:
    # In float32 the least norm would be zero, and the direction of zeros undefined.
    least = torch.finfo(torch.float32).tiny
    return values.float() / norms.unsqueeze(1).clamp(min=least).float()
