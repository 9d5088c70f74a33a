"""How tensors differ from those that a model has, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from torch import Tensor

from ggl_lightning.weight_files import some

Shape = tuple[int, ...]


def misfits(
    what: str, found: Mapping[str, Tensor], expected: Mapping[str, Shape], advice: str
) -> list[str]:
    """What is missing, unexpected, permuted, transposed or otherwise of another shape.

    Args:
        what: What the tensors are, e.g. ``"The update"``.
        found: The tensors by name.
        expected: The shapes that the model has, by name.
        advice: What to do if some are missing, in a sentence.

    Returns:
        A sentence for each kind of difference; none if there is no difference. Two tensors of one
        shape that have changed places, and a square matrix that is transposed, cannot be told.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in found.items()}
    missing = [name for name in expected if name not in shapes]
    extra = [name for name in shapes if name not in expected]
    sentences = []
    if missing and [shapes[n] for n in extra] == [expected[n] for n in missing]:
        pairs = [f"{a} for {b}" for a, b in zip(extra, missing, strict=True)]
        sentences.append(
            f"{what} has other names than the client model, though the shapes fit in order: "
            f"{some(pairs)}. Give the tensors the model's names."
        )
    else:
        if missing:
            sentences.append(f"{what} lacks tensors of the client model: {some(missing)}. {advice}")
        if extra:
            listed = [f"{name} {shapes[name]}" for name in extra]
            sentences.append(f"{what} has tensors that the client model lacks: {some(listed)}.")
    wrong = {
        n: (shapes[n], expected[n]) for n in expected if shapes.get(n, expected[n]) != expected[n]
    }
    return sentences + _of_another_shape(what, wrong)


def _of_another_shape(what: str, wrong: Mapping[str, tuple[Shape, Shape]]) -> list[str]:
    sentences = []
    turned = [name for name, (found, wanted) in wrong.items() if _is_turned(found, wanted)]
    if turned:
        listed = [f"{name} is {wrong[name][0]}, expected {wrong[name][1]}" for name in turned]
        sentences.append(
            f"{what} has tensors whose axes are in another order: {some(listed)}. PyTorch's order "
            "is output, input, height, width."
        )
    rest = {name: pair for name, pair in wrong.items() if name not in turned}
    listed = [f"{name} is {found}, expected {wanted}" for name, (found, wanted) in rest.items()]
    if rest and Counter(f for f, _ in rest.values()) == Counter(w for _, w in rest.values()):
        sentences.append(
            f"{what} has tensors in each other's places: {some(listed)}. Store each under the name "
            "of its own parameter."
        )
    elif rest:
        sentences.append(f"{what} has tensors of other shapes: {some(listed)}.")
    return sentences


def _is_turned(found: Shape, wanted: Shape) -> bool:
    return len(wanted) > 1 and found != wanted and sorted(found) == sorted(wanted)
