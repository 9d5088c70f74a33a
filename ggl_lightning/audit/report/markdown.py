"""Results as a markdown table: attack x defense, for documents."""

from __future__ import annotations

from collections.abc import Iterable

from ggl_lightning.audit.plan.roles import ATTACK
from ggl_lightning.audit.results.schema import Metric, Row, is_done, summary_metrics
from ggl_lightning.audit.results.values import metric_value


def markdown_table(rows: Iterable[Row]) -> str:
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
    cases = [row for row in rows if row.get("role", ATTACK.name) == ATTACK.name]
    defenses = list(dict.fromkeys(row["defense"] for row in cases))
    attacks = list(dict.fromkeys(row["attack"] for row in cases))
    heads = [
        _attack_head(attack, [r for r in cases if r["attack"] == attack]) for attack in attacks
    ]
    beside_chance = [(one, one.chance) for one in summary_metrics() if one.chance is not None]
    titles = ["defense", *heads, *("random" for _ in beside_chance)]
    lines = [_line(titles), _line(["---"] * len(titles))]
    for defense in defenses:
        ours = [row for row in cases if row["defense"] == defense]
        cells = [_cell([row for row in ours if row["attack"] == attack]) for attack in attacks]
        cells += [
            _number([metric_value(row, chance) for row in _done(ours)], metric)
            for metric, chance in beside_chance
        ]
        lines.append(_line([_defense_head(defense, ours), *cells]))
    return "\n".join(lines) + "\n"


def _attack_head(attack: str, cases: list[Row]) -> str:
    costs = sorted({row["evaluations"] for row in _done(cases)})
    if not costs:
        return attack
    cost = f"{costs[0]}" if len(costs) == 1 else f"{costs[0]} to {costs[-1]}"
    return f"{attack} ({cost} evaluations)"


def _defense_head(defense: str, cases: list[Row]) -> str:
    guarantees = [row["defense_guarantee"] for row in cases if row.get("defense_guarantee")]
    if not guarantees:
        return defense
    promise = guarantees[0]
    names = [name for name in ("epsilon", "delta") if isinstance(promise.get(name), int | float)]
    said = " at ".join(f"{name} {promise[name]:.3g}" for name in names)
    return f"{defense} ({said})" if said else defense


def _cell(cases: list[Row]) -> str:
    done = _done(cases)
    cell = " / ".join(
        _number([metric_value(row, metric.name) for row in done], metric)
        for metric in summary_metrics()
    )
    failed = len(cases) - len(done)
    return f"{cell} ({failed} failed)" if failed else cell


def _done(cases: list[Row]) -> list[Row]:
    return [row for row in cases if is_done(row)]


def _number(values: list[float | None], metric: Metric) -> str:
    mean = _mean(values)
    return "-" if mean is None else f"{mean:.{metric.decimals}f}"


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _line(cells: list[str]) -> str:
    """A line of cells; a name in a result from elsewhere may hold what ends a cell or a line."""
    safe = [" ".join(cell.replace("|", "\\|").split()) for cell in cells]
    return f"| {' | '.join(safe)} |"
