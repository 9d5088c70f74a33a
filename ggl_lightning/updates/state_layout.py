"""Which of a model's tensors are parameters and which are buffers, and in which order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ggl_lightning.errors import UserError
from ggl_lightning.weight_files import some

_BATCH_NORM = ("running_mean", "running_var", "num_batches_tracked")


@dataclass(frozen=True)
class StateLayout:
    """How a client model's state dict is made up.

    Attributes:
        shapes: The shape of every parameter and persistent buffer, in ``state_dict`` order; tied
            parameters have one entry for each of their names.
        parameters: Names of the parameters, in ``model.parameters()`` order.
        trainable: Those that require gradients.
        buffers: Names of the persistent buffers.
        aliases: Other names of tied parameters, and the name each goes by here.
    """

    shapes: Mapping[str, tuple[int, ...]]
    parameters: tuple[str, ...]
    trainable: frozenset[str]
    buffers: tuple[str, ...]
    aliases: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, model: nn.Module) -> StateLayout:
        """Reads it off a model, which stays as it is.

        Raises:
            UserError: If the model has no parameters, or some that have no shape yet.
        """
        parameters = dict(model.named_parameters())
        if not parameters:
            raise UserError(f"The client model {type(model).__name__} has no parameters.")
        lazy = [n for n, p in parameters.items() if nn.parameter.is_lazy(p)]
        if lazy:
            raise UserError(
                f"These parameters of the client model have no shape yet: {some(lazy)}. Run the "
                "model on an image first."
            )
        named = {id(parameter): name for name, parameter in parameters.items()}
        shapes, buffers, aliases = {}, [], {}
        for name, tensor in model.state_dict(keep_vars=True).items():
            shapes[name] = tuple(tensor.shape)
            if named.get(id(tensor), name) != name:
                aliases[name] = named[id(tensor)]
            elif name not in parameters:
                buffers.append(name)
        return cls(
            shapes,
            tuple(parameters),
            frozenset(name for name, p in parameters.items() if p.requires_grad),
            tuple(buffers),
            aliases,
        )

    def named(self, arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Gives arrays that go by their position the names of the model's tensors.

        They may be a whole state dict, all parameters, or the trainable ones, each in its order.

        Args:
            arrays: Tensors by name, or by ``"0"``, ``"1"``, and so on.

        Raises:
            UserError: If there are too many or too few of them, or their shapes do not fit.
        """
        if not is_positional(arrays):
            return dict(arrays)
        trainable = [name for name in self.parameters if name in self.trainable]
        tensors = [arrays[str(position)] for position in range(len(arrays))]
        shapes = [tuple(tensor.shape) for tensor in tensors]
        for order in (tuple(self.shapes), self.parameters, trainable):
            if shapes == [self.shapes[name] for name in order]:
                return dict(zip(order, tensors, strict=True))
        raise UserError(
            f"The {len(tensors)} arrays, which have no names, are not the client model's: it has "
            f"{len(self.shapes)} in its state dict, {len(self.parameters)} parameters among them, "
            f"{len(trainable)} trainable. First shapes sent: "
            f"{some([str(shape) for shape in shapes])}; of the model: "
            f"{some([str(shape) for shape in self.shapes.values()])}."
        )


def is_positional(arrays: Iterable[str]) -> bool:
    """Whether names are mere positions, as Flower gives them to lists of arrays."""
    names = set(arrays)
    return bool(names) and names == {str(position) for position in range(len(names))}


def looks_like_buffer(name: str, tensor: Tensor) -> bool:
    """Whether a tensor of a state dict is a buffer, judged without the model.

    Batch-norm's statistics go by their names; what has no gradient can only be a buffer.
    """
    return name.rpartition(".")[2] in _BATCH_NORM or not tensor.is_floating_point()


def copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies on the CPU, which no later training changes."""
    return {
        name: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
