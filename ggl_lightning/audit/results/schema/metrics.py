"""The metrics of a reconstruction beside its private image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ggl_lightning.audit.results.schema.column import Column, Kind
from ggl_lightning.metrics import CEILING, PUBLISHED_CEILING


@dataclass(frozen=True, kw_only=True)
class Metric(Column):
    """A metric that `ReconstructionMetrics.collection` computes.

    Rows, tables, statistics and the page's leakage table have every metric; places are those among
    the metrics of a shorter list, 1 for the first, None for those that are not in it. One with a
    ceiling is infinite of an exact reconstruction.

    Attributes:
        title: For readers.
        higher_is_better: Whether higher is better for the attacker; None where neither is leakage.
        range: Its value range, as Markdown.
        unit: Its unit; empty if it has none.
        decimals: Of a value.
        rounded: Decimals in the verdict; differences have one more.
        headline: Place among those of which the first that was computed is the verdict's leakage.
        compared: Place among those in which defenses are compared pair by pair.
        summary: Place among those of the verdict, of LaTeX and of Markdown.
        is_printed: Whether the table has it that an audit prints.
        chance: The column that says what random samples of the prior score; None without one.
    """

    kind: Kind = "number"
    is_found: bool = True
    needs_private_image: bool = True
    is_logged: bool = True
    title: str
    higher_is_better: bool | None
    range: str
    unit: str = ""
    decimals: int = 4
    rounded: int = 3
    headline: int | None = None
    compared: int | None = None
    summary: int | None = None
    is_printed: bool = False
    chance: str | None = None

    @property
    def title_with_unit(self) -> str:
        """The title, with the unit if there is one."""
        return f"{self.title}, {self.unit}" if self.unit else self.title


_DECLARED = (
    Metric(
        name="mse",
        title="MSE",
        meaning="mean squared error, in squared units of `[-1, 1]`",
        range="0 to 4",
        higher_is_better=False,
        headline=5,
        compared=3,
        is_hparam=True,
        is_printed=True,
    ),
    Metric(
        name="psnr",
        title="PSNR",
        meaning="`10 log10(2^2 / mse)`: the standard definition, with the images' data range of 2",
        range="0 to infinity (identical)",
        unit="dB",
        higher_is_better=True,
        ceiling=CEILING,
        decimals=2,
        rounded=1,
        headline=1,
        compared=1,
        summary=1,
        is_hparam=True,
        is_printed=True,
        chance="psnr_random_mean",
    ),
    Metric(
        name="psnr_published",
        title="PSNR (published convention)",
        meaning="`-10 log10(mse)`: a peak of 1 on images in `[-1, 1]`; `psnr` less 6.02 dB",
        range="-6.02 to infinity (identical)",
        unit="dB",
        higher_is_better=True,
        ceiling=PUBLISHED_CEILING,
        decimals=2,
        rounded=1,
        is_logged=False,
    ),
    Metric(
        name="ssim",
        title="SSIM",
        meaning="structural similarity, 11x11 Gaussian window, data range 2",
        range="-1 to 1 (identical)",
        higher_is_better=True,
        decimals=3,
        headline=2,
        compared=2,
        summary=2,
        is_hparam=True,
        is_printed=True,
    ),
    Metric(
        name="lpips_vgg",
        title="LPIPS (VGG)",
        meaning="learned perceptual distance on VGG-16",
        range="0 (identical) upwards",
        higher_is_better=False,
        headline=3,
        compared=4,
        is_hparam=True,
    ),
    Metric(
        name="lpips_alex",
        title="LPIPS (Alex)",
        meaning="learned perceptual distance on AlexNet",
        range="0 (identical) upwards",
        higher_is_better=False,
        headline=4,
        compared=5,
        is_hparam=True,
    ),
    Metric(
        name="fmse",
        title="FMSE",
        meaning="mean squared difference of the client model's logits",
        range="0 upwards",
        higher_is_better=False,
    ),
    Metric(
        name="mse_r",
        title="MSE-R",
        meaning="mean squared difference of the input of the client model's last layer",
        range="0 upwards",
        higher_is_better=False,
    ),
    Metric(
        name="rmse_r",
        title="RMSE-R",
        meaning="the root of `mse_r`, per image",
        range="0 upwards",
        higher_is_better=False,
        is_logged=False,
    ),
    Metric(
        name="tv_reconstruction",
        title="TV of the reconstruction",
        meaning="total variation of the reconstruction",
        range="0 (constant) upwards",
        higher_is_better=None,
        is_logged=False,
    ),
    Metric(
        name="tv_private",
        title="TV of the private image",
        meaning="total variation of the private image",
        range="0 (constant) upwards",
        higher_is_better=None,
        is_logged=False,
    ),
)

METRICS: dict[str, Metric] = {metric.name: metric for metric in _DECLARED}
"""All metrics by name, in the order in which they are shown."""


def leakage_metrics() -> list[Metric]:
    """Those that have a better direction."""
    return [metric for metric in METRICS.values() if metric.higher_is_better is not None]


def headline_metrics() -> list[Metric]:
    """The verdict's leakage is that of the first of these which was computed for any group."""
    return _placed(lambda metric: metric.headline)


def compared_metrics() -> list[Metric]:
    """Those in which defenses are compared pair by pair."""
    return _placed(lambda metric: metric.compared)


def summary_metrics() -> list[Metric]:
    """Those that short tables have."""
    return _placed(lambda metric: metric.summary)


def metric_title(name: str) -> str:
    """A metric's title; the name itself if it is none's."""
    return METRICS[name].title if name in METRICS else name


def _placed(place: Callable[[Metric], int | None]) -> list[Metric]:
    places = [(at, metric) for metric in METRICS.values() if (at := place(metric)) is not None]
    return [metric for _, metric in sorted(places, key=lambda each: each[0])]
