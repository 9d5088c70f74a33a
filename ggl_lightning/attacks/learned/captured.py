"""What a layer sees of many images, from which its gradients' inner products follow."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ggl_lightning.attacks.matching.layer_rule import MatrixRule
from ggl_lightning.attacks.matching.population_pass import PopulationPass

_CACHED_BYTES = 2**23
_STRIP = 128  # rows of a Gram matrix that are computed at a time


@dataclass(frozen=True)
class Captured:
    """One layer's share of the gradients of many images, each under a label of its own.

    Attributes:
        rule: The layer's rule.
        inputs: The layer's inputs, ``(M, 1, ...)``.
        gradients: Gradients of its outputs, ``(M, 1, ...)``.
    """

    rule: MatrixRule
    inputs: Tensor
    gradients: Tensor

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def positions(self) -> int:
        """Where the layer multiplies in one image: the most that its gradient's rank can be."""
        b = self.gradients
        return b[0].numel() // (b.shape[2] if b.dim() == 5 else b.shape[-1])

    def part(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Inputs and gradients of some successive images."""
        return self.inputs[start:stop], self.gradients[start:stop]


def layer_of(weight: str) -> str:
    """The name of the layer that a weight is of."""
    return weight.removesuffix("weight").removesuffix(".")


def capture(
    model: nn.Module,
    rules: dict[str, MatrixRule],
    images: Tensor,
    label: int,
    images_at_once: int = 50,
) -> dict[str, Captured]:
    """Runs images through a client model and keeps what some of its layers saw.

    Args:
        model: The client model, in eval mode, whose parameters need no gradients.
        rules: The rules of the layers to keep, by their names.
        images: ``(M, 3, H, W)`` in ``[-1, 1]``.
        label: The label to assume for all of them.
        images_at_once: Images in one pass.

    Returns:
        By the layers' names, on the images' device.

    Raises:
        UnusualLayersError: If a layer is not called once for every image.
    """
    run = PopulationPass(model)
    labels = torch.tensor([label], device=images.device)
    inputs: dict[str, Tensor] = {}
    gradients: dict[str, Tensor] = {}
    for start in range(0, len(images), images_at_once):
        some = images[start : start + images_at_once].unsqueeze(1)

        def keep(name: str, a: Tensor, b: Tensor, start: int = start) -> None:
            for kept, seen in ((inputs, a), (gradients, b)):
                if name not in kept:
                    # Channels last, in which products over channels need no copies.
                    shape = (len(images), *seen.shape[1:])
                    kept[name] = _empty(shape, seen)
                kept[name][start : start + len(seen)] = seen.detach()

        run(set(rules), some, labels, keep)
    return {name: Captured(rule, inputs[name], gradients[name]) for name, rule in rules.items()}


def _empty(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Memory for images ``(M, N, channels, H, W)`` with the channels last, or for anything else."""
    if len(shape) != 5:
        return like.new_empty(shape)
    count, images, channels, height, width = shape
    return like.new_empty((count, images, height, width, channels)).movedim(-1, 2)


def products(first: Captured, second: Captured, block_bytes: int) -> Tensor:
    """Inner products of all weight gradients of one with all of another, in blocks.

    Args:
        first: Of ``M`` images.
        second: Of ``K`` images, in the same layer; the same object has its symmetry made use of.
        block_bytes: What two blocks' products of positions, or their gradients, may take.

    Returns:
        ``(M, K)``, float64.
    """
    found = torch.empty(len(first), len(second), dtype=torch.float64)
    symmetric = first is second
    rule = first.rule
    by_positions = rule.multiplies_positions(*first.part(0, 1))
    size = _block(first, block_bytes, by_positions)
    for i in range(0, len(first), size):
        ours = first.part(i, i + size)
        rows = None if by_positions else rule.weight_rows(*ours)
        for j in range(i if symmetric else 0, len(second), size):
            theirs = second.part(j, j + size)
            if rows is None:
                block = rule.weight_products(*ours, *theirs)
            elif symmetric and i == j:
                block = _gram(rows)
            else:
                block = rows @ rule.weight_rows(*theirs).mT
            found[i : i + size, j : j + size] = block.double().cpu()
            if symmetric and i != j:
                found[j : j + size, i : i + size] = found[i : i + size, j : j + size].T
    return found


def _gram(rows: Tensor) -> Tensor:
    """``rows @ rows.mT``, of which little more than a half is computed."""
    found = rows.new_empty(len(rows), len(rows))
    for start in range(0, len(rows), _STRIP):
        strip = rows[start : start + _STRIP] @ rows[start:].mT
        found[start : start + _STRIP, start:] = strip
        found[start:, start : start + _STRIP] = strip.mT
    return found


def _block(captured: Captured, block_bytes: int, by_positions: bool) -> int:
    """Images in a block: pairs of positions, or gradients, that fit the memory."""
    a, _ = captured.part(0, 1)
    element = a.element_size()
    if by_positions:
        channels = a.shape[2] if a.dim() == 5 else a.shape[-1]
        pairs = ((a.numel() // channels) ** 2 + 2 * captured.positions**2) * element
        # Larger blocks would leave the processor's caches, and are not faster.
        return max(1, int((min(block_bytes, _CACHED_BYTES) / pairs) ** 0.5))
    weight = captured.rule.layer.weight
    assert isinstance(weight, Tensor)
    return max(1, block_bytes // (2 * weight.numel() * element))
