"""Results as audits leave them, made up."""

from typing import Any

import numpy as np

METRICS = (
    *("mse", "psnr", "psnr_published", "ssim", "lpips_vgg", "lpips_alex"),
    *("fmse", "mse_r", "rmse_r", "tv_reconstruction", "tv_private"),
)


def case(
    image: int = 0,
    defense: str | None = "none",
    attack: str | None = "ggl",
    seed: int = 0,
    role: str = "attack",
    **values: Any,
) -> dict[str, Any]:
    """One case's result; metrics that are not given are missing."""
    name = f"{role}_image{image}_{defense}_{attack}_seed{seed}"
    row = {
        "name": name,
        "key": f"key of {name}",
        "role": role,
        "status": "done",
        "error": None,
        "image_index": image,
        "images": 1,
        "defense": defense,
        "attack": attack,
        "seed": seed,
        "label_accuracy": 1.0,
        **dict.fromkeys(METRICS),
        "rank_pixel": None,
        "rank_feature": None,
        "decoys": None,
        "attribute_agreement": None,
        "evaluations": 100,
        "seconds": 2.0,
        "defense_parameters": {"class": defense},
        "defense_guarantee": {},
        "missing_metrics": {"lpips_alex": "no backbone weights"},
        "details": {"attack": {"class": attack}},
    }
    return {**row, **values}


def failed(image: int = 0, **where: Any) -> dict[str, Any]:
    return case(image, **where, status="failed", error="NaN losses", label_accuracy=None)


def utility(defense: str = "none", seed: int = 0, **values: Any) -> dict[str, Any]:
    """What one training under a defense came to."""
    row = {
        "name": f"{defense}_seed{seed}",
        "key": f"key of {defense} {seed}",
        "status": "done",
        "error": None,
        "defense": defense,
        "seed": seed,
        "accuracy": 0.9,
        "test_images": 200,
        "majority_share": 0.58,
        "defense_parameters": {"class": defense},
    }
    return {**row, **values}


def controls(
    image: int, defenses: tuple[str, ...], attack: str, seed: int, **values: Any
) -> list[dict[str, Any]]:
    """All controls of an image under one attack; values by role, as dicts."""
    rows = [
        case(image, None, None, seed, "null_random", **values.get("null_random", {})),
        case(image, None, attack, seed, "bound", **values.get("bound", {})),
    ]
    for role in ("null_noise", "null_other"):
        rows += [case(image, d, attack, seed, role, **values.get(role, {})) for d in defenses]
    return rows


def small_audit(images: int = 9, seeds: int = 2) -> tuple[list[dict], list[dict]]:
    """Two defenses, one attack; every image under every seed, with all controls."""
    generator = np.random.default_rng(0)
    shifts = {"null_random": 0.0, "null_noise": 1.0, "null_other": 0.5, "bound": 12.0}

    def numbers(psnr_shift: float) -> dict[str, float]:
        psnr = 12 + psnr_shift + generator.normal()
        return {"psnr": psnr, "mse": 4 * 10 ** (-psnr / 10), "ssim": psnr / 40}

    rows: list[dict] = []
    for seed in range(seeds):
        for image in range(images):
            for defense, shift in (("none", 7.0), ("noise", 2.0)):
                ranked = {
                    "rank_pixel": int(generator.integers(1, 30)),
                    "rank_feature": int(generator.integers(1, 101)),
                    "decoys": 100,
                }
                agreement = float(generator.integers(0, 5)) / 4
                rows.append(
                    case(
                        image,
                        defense,
                        seed=seed,
                        attribute_agreement=agreement,
                        **numbers(shift),
                        **ranked,
                    )
                )
            of_roles = {role: numbers(shift) for role, shift in shifts.items()}
            rows += controls(image, ("none", "noise"), "ggl", seed, **of_roles)
    return rows, [utility("none"), utility("noise", accuracy=0.8)]
