"""Why something cannot be had for a whole population at once."""

from __future__ import annotations


class CannotBatchError(Exception):
    """A way of evaluating populations does not cover a case; the message says what is in the way.

    The message completes the sentence "... since ...".
    """


class UnusualLayersError(Exception):
    """Layers are not used in the way their rules assume.

    Args:
        layers: Their names.
        reason: What is unusual of them.
    """

    def __init__(self, layers: set[str], reason: str) -> None:
        super().__init__(f"{', '.join(sorted(layers))}: {reason}")
        self.layers = layers
        self.reason = reason
