"""The outcome of one federated training, and its row in an audit's results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ggl_lightning.defenses import Defense


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


def utility_row(
    result: FederatedResult,
    *,
    name: str,
    key: str,
    defense_name: str,
    defense: Defense,
    seed: int,
    defense_parameters: Any,
    settings: Any,
) -> dict[str, Any]:
    """One row of an audit's utility results, ready for JSON.

    Args:
        result: What `FederatedTraining.run` returned.
        name: The row's name, unique in its audit.
        key: Identifies everything that determines the result; see `FederatedTraining`.
        defense_name: What the user calls the defense.
        defense: The defense.
        seed: The training's seed.
        defense_parameters: The defense's class and parameters, as JSON values.
        settings: Those of the `FederatedTraining`.

    Returns:
        The row; its ``status`` is ``failed``, its ``accuracy`` None and its ``error`` the reason if
        the training failed.
    """
    return {
        "name": name,
        "key": key,
        "status": "done" if result.error is None else "failed",
        "error": result.error,
        "defense": defense_name,
        "seed": seed,
        "rounds": result.rounds,
        "clients": result.clients,
        "accuracy": result.accuracy,
        "accuracy_curve": [list(point) for point in result.curve],
        "train_images": result.train_images,
        "test_images": result.test_images,
        "majority_share": result.majority_share,
        "seconds": result.seconds,
        "defense_parameters": defense_parameters,
        "defense_guarantee": defense.guarantee(),
        "settings": settings,
    }
