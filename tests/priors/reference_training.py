"""WGAN-GP training as a plain loop over all ranks in one process, to compare with."""

import torch
from pytorch_lightning import seed_everything
from torch.optim import Adam

from ggl_lightning.priors.wgan_gp import WGANGP

SETTINGS = {"width": 4, "latent_dim": 6, "n_critic": 2, "ema_decay": 0.9, "learning_rate": 1e-3}
SEED = 7


def reference_training(
    n_ranks: int, batches: list[list[torch.Tensor]], precision: str = "64-true"
) -> WGANGP:
    """Every rank's gradient is taken in turn, and their mean is what each network steps by.

    ``batches[k][r]`` is rank r's part of batch k. Compare in float64, because the gradients of
    biases before batch norm are rounding errors, which Adam blows up; or bf16 on one rank, where
    the arithmetic is the same.
    """
    if precision == "bf16-mixed":
        return _train(n_ranks, batches, torch.float32, half=True)
    torch.set_default_dtype(torch.float64)
    try:
        return _train(n_ranks, batches, torch.float64, half=False)
    finally:
        torch.set_default_dtype(torch.float32)


def _train(
    n_ranks: int, batches: list[list[torch.Tensor]], dtype: torch.dtype, half: bool
) -> WGANGP:
    replicas = []
    for rank in range(n_ranks):
        seed_everything(SEED, verbose=False)
        torch.set_default_dtype(torch.float32)  # the same initial weights
        replicas.append(WGANGP(**SETTINGS).to(dtype).train())
        torch.set_default_dtype(dtype)
        replicas[-1].seed_noise(rank)

    def update(networks, optimizers, losses):
        gradients = [
            torch.autograd.grad(loss, list(network.parameters()))
            for loss, network in zip(losses, networks, strict=True)
        ]
        for network, optimizer in zip(networks, optimizers, strict=True):
            for i, parameter in enumerate(network.parameters()):
                parameter.grad = torch.stack([g[i] for g in gradients]).mean(0)
            optimizer.step()
        for buffers in zip(*(replica.generator.buffers() for replica in replicas), strict=True):
            if buffers[0].is_floating_point():
                mean = torch.stack(buffers).mean(0)
                for buffer in buffers:
                    buffer.copy_(mean)

    def adams(networks):
        return [Adam(network.parameters(), lr=1e-3, betas=(0.5, 0.999)) for network in networks]

    critics = [replica.critic for replica in replicas]
    generators = [replica.generator for replica in replicas]
    critic_adams, generator_adams = adams(critics), adams(generators)
    n_generator_updates = 0
    for k, batch in enumerate(batches, start=1):
        parts = [part.to(dtype) for part in batch]
        # A context of its own for each pass: nothing half precision keeps can outlive it.
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            losses = [r.critic_loss(part)[0] for r, part in zip(replicas, parts, strict=True)]
        update(critics, critic_adams, losses)
        if k % SETTINGS["n_critic"] == 0:
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                losses = [
                    r.generator_loss(len(part)) for r, part in zip(replicas, parts, strict=True)
                ]
            update(generators, generator_adams, losses)
            for replica in replicas:
                replica.average.update(replica.generator, n_generator_updates)
            n_generator_updates += 1
    return replicas[0]
