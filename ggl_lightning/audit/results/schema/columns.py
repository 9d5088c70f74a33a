"""All columns of the results."""

from __future__ import annotations

from ggl_lightning.audit.results.schema.column import Column
from ggl_lightning.audit.results.schema.metrics import METRICS
from ggl_lightning.metrics import CEILING

_CASE = (
    Column(
        name="name",
        kind="text",
        meaning="the case's name, that of its folder in `cases/`",
        types=(str,),
    ),
    Column(
        name="key",
        kind="text",
        meaning="stands for all that determines the result ([keys](reference/run_folder.md#keys))",
        types=(str,),
    ),
    Column(name="role", kind="text", meaning="what the case is for, [below](#roles)", types=(str,)),
    Column(name="status", kind="text", meaning="`done` or `failed`", types=(str,)),
    Column(name="error", kind="text", meaning="why it failed, if it did"),
    Column(
        name="image_index",
        kind="integer",
        meaning="index of the client's first private image in its split; empty for a recorded "
        "update",
        types=(int, type(None)),
    ),
    Column(
        name="record",
        kind="text",
        meaning="name of the recorded update that the case is of; only where there are some",
        is_optional=True,
    ),
    Column(name="images", kind="integer", meaning="how many private images the client holds"),
    Column(
        name="defense",
        kind="text",
        meaning="name of the defense; empty for a control without one",
        types=(str, type(None)),
    ),
    Column(
        name="attack",
        kind="text",
        meaning="name of the attack; empty for a control without one",
        types=(str, type(None)),
    ),
    Column(name="seed", kind="integer", meaning="the case's seed", types=(int,)),
    Column(name="labels", kind="list", meaning="labels of the private images"),
)

_LABELS = (
    Column(
        name="inferred_labels",
        kind="list",
        meaning="labels read off the update; empty for controls and where labels are known",
        is_found=True,
    ),
    Column(
        name="assumed_labels",
        kind="list",
        meaning="labels that the reconstructions were made for, in the private images' order",
        is_found=True,
    ),
    Column(
        name="label_correct",
        kind="boolean",
        meaning="whether all labels were inferred rightly",
        is_found=True,
    ),
    Column(
        name="label_accuracy",
        kind="number",
        meaning="share of labels that were inferred rightly, 0 to 1",
        is_found=True,
    ),
    Column(
        name="label_margin",
        kind="number",
        meaning="how clear the inferred labels were",
        is_found=True,
    ),
)

_OUTCOME = (
    Column(
        name="psnr_random_mean",
        kind="number",
        meaning="mean PSNR, in dB, of `random_samples` random samples of the prior (without one, "
        "of public images) against the same private image: what reading nothing but the label off "
        "the update scores",
        is_found=True,
        needs_private_image=True,
        is_logged=True,
        is_hparam=True,
        ceiling=CEILING,
    ),
    Column(
        name="rank_pixel",
        kind="integer",
        meaning="place of the private image among itself and the decoys, by pixels, 1 for the "
        "nearest to the reconstruction; of a client's first image",
        is_found=True,
        needs_private_image=True,
        is_hparam=True,
    ),
    Column(
        name="rank_feature",
        kind="integer",
        meaning="the same by the client model's features",
        is_found=True,
        needs_private_image=True,
        is_hparam=True,
    ),
    Column(
        name="rank_update",
        kind="integer",
        meaning="the same by the update itself, for attacks that tell how likely each image of a "
        "lineup is to be behind it; no reconstruction is needed",
        is_found=True,
        needs_private_image=True,
        is_hparam=True,
    ),
    Column(
        name="decoys",
        kind="integer",
        meaning="how many decoys the private image stood among",
        is_found=True,
    ),
    Column(
        name="attribute_agreement",
        kind="number",
        meaning="share of attributes on which classifiers say the same of reconstruction and "
        "private image, 0 to 1",
        is_found=True,
        needs_private_image=True,
    ),
    Column(
        name="predicted_mse",
        kind="number",
        meaning="the mean squared error per pixel that the attack itself expected of its answer, "
        "on `[-1, 1]` images, without the truth",
        is_found=True,
    ),
    Column(
        name="loss",
        kind="number",
        meaning="the winning trial's objective",
        is_found=True,
        is_hparam=True,
    ),
    Column(name="trial", kind="integer", meaning="the winning trial, from 0", is_found=True),
    Column(
        name="rounds",
        kind="integer",
        meaning="rounds of the search over all trials",
        is_found=True,
    ),
    Column(
        name="evaluations",
        kind="integer",
        meaning="candidates that were evaluated, over all trials",
        is_found=True,
    ),
    Column(
        name="seconds",
        kind="number",
        meaning="time of the search, over all trials and interruptions",
        is_found=True,
    ),
    Column(
        name="stop_reason",
        kind="text",
        meaning="why the search ended early, if it did",
        is_found=True,
    ),
)

_DETAILS = (
    Column(
        name="defense_parameters", kind="object", meaning="the defense's class and true parameters"
    ),
    Column(
        name="defense_estimate",
        kind="object",
        meaning="what an adaptive attacker took the parameters for",
        is_found=True,
    ),
    Column(
        name="noise_multiplier",
        kind="number",
        meaning="standard deviation of the defense's Gaussian noise over the largest norm of what "
        "it is added to; empty where that has no bound, of records, and if buffers were sent too",
        is_found=True,
    ),
    Column(
        name="defense_guarantee",
        kind="object",
        meaning="what the defense provably promises, such as epsilon",
    ),
    Column(
        name="missing_metrics",
        kind="object",
        meaning="why a value is missing, by the column's name",
    ),
    Column(
        name="details",
        kind="object",
        meaning="indices of all private images, the attack's settings, the loss of every trial, "
        "and what else the result was made with",
    ),
)

_OTHERS = {column.name: column for column in (*_CASE, *_LABELS, *_OUTCOME, *_DETAILS)}

CASE_FIELDS: dict[str, tuple[type, ...]] = {
    column.name: column.types for column in _CASE if column.types
}
"""Fields without which a case's row cannot be placed, with their types."""

UTILITY_FIELDS: dict[str, tuple[type, ...]] = {
    **{name: CASE_FIELDS[name] for name in ("name", "key", "status", "seed")},
    "defense": (str,),
}
"""The same of a federated training's row."""

RANKS = {"pixel": "rank_pixel", "feature": "rank_feature", "update": "rank_update"}
"""That by which a private image is identified, with the columns."""

RATES = {f"top1_{by}": f"Top-1 {by}" for by in RANKS}
"""The identification rates that are compared, one for each of `RANKS`, with their titles."""

TOP = (1, 5)
"""Identified is an image that is among so many nearest."""


def columns() -> list[Column]:
    """All columns of a case's row, in the order in which tables have them."""
    return [*_CASE, *_LABELS, *METRICS.values(), *_OUTCOME, *_DETAILS]


def column_of(name: str) -> Column | None:
    """The column of a name; None if there is none."""
    return METRICS.get(name) or _OTHERS.get(name)


NO_RECONSTRUCTION = "the attack makes no reconstruction"
"""Why a row lacks what is measured of reconstructions."""

ONLY_BY_RECONSTRUCTION = "the attack tells images apart by its reconstruction alone"
"""Why there is no rank by the update."""

NO_PRIVATE_IMAGE = "no private image was given"
"""Why a row lacks what cannot be had without the private image."""


def missing_without_private_image() -> dict[str, str]:
    """Columns that a case without private images lacks, each with the reason.

    It belongs into such a row's ``missing_metrics``; the columns themselves are None in it.
    """
    lacking = (column.name for column in columns() if column.needs_private_image)
    return dict.fromkeys(lacking, NO_PRIVATE_IMAGE)


def found_by_running() -> list[str]:
    """Names of the columns that are not known before a case is run."""
    return [column.name for column in columns() if column.is_found]
