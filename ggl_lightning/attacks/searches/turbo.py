"""Bayesian optimisation in a trust region: TuRBO-1 on BoTorch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from botorch.generation.sampling import MaxPosteriorSampling
from gpytorch.settings import max_cholesky_size
from scipy.stats import qmc
from torch import Tensor
from torch.quasirandom import SobolEngine

from ggl_lightning.attacks.searches.base import Search
from ggl_lightning.attacks.searches.gaussian_process import fit_gaussian_process
from ggl_lightning.attacks.searches.trust_region import TrustRegion
from ggl_lightning.errors import UserError, check_positive

_GROWTH = 1.5
"""A fit starts afresh at so many times the points: going on for ever is stuck in a local optimum
(on a quadratic function in 6 dimensions it ends with 5 times the loss)."""


class TuRBOSearch(Search):
    """TuRBO-1 (Eriksson et al. 2019): a Gaussian process and Thompson sampling in a trust region.

    Starts with a Latin hypercube over ``[-bound, bound]^d``; then every round fits a Gaussian
    process (ARD Matern-5/2, float64) to what was evaluated since the trust region was (re)started,
    and draws a batch by Thompson sampling from within the region. A region that has shrunk below
    its minimum is started afresh.

    Two things make it quicker than the published code: a fit goes on from the last round's until
    the data have grown by half, and a batch is chosen among 2000 candidates instead of 5000, whose
    joint samples take most of the time. They are exact here; the published code's are of reduced
    rank.

    The budget counts candidate evaluations, the Latin hypercube's included.

    Args:
        batch_size: Candidates per round.
        initial: Points of the Latin hypercube.
        bound: Latents are searched in ``[-bound, bound]`` per coordinate.
        candidates: Points of the trust region among which a round chooses.
        device: Where the Gaussian process is fitted, e.g. ``cpu`` or ``cuda``.

    Raises:
        UserError: If a number is not positive, or ``candidates`` is below ``batch_size``.
    """

    def __init__(
        self,
        batch_size: int = 10,
        initial: int = 256,
        bound: float = 2.0,
        candidates: int = 2000,
        device: str = "cpu",
    ) -> None:
        check_positive("batch_size of TuRBO", batch_size)
        check_positive("initial of TuRBO", initial)
        check_positive("bound of TuRBO", bound)
        if candidates < batch_size:
            raise UserError(
                f"candidates of TuRBO is {candidates}: it must be at least batch_size, "
                f"{batch_size}."
            )
        self.batch_size = batch_size
        self.initial = initial
        self.bound = bound
        self.candidates = candidates
        self.device = device
        self._asked = self._waiting = self._points = torch.empty(0, 0, dtype=torch.float64)
        self._values = torch.empty(0, dtype=torch.float64)
        self._fitted: Tensor | None = None  # the last fit's hyper-parameters

    def rounds(self, budget: int) -> int:
        """Rounds of ``batch_size`` evaluations; the hypercube's last and the very last may be less.

        A trust region that restarts may leave a few evaluations of the budget unused.
        """
        after = max(0, budget - self.initial)
        return math.ceil(self.initial / self.batch_size) + math.ceil(after / self.batch_size)

    def evaluations(self, budget: int) -> int:
        """The budget itself."""
        return budget

    def start(self, latent_shape: tuple[int, ...], budget: int, seed: int) -> None:
        """See `Search.start`.

        Raises:
            UserError: If the budget does not go beyond the Latin hypercube.
        """
        if budget <= self.initial:
            raise UserError(
                f"budget is {budget} evaluations, but TuRBO's Latin hypercube alone takes "
                f"{self.initial}: raise budget or lower initial."
            )
        self._shape = latent_shape
        self._dimension = math.prod(latent_shape)
        self._left = budget
        self._seed = seed
        self._draws = 0  # every use of randomness has its own seed, counted here
        self._best = (math.inf, torch.full((self._dimension,), 0.5).double())
        self._restart()

    def ask(self) -> Tensor:
        """See `Search.ask`."""
        count = min(self.batch_size, self._left)
        if len(self._waiting):
            self._asked, self._waiting = self._waiting[:count], self._waiting[count:]
        else:
            self._asked = self._propose(count)
        self._left -= len(self._asked)
        return self._to_latents(self._asked)

    def tell(self, losses: Tensor) -> None:
        """See `Search.tell`."""
        values = losses.detach().cpu().double()
        lowest = int(values.argmin())
        if values[lowest] < self._best[0]:
            self._best = (values[lowest].item(), self._asked[lowest])
        if len(self._values) >= self.initial:
            self._region.update(values.min().item(), self._values.min().item())
        self._points = torch.cat([self._points, self._asked])
        self._values = torch.cat([self._values, values])
        if self._region.exhausted:
            self._restart()

    def recommend(self) -> Tensor:
        """The best candidate evaluated in any trust region."""
        return self._to_latents(self._best[1].unsqueeze(0))[0]

    def snapshot(self) -> dict[str, Tensor]:
        """See `Search.snapshot`: all data, so that no Gaussian process is fitted again."""
        region, (lowest, best) = self._region, self._best
        counts = [region.successes, region.failures, self._left, self._draws, self._afresh]
        kept = {
            "points": self._points,
            "values": self._values,
            "waiting": self._waiting,
            "best": best,
            "numbers": torch.tensor([lowest, region.length, *counts], dtype=torch.float64),
        }
        return kept if self._fitted is None else {**kept, "fitted": self._fitted}

    def restore(
        self, snapshot: Mapping[str, Tensor], told: Sequence[Tensor], asked: Tensor | None
    ) -> None:
        """See `Search.restore`."""
        self._points, self._values = snapshot["points"], snapshot["values"]
        self._waiting = snapshot["waiting"]
        lowest, self._region.length, *counts = snapshot["numbers"].tolist()
        self._best = (lowest, snapshot["best"])
        self._region.successes, self._region.failures, *counts = map(int, counts)
        self._left, self._draws, self._afresh = counts
        fitted = snapshot.get("fitted")
        self._fitted = None if fitted is None else fitted.to(self.device)

    def _restart(self) -> None:
        """Begins a new trust region, which knows nothing of earlier ones' data."""
        self._region = TrustRegion(self._dimension, self.batch_size)
        sampler = qmc.LatinHypercube(self._dimension, rng=self._next_seed())
        self._waiting = torch.from_numpy(sampler.random(self.initial))
        self._points = torch.empty(0, self._dimension, dtype=torch.float64)
        self._values = torch.empty(0, dtype=torch.float64)
        self._fitted = None
        self._afresh = 0  # points at the last fit that did not go on from the one before

    def _propose(self, count: int) -> Tensor:
        """Thompson sampling from the trust region around the best point since the restart."""
        points = self._points.to(self.device)
        values = -self._values.to(self.device)  # BoTorch maximises
        targets = (values - values.mean()) / values.std().clamp_min(1e-12)
        with torch.random.fork_rng(devices=_cuda_devices(self.device)):
            torch.manual_seed(self._next_seed())
            if len(points) >= _GROWTH * self._afresh:
                self._afresh, self._fitted = len(points), None
            model, self._fitted = fit_gaussian_process(points, targets, self._fitted)
            center = points[targets.argmax()]
            lengthscales = model.covar_module.base_kernel.lengthscale.detach().reshape(-1)
            candidates = self._candidates(center, *self._region.box(center, lengthscales))
            with torch.no_grad(), max_cholesky_size(len(points) + len(candidates)):  # exact samples
                sampling = MaxPosteriorSampling(model, replacement=False)
                return sampling(candidates, num_samples=count).cpu()

    def _candidates(self, center: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """Points in the box that differ from the centre in about 20 random coordinates each."""
        sobol = SobolEngine(self._dimension, scramble=True, seed=self._next_seed())
        points = low + (high - low) * sobol.draw(self.candidates, dtype=torch.float64).to(center)
        moved = torch.rand_like(points) <= min(1.0, 20 / self._dimension)
        stuck = (~moved.any(dim=1)).nonzero()[:, 0]
        moved[stuck, torch.randint(self._dimension, (len(stuck),), device=points.device)] = True
        return torch.where(moved, points, center)

    def _next_seed(self) -> int:
        self._draws += 1
        return (self._seed * 1_000_003 + self._draws) % 2**31

    def _to_latents(self, points: Tensor) -> Tensor:
        """From the unit cube to latents."""
        return ((2 * points - 1) * self.bound).float().reshape(-1, *self._shape)


def _cuda_devices(device: str) -> list[torch.device]:
    return [torch.device(device)] if torch.device(device).type == "cuda" else []
