"""Results as a markdown table: attack x defense, for documents."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ggl_lightning.audit.results.measures import metric_value

_MEASURES = (("psnr", ".2f"), ("ssim", ".3f"))


def markdown_table(rows: Iterable[dict[str, Any]]) -> str:
    """One line per defense, one column per attack: mean PSNR (dB) / mean SSIM over the cases.

    Beside a defense stands its epsilon, if it guarantees one; beside an attack the candidate
    evaluations of a case, so that equal costs can be seen to be equal. A column ``random`` says
    what random samples of the prior score. Cases that failed are left out and counted; a group
    without a value has a dash.

    Args:
        rows: Results of cases, as in ``summary.json``. Those with a ``role`` other than ``attack``
            are controls, and are not shown.

    Returns:
        Lines of markdown, the last one ended.
    """
    cases = [row for row in rows if row.get("role", "attack") == "attack"]
    defenses = list(dict.fromkeys(row["defense"] for row in cases))
    attacks = list(dict.fromkeys(row["attack"] for row in cases))
    heads = [
        _attack_head(attack, [r for r in cases if r["attack"] == attack]) for attack in attacks
    ]
    lines = [_line(["defense", *heads, "random"]), _line(["---"] * (len(heads) + 2))]
    for defense in defenses:
        ours = [row for row in cases if row["defense"] == defense]
        cells = [_cell([row for row in ours if row["attack"] == attack]) for attack in attacks]
        random = _mean([metric_value(row, "psnr_random_mean") for row in _done(ours)])
        chance = "-" if random is None else f"{random:.2f}"
        lines.append(_line([_defense_head(defense, ours), *cells, chance]))
    return "\n".join(lines) + "\n"


def _attack_head(attack: str, cases: list[dict[str, Any]]) -> str:
    costs = sorted({row["evaluations"] for row in _done(cases)})
    if not costs:
        return attack
    cost = f"{costs[0]}" if len(costs) == 1 else f"{costs[0]} to {costs[-1]}"
    return f"{attack} ({cost} evaluations)"


def _defense_head(defense: str, cases: list[dict[str, Any]]) -> str:
    guarantees = [row["defense_guarantee"] for row in cases if row.get("defense_guarantee")]
    if not guarantees:
        return defense
    promise = guarantees[0]
    names = [name for name in ("epsilon", "delta") if isinstance(promise.get(name), int | float)]
    said = " at ".join(f"{name} {promise[name]:.3g}" for name in names)
    return f"{defense} ({said})" if said else defense


def _cell(cases: list[dict[str, Any]]) -> str:
    done = _done(cases)
    means = [(_mean([metric_value(row, name) for row in done]), form) for name, form in _MEASURES]
    cell = " / ".join("-" if mean is None else format(mean, form) for mean, form in means)
    failed = len(cases) - len(done)
    return f"{cell} ({failed} failed)" if failed else cell


def _done(cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in cases if row.get("status", "done") == "done"]


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _line(cells: list[str]) -> str:
    """A line of cells; a name in a result from elsewhere may hold what ends a cell or a line."""
    safe = [" ".join(cell.replace("|", "\\|").split()) for cell in cells]
    return f"| {' | '.join(safe)} |"
