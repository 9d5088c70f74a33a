"""Where the time of a whole audit goes: client model, generator, and everything outside of them.

Runs ``audit.py`` on one synthetic face with the published setting (ResNet-18 of width 64, CMA-ES,
the callbacks of ``configs/audit/celeba32.yaml``), but for fewer rounds, and takes the time of its
parts, each without the parts that it calls. What happens once a run or once a case does not grow
with the rounds, so the shares of a full search are extrapolated from those of its rounds.

    python benchmarks/audit_profile.py --json audit_profile.json
"""

import ggl_lightning  # noqa: F401, I001  (first: it repairs torchvision beside a CPU-only torch)

import argparse
import functools
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from numbers_out import hand_over

from ggl_lightning.attacks.callbacks import SearchHost
from ggl_lightning.attacks.matching.update_distances import UpdateDistances
from ggl_lightning.attacks.searches.loop import SearchLoop
from ggl_lightning.attacks.searches import NevergradSearch
from ggl_lightning.audit.cli import main as audit
from ggl_lightning.data.synthetic import write_synthetic_celeba
from ggl_lightning.priors import WGANGPPrior

INSIDE = ("client model", "generator")
PUBLISHED_ROUNDS = 500


class Stopwatch:
    """Seconds by what runs, without what that calls; split into rounds and the rest of the run."""

    def __init__(self) -> None:
        self.seconds: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        self._running = ["everything else"]
        self._phase = ["run"]
        self._since = time.perf_counter()

    def count(self) -> None:
        """Books the time since the last call."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        now = time.perf_counter()
        self.seconds[self._phase[-1]][self._running[-1]] += now - self._since
        self._since = now

    def wrap(self, owner: type, method: str, name: str, phase: str | None = None) -> None:
        """Times a method from now on."""
        original: Callable[..., Any] = getattr(owner, method)

        @functools.wraps(original)
        def timed(*args: Any, **kwargs: Any) -> Any:
            self.count()
            self._running.append(name)
            self._phase.append(phase or self._phase[-1])
            try:
                return original(*args, **kwargs)
            finally:
                self.count()
                self._running.pop()
                self._phase.pop()

        setattr(owner, method, timed)


def shares(seconds: dict[str, float]) -> dict[str, float]:
    """Each part's share of the sum."""
    total = sum(seconds.values())
    return {name: value / total for name, value in sorted(seconds.items())}


def outside(parts: dict[str, float]) -> float:
    """The share of everything but client model and generator."""
    return sum(value for name, value in parts.items() if name not in INSIDE) / sum(parts.values())


def profile(rounds: int, threads: int | None, extra: list[str]) -> dict[str, object]:
    """Runs the audit and says where its time went."""
    if threads is not None:
        torch.set_num_threads(threads)
    watch = Stopwatch()
    watch.wrap(UpdateDistances, "together", "client model")
    watch.wrap(UpdateDistances, "prepare", "client model")
    watch.wrap(WGANGPPrior, "forward", "generator")
    watch.wrap(NevergradSearch, "ask", "search")
    watch.wrap(NevergradSearch, "tell", "search")
    watch.wrap(SearchHost, "notify", "callbacks")
    watch.wrap(SearchLoop, "run", "loop and objective", phase="rounds")
    config = Path(__file__).parent.parent / "configs" / "audit" / "celeba32.yaml"
    with tempfile.TemporaryDirectory() as folder:
        write_synthetic_celeba(Path(folder), 60, 2203)
        watch.count()
        watch.seconds.clear()
        audit(
            [
                *("--config", str(config), "--data.images.init_args.root", folder),
                *("--data.defenses", "{none: {class_path: ggl_lightning.defenses.NoDefense}}"),
                *("--idx", "0", "--budget", str(rounds), "--out_dir", folder),
                *extra,
            ]
        )
        watch.count()
    in_rounds, once = dict(watch.seconds["rounds"]), dict(watch.seconds["run"])
    full = {name: value * PUBLISHED_ROUNDS / rounds for name, value in in_rounds.items()}
    for name, value in once.items():
        full[name] = full.get(name, 0.0) + value
    everything = {name: in_rounds.get(name, 0.0) + once.get(name, 0.0) for name in full}
    return {
        "rounds": rounds,
        "seconds": sum(everything.values()),
        "seconds_in_rounds": sum(in_rounds.values()),
        "outside_share": outside(everything),
        "outside_share_in_rounds": outside(in_rounds),
        f"outside_share_at_{PUBLISHED_ROUNDS}_rounds": outside(full),
        "shares": shares(everything),
        "shares_in_rounds": shares(in_rounds),
        "seconds_once": dict(sorted(once.items())),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=20, help="rounds of 50 candidates")
    parser.add_argument("--threads", type=int, help="CPU threads of torch")
    parser.add_argument("--json", type=Path, help="file to write the numbers to")
    options, extra = parser.parse_known_args()
    numbers = profile(options.rounds, options.threads, extra)
    hand_over(numbers, options.json)


if __name__ == "__main__":
    main()
