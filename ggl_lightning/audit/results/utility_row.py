"""The row of a federated training in an audit's results."""

from __future__ import annotations

from typing import Any

from ggl_lightning.audit.results.schema import Status
from ggl_lightning.defenses import Defense
from ggl_lightning.federated import FederatedResult


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
        "status": (Status.done if result.error is None else Status.failed).value,
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
