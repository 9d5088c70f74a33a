"""Time of a GAN training step under Lightning, beside a bare PyTorch loop of the same arithmetic.

One step is five critic updates and one generator update. Both run in one process and take turns:
after each step of `Trainer.fit`, a callback does one step of the bare loop, so that the machine's
moods hit both alike. Lightning's time is all that passes between two turns of the bare loop: data
loading, hooks, logging and the updates.

    python benchmarks/gan_step.py --json gan_step.json
    python benchmarks/gan_step.py --width 96 --n-critic 1 --variants channels-last fused compiled

With ``--variants`` the bare loop is compared with itself, in turns too: weights and images in
channels-last order, Adam as one fused or several joint operations, the generator compiled. The
critic cannot be compiled: its penalty differentiates twice, which compiled networks do not.
"""

import ggl_lightning  # noqa: F401, I001  (first: it repairs torchvision beside a CPU-only torch)

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from timing import seconds
from torch.optim import Adam
from torch.utils.data import DataLoader, TensorDataset

from ggl_lightning.priors.wgan_gp import WGANGP
from ggl_lightning.priors.wgan_gp_networks import WGANGPCritic, WGANGPGenerator

N_CRITIC = 5
N_WARMUP = 3


VARIANTS = ("channels-last", "fused", "foreach", "compiled")


class BareLoop:
    """WGAN-GP's updates with nothing around them.

    Args:
        width: Of both networks.
        loader: Gives batches of images.
        device: Where to train.
        n_critic: Critic updates to a generator update.
        variant: One of `VARIANTS`; None for the plain loop.
    """

    def __init__(
        self,
        width: int,
        loader: DataLoader[Any],
        device: torch.device,
        n_critic: int = N_CRITIC,
        variant: str | None = None,
    ) -> None:
        self.device = device
        self.loader = loader
        self.batches = iter(loader)
        self.n_critic = n_critic
        last = variant == "channels-last"
        self.order = torch.channels_last if last else torch.contiguous_format
        self.generator = WGANGPGenerator(width).to(device)
        self.critic = WGANGPCritic(width).to(device)
        for network in (self.generator, self.critic):
            network.to(memory_format=self.order)  # type: ignore[call-overload]
        fast: dict[str, Any] = {str(variant): True} if variant in ("fused", "foreach") else {}
        settings = {"lr": 1e-4, "betas": (0.5, 0.999), **fast}
        self.generator_adam = Adam(self.generator.parameters(), **settings)
        self.critic_adam = Adam(self.critic.parameters(), **settings)
        if variant == "compiled":
            self.generator.compile()

    def step(self) -> None:
        """The critic's updates and one generator update."""
        for _ in range(self.n_critic):
            try:
                real, _ = next(self.batches)
            except StopIteration:
                self.batches = iter(self.loader)
                real, _ = next(self.batches)
            real = real.to(self.device, memory_format=self.order)
            n = len(real)
            with torch.no_grad():
                fake = self.generator(torch.randn(n, 128, device=self.device))
            scores_real, scores_fake = self.critic(torch.cat([real, fake])).chunk(2)
            mix = torch.rand(n, 1, 1, 1, device=self.device)
            between = torch.lerp(real, fake, mix).requires_grad_()
            scores = self.critic(between).sum()
            (gradient,) = torch.autograd.grad(scores, between, create_graph=True)
            norms = torch.linalg.vector_norm(gradient.flatten(1), dim=1)
            loss = scores_fake.mean() - scores_real.mean() + 10 * (norms - 1).square().mean()
            self.critic_adam.zero_grad()
            loss.backward()
            self.critic_adam.step()
        self.critic.requires_grad_(False)
        loss = -self.critic(self.generator(torch.randn(n, 128, device=self.device))).mean()
        self.generator_adam.zero_grad()
        loss.backward()
        self.generator_adam.step()
        self.critic.requires_grad_(True)


class TakesTurns(Callback):
    """Times Lightning's steps, and a step of the bare loop after each."""

    def __init__(self, bare: BareLoop) -> None:
        self.bare = bare
        self.lightning_seconds: list[float] = []
        self.bare_seconds: list[float] = []
        self._start = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts Lightning's first step."""
        self._start = self._now()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Ends Lightning's step, gives the bare loop its turn, starts Lightning's next step."""
        assert isinstance(pl_module, WGANGP)
        if pl_module.batches_seen % N_CRITIC:
            return
        end = self._now()
        self.bare.step()
        bare_end = self._now()
        self.lightning_seconds.append(end - self._start)
        self.bare_seconds.append(bare_end - end)
        self._start = self._now()

    def _now(self) -> float:
        if self.bare.device.type == "cuda":
            torch.cuda.synchronize(self.bare.device)
        return time.perf_counter()


def compare(variant: str, options: argparse.Namespace) -> dict[str, float]:
    """Steps of a variant beside the plain loop's: the median of the ratios, and their quartiles."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    images = torch.rand(2048, 3, 32, 32) * 2 - 1
    data = TensorDataset(images, torch.zeros(len(images), dtype=torch.long))
    loader = DataLoader(data, options.batch_size, shuffle=True, drop_last=True)
    plain, changed = (
        BareLoop(options.width, loader, device, options.n_critic, each) for each in (None, variant)
    )
    for loop in (plain, changed):
        for _ in range(N_WARMUP):
            loop.step()
    ratios = []
    for _ in range(options.steps):
        before = seconds(plain.step, device)
        ratios.append(seconds(changed.step, device) / before)
    low, middle, high = statistics.quantiles(ratios, n=4)
    return {"ratio_to_plain_loop": middle, "low": low, "high": high}


def measure(width: int, batch_size: int, steps: int) -> dict[str, Any]:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    images = torch.rand(2048, 3, 32, 32) * 2 - 1
    data = TensorDataset(images, torch.zeros(len(images), dtype=torch.long))
    loader = DataLoader(data, batch_size, shuffle=True, drop_last=True)
    turns = TakesTurns(BareLoop(width, loader, device))
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            accelerator=device.type if device.type == "cuda" else "cpu",
            devices=1,
            max_epochs=-1,
            # Lightning counts optimiser steps: six to a step of this benchmark.
            max_steps=(steps + N_WARMUP) * (N_CRITIC + 1),
            default_root_dir=folder,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            callbacks=[turns],
        )
        trainer.fit(WGANGP(width, n_critic=N_CRITIC), loader)
    lightning = turns.lightning_seconds[N_WARMUP:]
    bare = turns.bare_seconds[N_WARMUP:]
    ratios = sorted(ours / theirs for ours, theirs in zip(lightning, bare, strict=True))
    low, middle, high = statistics.quantiles(ratios, n=4)
    return {
        "ratio_to_bare_loop": middle,
        "ratio_quartiles": [low, high],
        "lightning_seconds_median": statistics.median(lightning),
        "bare_seconds_median": statistics.median(bare),
        "pairs": len(ratios),
        "width": width,
        "batch_size": batch_size,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--json", type=Path, help="file to write the result to")
    parser.add_argument("--steps", type=int, default=20, help="pairs to measure (at least 2)")
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--n-critic", type=int, default=N_CRITIC, help="with --variants")
    parser.add_argument("--variants", nargs="+", default=[], choices=VARIANTS)
    options = parser.parse_args()
    if options.variants:
        ratios: dict[str, Any] = {}
        for variant in options.variants:
            ratios[variant] = compare(variant, options)
            print(variant, {name: round(value, 3) for name, value in ratios[variant].items()})
        if options.json is not None:
            options.json.write_text(json.dumps(ratios, indent=2) + "\n")
        return
    result = measure(options.width, options.batch_size, options.steps)
    low, high = result["ratio_quartiles"]
    print(
        f"one step (5 critic + 1 generator updates, batch {options.batch_size}, width "
        f"{options.width}, {result['device']}): Lightning "
        f"{result['lightning_seconds_median'] * 1e3:.1f} ms, bare loop "
        f"{result['bare_seconds_median'] * 1e3:.1f} ms, ratio "
        f"{result['ratio_to_bare_loop']:.3f} (quartiles {low:.3f} to {high:.3f}, "
        f"{result['pairs']} pairs)"
    )
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
