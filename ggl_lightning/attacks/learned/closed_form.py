"""Public images' plain gradients: inner products without the gradients."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from tqdm import tqdm

from ggl_lightning.attacks.learned.captured import Captured, capture, layer_of, products
from ggl_lightning.attacks.learned.examples import Examples, Gram
from ggl_lightning.attacks.learned.noise import noise_level
from ggl_lightning.attacks.matching.layer_rule import MatrixRule
from ggl_lightning.attacks.matching.low_rank import find_low_rank

_ROWS_AT_ONCE = 100


class ClosedFormExamples(Examples):
    """What the layers of a client model make of public images, which is all their gradients are.

    Gradients are of the cross-entropy in eval mode. Layers are run in groups that fit the memory.

    Args:
        model: The client model, in eval mode, whose parameters need no gradients and whose
            activations are not overwritten in place.
        rules: The layers that may be used, by the names of their weights.
        images: Public images ``(M, 3, H, W)`` in ``[-1, 1]``, on the model's device.
        label: The label assumed for all.
        memory_bytes: Bound on what layers' inputs and gradients, and blocks of products, take.
    """

    def __init__(
        self,
        model: nn.Module,
        rules: Mapping[str, MatrixRule],
        images: Tensor,
        label: int,
        memory_bytes: int,
    ) -> None:
        self.names = list(rules)
        self._model = model
        self._rules = dict(rules)
        self._images = images
        self._label = label
        self._block_bytes = max(2**24, memory_bytes // 4)
        self._memory_bytes = memory_bytes // 2
        self._ready: dict[str, Captured] = {}
        one = dict(self._captured(self.names, 1))
        self._bytes = {n: each.inputs.nbytes + each.gradients.nbytes for n, each in one.items()}
        self._ranks = {name: each.positions for name, each in one.items()}

    def __len__(self) -> int:
        return len(self._images)

    def prepare(self, names: Sequence[str]) -> None:
        """See `Examples.prepare`."""
        missing = [name for name in names if name not in self._ready]
        if missing:
            self._ready = {name: self._ready[name] for name in names if name in self._ready}
            self._ready.update(self._captured(missing, len(self)))

    def grams(self, names: Sequence[str], count: int | None = None) -> dict[str, Gram]:
        """See `Examples.grams`."""
        captured: Iterator[tuple[str, Captured]]
        if count is None:
            self.prepare(names)
            captured = ((name, self._ready[name]) for name in names)
        else:
            captured = self._some(names, count)
        found = {}
        shown = tqdm(captured, "Learned inversion: products", len(names), False, disable=None)
        for name, each in shown:
            found[name] = Gram.of(products(each, each, self._block_bytes))
        return found

    def rows(self, name: str, received: Tensor) -> Tensor:
        """See `Examples.rows`; by low-rank products where the received tensor allows it."""
        captured = self._ready[name]
        rule = captured.rule
        received = received.to(captured.inputs)
        thin = None
        if rule.accepts_low_rank():
            thin = find_low_rank(received.flatten(1), self._ranks[name])
        found = []
        for start in range(0, len(captured), _ROWS_AT_ONCE):
            a, b = captured.part(start, start + _ROWS_AT_ONCE)
            if thin is None:
                outputs = rule.outputs_with(received, a)
            else:
                factors = thin.to(a.dtype)
                outputs = rule.outputs_with(factors.right.unflatten(1, received.shape[1:]), a)
                b = rule.mixed(b, factors.left)
            found.append((outputs * b).flatten(1).sum(dim=1).double().cpu())
        return torch.cat(found)

    def seen_of(self, name: str, received: Tensor) -> Tensor:
        """See `Examples.seen_of`: all of them."""
        return received

    def noise_in(self, received: Mapping[str, Tensor]) -> float | None:
        """See `Examples.noise_in`; `noise_level` says how."""
        return noise_level([(received[name], self._ranks[name]) for name in self.names])

    def entries_of(self, name: str) -> int:
        """See `Examples.entries_of`: all."""
        weight = self._rules[name].layer.weight
        assert isinstance(weight, Tensor)
        return weight.numel()

    def bytes_of(self, name: str) -> int:
        """See `Examples.bytes_of`."""
        return self._bytes[name] * len(self)

    def _some(self, names: Sequence[str], count: int) -> Iterator[tuple[str, Captured]]:
        """Layers of the first images, a group at a time."""
        group: list[str] = []
        taken = 0
        for name in names:
            size = self._bytes[name] * count
            if group and taken + size > self._memory_bytes:
                yield from self._captured(group, count)
                group, taken = [], 0
            group.append(name)
            taken += size
        yield from self._captured(group, count)

    def _captured(self, names: Sequence[str], count: int) -> list[tuple[str, Captured]]:
        rules = {layer_of(name): self._rules[name] for name in names}
        kept = capture(self._model, rules, self._images[:count], self._label)
        return [(name, kept[layer_of(name)]) for name in names]
