"""The outcome of one federated training."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FederatedResult:
    """The outcome of one federated training under one defense.

    Attributes:
        accuracy: Share of the test images classified right after the last round, 0 to 1; None if
            the training failed.
        curve: ``(rounds, accuracy)`` pairs, beginning with the initial weights' ``(0, accuracy)``;
            if the training failed, up to then.
        rounds: Rounds that were asked for.
        clients: Number of clients.
        train_images: Images that all clients hold together.
        test_images: Images that accuracy is measured on.
        majority_share: Share of the commonest class among these: the accuracy of a model that has
            learned nothing but that.
        seconds: Wall time, without the reading of images.
        error: Why the training failed; None if it did not.
    """

    accuracy: float | None
    curve: list[tuple[int, float]]
    rounds: int
    clients: int
    train_images: int
    test_images: int
    majority_share: float
    seconds: float
    error: str | None = None
