"""Run folders made up for tests of the report: the files of an audit, without an audit."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

DEFENSES: dict[str, dict[str, Any]] = {
    "none": {"class": "ggl_lightning.defenses.none.NoDefense"},
    "noise0.01": {"class": "ggl_lightning.defenses.noise.Noise", "std": 0.01},
    "noise0.1": {"class": "ggl_lightning.defenses.noise.Noise", "std": 0.1},
    "clipping4": {"class": "ggl_lightning.defenses.clipping.Clipping", "bound": 4.0},
}
# How near an attack gets, as its PSNR in dB before an image's own luck.
_REACH = {"none": 19.0, "noise0.01": 16.0, "noise0.1": 12.1, "clipping4": 18.5}
_REASON = "no backbone weights: set lpips_vgg_weights"


@dataclass(frozen=True)
class Plan:
    """What a made-up audit has."""

    images: int = 3
    first_image: int = 0
    defenses: tuple[str, ...] = ("none", "noise0.01", "noise0.1", "clipping4")
    attacks: tuple[str, ...] = ("cma",)
    controls: bool = True
    utility: bool = True
    size: int = 8
    rounds: int = 20
    salt: str = ""  # changes every key


def write_run(folder: Path, plan: Plan | None = None) -> Path:
    """Writes a run folder."""
    plan = plan or Plan()
    for row in rows(plan):
        write_case(folder, row, plan)
    if plan.utility:
        for i, defense in enumerate(plan.defenses):
            row = utility_row(defense, 0.91 - 0.04 * i, plan)
            _write_json(folder / "utility" / row["name"] / "result.json", row)
    parameters = {name: DEFENSES.get(name, {}) for name in plan.defenses}
    config = {
        "model": {"exp_name": folder.name},
        "data": {"defenses": parameters, "attacks": {name: {} for name in plan.attacks}},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    environment = {"versions": {"torch": "2.13.0", "python": "3.11.4"}, "devices": ["cpu"]}
    _write_json(folder / "environment.json", environment)
    return folder


def rows(plan: Plan) -> list[dict[str, Any]]:
    """The rows of all its cases."""
    made = []
    for index in range(plan.first_image, plan.first_image + plan.images):
        if plan.controls:
            made.append(row(plan, index, "null_random", None, None, 11.0))
            made += [row(plan, index, "bound", None, attack, 22.0) for attack in plan.attacks]
        for defense in plan.defenses:
            for attack in plan.attacks:
                reach = _REACH.get(defense, 14.0) + plan.attacks.index(attack)
                made.append(row(plan, index, "attack", defense, attack, reach))
                if plan.controls:
                    made.append(row(plan, index, "null_noise", defense, attack, 11.5))
                    made.append(row(plan, index, "null_other", defense, attack, 12.0))
    return made


def row(
    plan: Plan, index: int, role: str, defense: str | None, attack: str | None, reach: float
) -> dict[str, Any]:
    """One finished case's row."""
    parts = [f"image{index:06d}", *(x for x in (defense, attack) if x), role, "seed0"]
    name = "_".join(parts)
    generator = _generator(name)
    psnr = reach + float(generator.normal())
    mse = 4 * 10 ** (-psnr / 10)
    return {
        "name": name,
        "key": hashlib.sha256(f"{name}{plan.salt}".encode()).hexdigest()[:32],
        "role": role,
        "status": "done",
        "error": None,
        "image_index": index,
        "images": 1,
        "defense": defense,
        "attack": attack,
        "seed": 0,
        "labels": [index % 2],
        "inferred_labels": [index % 2],
        "assumed_labels": [index % 2],
        "label_correct": True,
        "label_accuracy": 1.0,
        "label_margin": 0.25,
        "mse": mse,
        "psnr": psnr,
        "psnr_published": psnr - 20 * math.log10(2),
        "ssim": min(0.99, max(0.0, (psnr - 6) / 20)),
        "lpips_vgg": None,
        "lpips_alex": None,
        "fmse": mse / 3,
        "mse_r": mse / 5,
        "rmse_r": math.sqrt(mse / 5),
        "tv_reconstruction": 30.0,
        "tv_private": 32.0,
        "psnr_random_mean": 10.5,
        "rank_pixel": 1 if role in ("attack", "bound") and psnr > 15 else 7,
        "rank_feature": 1 if role in ("attack", "bound") and psnr > 14 else 5,
        "decoys": 19,
        "attribute_agreement": 0.75,
        "loss": 0.01,
        "trial": 0,
        "rounds": plan.rounds,
        "evaluations": plan.rounds * 50 + 1,
        "seconds": 2.5,
        "stop_reason": None,
        "defense_parameters": None if defense is None else DEFENSES.get(defense, {}),
        "defense_estimate": None,
        "defense_guarantee": None,
        "missing_metrics": {"lpips_vgg": _REASON, "lpips_alex": _REASON},
        "details": {"indices": [index]},
    }


def failed(finished: dict[str, Any], error: str) -> dict[str, Any]:
    """The same case's row, had it failed."""
    from ggl_lightning.audit.results.schema import METRICS

    unknown = (*METRICS, "psnr_random_mean", "rank_pixel", "rank_feature", "loss", "label_accuracy")
    return {**finished, **dict.fromkeys(unknown), "status": "failed", "error": error}


def utility_row(defense: str, accuracy: float, plan: Plan) -> dict[str, Any]:
    """One utility run's row."""
    name = f"{defense}_seed0"
    return {
        "name": name,
        "key": hashlib.sha256(f"utility {name}{plan.salt}".encode()).hexdigest()[:32],
        "status": "done",
        "error": None,
        "defense": defense,
        "seed": 0,
        "rounds": 10,
        "clients": 4,
        "accuracy": accuracy,
        "accuracy_curve": [[5, accuracy - 0.1], [10, accuracy]],
        "test_images": 400,
        "majority_share": 0.55,
        "seconds": 30.0,
        "defense_parameters": DEFENSES.get(defense, {}),
        "defense_guarantee": None,
        "settings": {"learning_rate": 0.1},
    }


def write_case(folder: Path, finished: dict[str, Any], plan: Plan, name: str | None = None) -> Path:
    """Writes one case's files; its folder has its name unless another is given."""
    case = folder / "cases" / (name or finished["name"])
    is_done = finished["status"] == "done"
    _write_json(case / ("result.json" if is_done else "failure.json"), finished)
    private = _face(finished["image_index"], plan.size)
    _save(private, case / "original.png")
    if is_done:
        noise = _generator(finished["name"]).normal(size=private.shape)
        _save(private + 60 * math.sqrt(finished["mse"]) * noise, case / "reconstruction.png")
        if finished["role"] != "null_random":
            (case / "losses.csv").write_text(_losses(finished))
    return case


def _losses(finished: dict[str, Any]) -> str:
    lines = ["trial,round,evaluations,loss_mean,loss_min,loss_best"]
    luck = 1 + 0.3 * float(_generator(finished["name"]).normal()) ** 2
    for number in range(1, finished["rounds"] + 1):
        loss = finished["mse"] * luck * (0.2 + math.exp(-number / 6))
        lines.append(f"0,{number},{50 * number},{3 * loss!r},{1.1 * loss!r},{loss!r}")
    return "\n".join(lines) + "\n"


def _face(index: int, size: int) -> np.ndarray:
    """A smooth round shape on a coloured ground, ``(size, size, 3)``, 0 to 255."""
    generator = _generator(f"face {index}")
    ground, skin = generator.uniform(20, 235, size=(2, 3))
    y, x = np.mgrid[0:size, 0:size] / (size - 1) - 0.5
    inside = 1 / (1 + np.exp(30 * (np.hypot(x / 0.75, y) - 0.35)))
    eyes = np.exp(-(((np.abs(x) - 0.13) / 0.05) ** 2) - ((y + 0.07) / 0.05) ** 2)
    face = ground + (skin - ground) * inside[..., None]
    return face * (1 - 0.8 * eyes[..., None])


def _save(pixels: np.ndarray, path: Path) -> None:
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)


def _generator(text: str) -> np.random.Generator:
    return np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big"))


def _write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n")
