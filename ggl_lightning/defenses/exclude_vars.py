"""NVFlare's exclusion of variables: some tensors are not sent at all."""

from __future__ import annotations

import re

from torch import Tensor

from ggl_lightning.clients import ClassifierLayer, Update
from ggl_lightning.defenses.base import ClientSide, Defense, TensorwiseAdaptation
from ggl_lightning.errors import UserError, check_choice


class ExcludeVars(Defense):
    """NVFlare's ``ExcludeVars``: leaves out the tensors of some parameters, which become zeros.

    Args:
        exclude_vars: Names of the client model's parameters, or one regular expression, which
            leaves out the parameters in whose names it is found anywhere.

    Raises:
        UserError: If there is no name, or the expression is not one; when called, if the client
            model lacks a name, the expression is found in none, or nothing would be sent. NVFlare
            would go on without a defense, or with nothing.
    """

    def __init__(self, exclude_vars: list[str] | str) -> None:
        if not exclude_vars:
            raise UserError(
                "exclude_vars of the ExcludeVars defense is empty: name parameters of the client "
                "model, or give a regular expression."
            )
        if isinstance(exclude_vars, str):
            try:
                re.compile(exclude_vars)
            except re.error as error:
                raise UserError(
                    f"exclude_vars of the ExcludeVars defense is {exclude_vars!r}, which is no "
                    f"regular expression: {error}."
                ) from error
        self.exclude_vars = exclude_vars

    @property
    def adds_noise(self) -> bool:
        """No."""
        return False

    def norm_bound(self, before: float | None) -> float | None:
        """That of what it is given: tensors are left out."""
        return before

    def __call__(self, update: Update, client: ClientSide) -> Update:
        """Returns the update with zeros for the parameters left out."""
        names = [name for name, _ in client.model.named_parameters()]
        excluded = self._excluded(names)
        return [
            tensor * 0 if name in excluded else tensor
            for name, tensor in zip(names, update, strict=True)
        ]

    def adapt(self, received: Update, classifier: ClassifierLayer) -> LeaveOut:
        """The attacker leaves out the tensors that it received nothing of."""
        return LeaveOut([not bool(tensor.any()) for tensor in received])

    def _excluded(self, names: list[str]) -> set[str]:
        if isinstance(self.exclude_vars, str):
            expression = re.compile(self.exclude_vars)
            excluded = {name for name in names if expression.search(name)}
        else:
            for name in self.exclude_vars:
                check_choice("A name in exclude_vars of the ExcludeVars defense", name, names)
            excluded = set(self.exclude_vars)
        if not excluded:
            raise UserError(
                f"exclude_vars of the ExcludeVars defense is {self.exclude_vars!r}, which is found "
                f"in no name of a parameter of the client model: nothing would be defended. Its "
                f"names are {', '.join(names[:6])}{' ...' if len(names) > 6 else ''}."
            )
        if len(excluded) == len(names):
            raise UserError(
                f"exclude_vars of the ExcludeVars defense is {self.exclude_vars!r}, which leaves "
                "out every parameter of the client model: nothing would be sent."
            )
        return excluded


class LeaveOut(TensorwiseAdaptation):
    """Leaves out the tensors of a candidate's update that were not received.

    Args:
        absent: For each tensor of an update whether it is left out; how many are is reported.
    """

    def __init__(self, absent: list[bool]) -> None:
        self._absent = absent
        self.estimate = {"excluded_tensors": float(sum(absent))}

    def adapt_tensor(self, tensor: Tensor, index: int) -> Tensor:
        """Returns zeros, or the same tensor."""
        return tensor * 0 if self._absent[index] else tensor
