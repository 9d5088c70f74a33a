"""Training of a WGAN-GP prior (Gulrajani et al. 2017, arXiv 1704.00028)."""

from __future__ import annotations

import time
from contextlib import ExitStack
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.core.optimizer import LightningOptimizer
from pytorch_lightning.strategies import ParallelStrategy
from torch import Tensor, nn
from torch.optim import Adam, Optimizer
from torchmetrics.image.fid import FrechetInceptionDistance

from ggl_lightning.errors import UserError, check_positive
from ggl_lightning.priors.feature_extractors import RandomConvFeatures
from ggl_lightning.priors.generator_average import GeneratorAverage
from ggl_lightning.priors.gradient_penalty import gradient_penalty
from ggl_lightning.priors.gradient_sync import average_over_ranks
from ggl_lightning.priors.wgan_gp_networks import WGANGPCritic, WGANGPGenerator
from ggl_lightning.training.divergence import is_finite
from ggl_lightning.training.images import TrainingImages
from ggl_lightning.training.ranks import any_rank

_VALIDATION_SEED = 0
_FEWEST_FOR_DISTANCE = 2  # images, for their covariance


class WGANGP(LightningModule):
    """Generator and critic trained on images ``(N, 3, image_size, image_size)`` in ``[-1, 1]``.

    Every batch updates the critic, every ``n_critic``-th batch the generator too. Lightning's
    ``global_step`` counts optimiser steps, so it advances ``1 + 1 / n_critic`` per batch on
    average; loggers and ``batches_seen`` count batches.

    Logged every ``log_every_n_steps`` batches: ``train/critic_loss`` (with the penalty),
    ``train/wasserstein`` (``E[C(real)] - E[C(fake)]``), ``train/gradient_norm`` (mean over the
    interpolates), ``train/gradient_penalty`` (weighted), ``train/generator_loss`` and
    ``train/images_per_second`` (real images of all ranks since the last log). On validation data:
    ``val/frechet_distance`` between the extractor's features of real and generated images
    (Heusel et al. 2017, arXiv 1706.08500).

    Args:
        width: Channels before the generator's last layer.
        latent_dim: Length of the latent.
        image_size: 32 or 64 pixels.
        n_critic: Batches (critic updates) per generator update.
        penalty_weight: Weight of the gradient penalty.
        learning_rate: Adam's learning rate, of both networks.
        betas: Adam's betas, of both networks.
        critic_width: Channels after the critic's first layer; ``width`` if None. The critic takes
            most of the time, so a narrower one is a quicker run.
        ema_decay: Decay of the generator's moving average, e.g. 0.999; None for no average.
            Samples, validation and export use the average if there is one.
        horizontal_flips: Whether each training image is mirrored with probability 1/2: for data
            that has no left and right, such as faces.
        num_classes: Conditions both networks on the images' labels, ``0`` to ``num_classes - 1``,
            see `wgan_gp_networks`; generated images get the labels of the real ones they are
            compared with. None for an unconditional prior, which ignores labels.
        feature_extractor: Images in ``[-1, 1]`` -> features ``(N, F)`` for the Fréchet distance;
            a small network with fixed random weights if None.

    Attributes:
        logged: Names of what is logged.

    Raises:
        UserError: If a value is out of its range; while training, if a label is none of the
            classes, or if the generator's images are no longer finite at a validation.
    """

    logged = (
        *("train/critic_loss", "train/wasserstein", "train/gradient_norm"),
        *("train/gradient_penalty", "train/generator_loss", "train/images_per_second"),
        "val/frechet_distance",
    )

    def __init__(
        self,
        width: int = 128,
        latent_dim: int = 128,
        image_size: int = 32,
        n_critic: int = 5,
        penalty_weight: float = 10.0,
        learning_rate: float = 1e-4,
        betas: tuple[float, float] = (0.5, 0.999),
        critic_width: int | None = None,
        ema_decay: float | None = None,
        feature_extractor: nn.Module | None = None,
        horizontal_flips: bool = False,
        num_classes: int | None = None,
    ) -> None:
        super().__init__()
        check_positive("n_critic", n_critic)
        check_positive("penalty_weight", penalty_weight)
        check_positive("learning_rate", learning_rate)
        if not all(0 <= beta < 1 for beta in betas):
            raise UserError(
                f"betas is {list(betas)}: both must be at least 0 and below 1, as in [0.5, 0.999]."
            )
        if critic_width is not None:
            check_positive("critic_width", critic_width)
        self.save_hyperparameters(ignore=["feature_extractor"])
        self.automatic_optimization = False

        self.latent_dim = latent_dim
        self.n_critic = n_critic
        self.penalty_weight = penalty_weight
        self.learning_rate = learning_rate
        self.betas = betas
        self.horizontal_flips = horizontal_flips
        self.num_classes = num_classes

        self.generator = WGANGPGenerator(width, latent_dim, image_size, num_classes)
        self.critic = WGANGPCritic(critic_width or width, image_size, num_classes)
        self.average = (
            None if ema_decay is None else GeneratorAverage(self.generator, decay=ema_decay)
        )
        extractor = RandomConvFeatures() if feature_extractor is None else feature_extractor
        self.frechet_distance = FrechetInceptionDistance(
            feature=extractor.requires_grad_(False),
            normalize=True,  # torchmetrics' word for "the extractor takes float images"
            input_img_size=(3, image_size, image_size),
        )

        self.batches_seen = 0
        self._noise = torch.Generator()
        self._validation_noise = torch.Generator()
        self._last_generator_loss: Tensor | None = None
        self._images_since_log = 0
        self._time_of_log = 0.0

    @property
    def sampling_generator(self) -> WGANGPGenerator:
        """The generator to draw samples from: the moving average, if there is one."""
        return self.generator if self.average is None else self.average.module

    def configure_optimizers(self) -> list[Optimizer]:
        """One Adam per network: the critic's, then the generator's."""
        return [
            Adam(network.parameters(), lr=self.learning_rate, betas=self.betas)
            for network in (self.critic, self.generator)
        ]

    def problems(self, images: TrainingImages | None, trainer: Trainer | None) -> list[str]:
        """See `Trainable.problems`: the images' size, number and labels, and the precision."""
        problems = [] if trainer is None else _precision_problems(str(trainer.precision))
        if images is None:
            return problems
        size = self.generator.image_size
        if images.image_size != size:
            problems.append(
                f"model.image_size is {size}, and data.init_args.image_size is "
                f"{images.image_size}: set both to the same value, or leave out the data's."
            )
        if images.batch_size == 1:
            problems.append(
                "data.init_args.batch_size is 1: batch-norm in the generator needs at least 2 "
                "images in a batch."
            )
        elif images.smallest_batch == 1:
            problems.append(
                f"data.init_args.batch_size is {images.batch_size}, which leaves a last batch of 1 "
                f"of the {images.per_device} images, and batch-norm in the generator needs at "
                "least 2: set drop_last to true, or choose another batch_size."
            )
        if self.num_classes is not None:
            problems += _label_problems(images.all_labels, self.num_classes)
            problems += _unseen_problems(images.labels, self.num_classes)
        if images.valid_labels is not None and len(images.valid_labels) < _FEWEST_FOR_DISTANCE:
            problems.append(
                "The valid split has 1 image, and the Fréchet distance needs at least "
                f"{_FEWEST_FOR_DISTANCE}: add images to it, or set trainer.limit_val_batches to 0."
            )
        return problems

    def on_fit_start(self) -> None:
        """Refuses precisions that leave no float32 weights for the penalty."""
        for problem in _precision_problems(str(self.trainer.precision)):
            raise UserError(problem)

    def on_train_start(self) -> None:
        """Seeds the noise and starts the clock."""
        self.seed_noise(self.global_rank)
        self._restart_clock()

    def seed_noise(self, rank: int) -> None:
        """Seeds latents and interpolation positions from the run's seed.

        Lightning seeds all ranks alike, which would make their fake images alike; and a resumed
        run must not draw the same noise again.

        Args:
            rank: This process's rank.
        """
        entropy = [torch.initial_seed() % 2**63, rank, self.batches_seen]
        seed = int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0])
        self._noise = torch.Generator(self.device).manual_seed(seed % 2**63)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """One critic update, and a generator update every ``n_critic`` batches.

        Args:
            batch: Images ``(N, 3, H, W)`` in ``[-1, 1]`` and labels ``(N,)``, which unconditional
                priors do not use.
            batch_idx: Index of the batch in its epoch.
        """
        real = self._mirrored(batch[0]) if self.horizontal_flips else batch[0]
        labels = self._condition(batch)
        critic_optimizer, generator_optimizer = cast(list[LightningOptimizer], self.optimizers())

        # The generator makes these images without a graph, so only the critic gets gradients.
        critic_loss, values = self.critic_loss(real, labels)
        self._update(critic_optimizer, self.critic, critic_loss)

        self.batches_seen += 1
        if self.batches_seen % self.n_critic == 0:
            # Toggling spares the backward pass the critic's weight gradients.
            with self.toggled_optimizer(generator_optimizer):
                generator_loss = self.generator_loss(len(real), labels)
                self._update(generator_optimizer, self.generator, generator_loss)
            if self.average is not None:
                self.average.update(self.generator, self.batches_seen // self.n_critic - 1)
            self._last_generator_loss = generator_loss.detach()

        self._log_training(values, len(real))

    def critic_loss(
        self, real: Tensor, labels: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """``-E[C(x)] + E[C(G(z))]`` plus the gradient penalty.

        With classes, ``-E[C(x, y)] + E[C(G(z, y), y)]`` over the real images' labels ``y``: both
        ends of a segment that the penalty is taken on are of one class, which is its condition.

        Args:
            real: Images ``(N, 3, H, W)`` in ``[-1, 1]``.
            labels: Their classes ``(N,)``; not used by unconditional priors.

        Returns:
            The loss, and detached scalars to log by name.
        """
        self._check_images(real)
        with torch.no_grad():
            fake = self.generator(self._latents(len(real)), labels)
        both = torch.cat([real, fake.to(real.dtype)])
        labels_of_both = None if labels is None else labels.repeat(2)
        scores_real, scores_fake = self.critic(both, labels_of_both).chunk(2)
        wasserstein = scores_real.float().mean() - scores_fake.float().mean()
        mix = torch.rand(len(real), device=real.device, generator=self._noise)
        critic = partial(self.critic, labels=labels)
        penalty, norms = gradient_penalty(critic, real, fake, mix, self.penalty_weight)
        loss = penalty - wasserstein
        return loss, {
            "train/critic_loss": loss.detach(),
            "train/wasserstein": wasserstein.detach(),
            "train/gradient_penalty": penalty.detach(),
            "train/gradient_norm": norms.mean(),
        }

    def generator_loss(self, n: int, labels: Tensor | None = None) -> Tensor:
        """``-E[C(G(z))]`` over ``n`` fresh latents, with classes ``-E[C(G(z, y), y)]``.

        Args:
            n: How many.
            labels: Their classes ``(n,)``; not used by unconditional priors.
        """
        fake = self.generator(self._latents(n), labels)
        return -self.critic(fake, labels).float().mean()

    def _condition(self, batch: tuple[Tensor, Tensor]) -> Tensor | None:
        if self.num_classes is None:
            return None
        # On a GPU a label that is no class would end the process without a name.
        for problem in _label_problems(batch[1], self.num_classes):
            raise UserError(problem)
        return batch[1]

    def _latents(self, n: int) -> Tensor:
        return torch.randn(n, self.latent_dim, device=self.device, generator=self._noise)

    def _mirrored(self, images: Tensor) -> Tensor:
        """Mirrors half of some images, drawn anew every time."""
        chance = torch.rand(len(images), 1, 1, 1, device=images.device, generator=self._noise)
        return torch.where(chance < 0.5, images.flip(-1), images)

    def _update(self, optimizer: LightningOptimizer, network: nn.Module, loss: Tensor) -> None:
        optimizer.zero_grad()
        strategy = self.trainer.strategy
        with ExitStack() as stack:
            if isinstance(strategy, ParallelStrategy):
                # See gradient_sync: DDP's own synchronisation does not fit a pass per network.
                stack.enter_context(strategy.block_backward_sync())
            # Lightning runs all of the training step under autocast, which would turn the
            # convolutions in the penalty's second derivative into half precision.
            stack.enter_context(torch.autocast(self.device.type, enabled=False))
            self.manual_backward(loss)
        # Every forward pass moves the generator's batch statistics, on each rank by its own batch.
        statistics = [b for b in self.generator.buffers() if b.is_floating_point()]
        average_over_ranks([*(p.grad for p in network.parameters()), *statistics])
        optimizer.step()
        # Mixed precision keeps half-precision copies of the weights for the whole training step.
        torch.clear_autocast_cache()

    def _log_training(self, values: dict[str, Tensor], n_images: int) -> None:
        self._images_since_log += n_images
        every: int = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        # Logging costs host time, so only the batches that loggers will read.
        if every == 0 or self.batches_seen % every != 0:
            return
        seconds = time.perf_counter() - self._time_of_log
        images = self._images_since_log * self.trainer.world_size
        self.log_dict(values)
        self.log("train/images_per_second", images / seconds)
        if self._last_generator_loss is not None:
            self.log("train/generator_loss", self._last_generator_loss)
        self._restart_clock()

    def _restart_clock(self) -> None:
        self._images_since_log = 0
        self._time_of_log = time.perf_counter()

    def on_validation_epoch_start(self) -> None:
        """Every validation draws the same latents, so that its distances are comparable."""
        seed = _VALIDATION_SEED + self.global_rank
        self._validation_noise = torch.Generator().manual_seed(seed)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Adds a batch of real and as many generated images to the Fréchet distance.

        Args:
            batch: Images ``(N, 3, H, W)`` in ``[-1, 1]`` and labels ``(N,)``; conditional priors
                generate images of the same classes.
            batch_idx: Index of the batch.
        """
        real = batch[0]
        self._check_images(real)
        latents = torch.randn(len(real), self.latent_dim, generator=self._validation_noise)
        fake = self.sampling_generator(latents.to(self.device), self._condition(batch))
        with torch.autocast(device_type=real.device.type, enabled=False):
            self.frechet_distance.update(real, real=True)
            self.frechet_distance.update(fake.to(real.dtype), real=False)
        self.log("val/frechet_distance", self.frechet_distance, on_step=False, on_epoch=True)

    def on_validation_epoch_end(self) -> None:
        """Refuses generated images that are none: the distance's eigenvalues would crash.

        Raises:
            UserError: If any value is not finite.
        """
        distance = self.frechet_distance
        sums = (distance.fake_features_sum, distance.fake_features_cov_sum)
        if any_rank(not is_finite(cast(tuple[Tensor, ...], sums)), self.trainer):
            raise UserError(
                "The training diverged: the generator's images are no longer finite. Lower "
                "learning_rate. Checkpoints from before are kept."
            )

    def on_validation_end(self) -> None:
        """Keeps validation out of the training throughput."""
        self._restart_clock()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Saves the batch counter that the generator's turn is counted by."""
        checkpoint["batches_seen"] = self.batches_seen

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restores the batch counter."""
        self.batches_seen = checkpoint["batches_seen"]

    def _check_images(self, images: Tensor) -> None:
        size = self.generator.image_size
        if images.shape[1:] != (3, size, size):
            raise UserError(
                f"The data module yields images of shape {tuple(images.shape[1:])}, and the model "
                f"is for (3, {size}, {size}). Set image_size to the same value in both."
            )


def _label_problems(labels: Tensor, num_classes: int) -> list[str]:
    unknown = labels[(labels < 0) | (labels >= num_classes)]
    if len(unknown) == 0:
        return []
    return [
        f"model.num_classes is {num_classes}, but the images have the label {int(unknown.max())}: "
        f"labels must be 0 to {num_classes - 1}. Set it to the number of the images' classes."
    ]


def _unseen_problems(labels: Tensor, num_classes: int) -> list[str]:
    """Classes behind the last one that there are images of; gaps may be meant."""
    seen = 1 + int(labels.max()) if len(labels) else 0
    if seen >= num_classes:
        return []
    return [
        f"model.num_classes is {num_classes}, but the train split has labels below {seen} only: a "
        f"class without images is not learnt. Set it to {seen}."
    ]


def _precision_problems(precision: str) -> list[str]:
    if precision not in {"16-true", "bf16-true"}:
        return []
    return [
        f"precision is {precision}: the gradient penalty needs float32 weights. Use bf16-mixed, "
        "16-mixed or 32-true."
    ]
