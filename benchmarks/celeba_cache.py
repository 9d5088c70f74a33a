"""Images per second of CelebA's train loader: decoding JPEGs against the decoded cache.

Both are measured in turns in one process, over whole epochs, on the same images::

    python benchmarks/celeba_cache.py --root data            # a CelebA tree of yours
    python benchmarks/celeba_cache.py --json cache.json      # synthetic faces, written for it
"""

import ggl_lightning  # noqa: F401, I001  (first: it repairs torchvision beside a CPU-only torch)

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ggl_lightning.data.celeba import CelebADataModule

SPLIT = "train"


def images_per_second(module: CelebADataModule) -> float:
    loader = module.train_dataloader()
    start = time.perf_counter()
    count = sum(len(labels) for _, labels in loader)
    return count / (time.perf_counter() - start)


def measure(root: Path, image_size: int, workers: int, repeats: int, cache_dir: Path) -> dict:
    def module(cache: Path | None) -> CelebADataModule:
        return CelebADataModule(root, image_size, num_workers=workers, cache_dir=cache)

    plain, cached = module(None), module(cache_dir)
    plain.dataset(SPLIT)
    start = time.perf_counter()
    cached.dataset(SPLIT)
    build_seconds = time.perf_counter() - start
    rates: dict[str, list[float]] = {"jpeg": [], "cache": []}
    for _ in range(repeats):
        rates["jpeg"].append(images_per_second(plain))
        rates["cache"].append(images_per_second(cached))
    return {
        "images": len(cached.dataset(SPLIT)),
        "image_size": image_size,
        "workers": workers,
        "cache_build_seconds": build_seconds,
        "jpeg_images_per_second": statistics.median(rates["jpeg"]),
        "cache_images_per_second": statistics.median(rates["cache"]),
        "ratio_cache_to_jpeg": statistics.median(
            cache / jpeg for jpeg, cache in zip(rates["jpeg"], rates["cache"], strict=True)
        ),
    }


def main() -> None:
    """Prints the ratio; writes all numbers with ``--json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, help="a CelebA tree; default: synthetic faces")
    parser.add_argument("--images", type=int, default=4000, help="synthetic faces to write")
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = args.root
        if root is None:
            root = Path(folder, "faces")
            command = [sys.executable, "-m", "ggl_lightning.data.synthetic", "--root", str(root)]
            subprocess.run([*command, "--count", str(args.images)], check=True)
        result = measure(root, args.image_size, args.workers, args.repeats, Path(folder, "cache"))
    for name, value in result.items():
        print(f"{name:26} {value:.2f}" if isinstance(value, float) else f"{name:26} {value}")
    if args.json:
        args.json.write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
