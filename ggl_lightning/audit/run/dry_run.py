"""What an audit would do, and how long it would take."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, replace

import torch

from ggl_lightning.attacks import Attack, Progress
from ggl_lightning.attacks.fits import MemoryFits
from ggl_lightning.attacks.searches.loop import SearchLoop
from ggl_lightning.audit.plan.case import CaseSpec, UtilitySpec
from ggl_lightning.audit.plan.controls import SearchControl, control_of
from ggl_lightning.audit.plan.data_module import AuditDataModule
from ggl_lightning.audit.plan.roles import ATTACK
from ggl_lightning.audit.run.module import AuditModule
from ggl_lightning.clients.validation import has_batch_norm

_MODES = {
    "eval": "The client model has batch-norm, which is in eval mode throughout: it takes its "
    "running statistics, not those of the client's images.",
    "train": "The client model has batch-norm, which is in training mode while the client trains: "
    "it takes the statistics of the batch.",
}
_ROUNDS = 4
_SECONDS = 10.0


@dataclass(frozen=True)
class _Line:
    """Cases of one role, defense and attack that are still to be run."""

    title: str
    cases: int
    evaluations: int
    seconds: float


def describe_audit(module: AuditModule, grid: AuditDataModule) -> str:
    """Lists the cases still to be run with their evaluations and an estimate of their time.

    Nothing is written. Every attack's first rounds are run once, on its first case, for the
    estimate: on this machine and device, in one process.

    Args:
        module: The audit, which has been admitted.
        grid: Its cases.

    Returns:
        Text for the user.

    Raises:
        UserError: As the audit itself would.
    """
    done = module.run_folder.check(module.grid_keys)
    specs = [spec for spec in grid.cases.specs if spec.name not in done]
    counts = Counter((spec.role, spec.defense_name, spec.attack_name) for spec in specs)
    seconds: dict[tuple[str, str | None], float] = {}
    lines = []
    for (role, defense, attack), count in counts.items():
        if attack is None:
            lines.append(_Line(role, count, 0, 0.0))
            continue
        # Other controls have the attack's own search.
        kind = (attack, role if isinstance(control_of(role), SearchControl) else None)
        if kind not in seconds:
            first = next(s for s in specs if (s.role, s.attack_name) == (role, attack))
            seconds[kind] = _seconds(module, grid, grid.cases.specs.index(first))
        evaluations = grid.attacks[attack].evaluations
        title = " ".join(part for part in (role, defense, attack) if part)
        lines.append(_Line(title, count, count * evaluations, count * seconds[kind]))
    lines += _fit_lines(module, grid, specs)
    lines += _training_lines(module)
    text = _text(lines, len(grid.cases), len(done))
    if not has_batch_norm(module.client_model):
        return text
    return "\n".join([text, *(_MODES[mode] for mode in sorted(_modes(module, grid)))])


def _modes(module: AuditModule, grid: AuditDataModule) -> set[str]:
    """In which modes batch-norm is, or is believed to be, while clients train."""
    if grid.records is None:
        return {module.procedure.batch_norm_mode}
    cases = (grid.cases[position] for position in range(len(grid.cases)))
    return {case.recorded.facts["believed_mode"] for case in cases if case.recorded is not None}


def _fit_lines(module: AuditModule, grid: AuditDataModule, specs: list[CaseSpec]) -> list[_Line]:
    """What attacks learn first: once for every label under every kind of defense, at most."""
    lines = []
    for name, attack in grid.attacks.items():
        ours = [spec for spec in specs if spec.role == ATTACK.name and spec.attack_name == name]
        learning = next((one for one in _members(attack) if one.needs_public), None)
        if learning is None or not ours:
            continue
        case = grid.cases[grid.cases.specs.index(ours[0])]
        short, worth = learning.sample()
        share = min(1.0, 2 * _available(grid, learning) / learning.needs_public)
        worth = max(1.0, worth * share**2)
        seconds = []
        runner = module.runner(grid, MemoryFits())
        for _ in range(2):
            started = time.perf_counter()
            runner.run(replace(case, attack=short), "", Progress())
            seconds.append(time.perf_counter() - started)
        labels = len({int(label) for spec in ours for label in _labels(grid, spec)}) or 1
        count = labels * len({spec.defense_name for spec in ours})
        estimate = max(0.0, seconds[0] - seconds[1]) * worth
        lines.append(_Line(f"fits of {name}, at most", count, 0, count * estimate))
    return lines


def _available(grid: AuditDataModule, attack: Attack) -> int:
    """How many public images an attack gets, which it may double by their mirror images."""
    count = grid.public_for(attack.needs_public)
    return count if grid.opened_public is None else min(count, len(grid.opened_public))


def _members(attack: Attack) -> list[Attack]:
    return list(attack.members.values()) or [attack]


def _labels(grid: AuditDataModule, spec: CaseSpec) -> list[int]:
    return grid.labels[list(spec.indices)].tolist() if len(grid.labels) else []


def _training_lines(module: AuditModule) -> list[_Line]:
    """Federated trainings still to be run, each timed over its first rounds."""
    if module.trainings is None:
        return []
    missing = [
        name for name in module.training_keys if module.run_folder.load_training(name) is None
    ]
    return [
        _Line(
            f"training under {name}",
            1,
            0,
            module.trainings.estimate(UtilitySpec(name), module.device),
        )
        for name in missing
    ]


def _seconds(module: AuditModule, grid: AuditDataModule, position: int) -> float:
    """Time of one case, from its first rounds."""
    case = grid.cases[position]
    attack = case.attack
    assert attack is not None
    short, evaluations_alike = attack.sample()
    if short.needs_prior and module.prior is None:  # a member that is going to be left out
        short, evaluations_alike = attack, attack.cost
    rounds: list[tuple[float, int]] = []

    def stop_soon(hook: str, loop: SearchLoop) -> None:
        if hook == "on_round_end":
            rounds.append((loop.elapsed, loop.evaluations))
            if loop.round >= _ROUNDS or loop.elapsed > _SECONDS:
                loop.request_stop("measured")

    runner = module.runner(grid, MemoryFits())
    started = time.perf_counter()
    runner.run(replace(case, attack=short), "", Progress(stop_soon))
    if not rounds:  # an attack without a search has been run as a whole
        first = time.perf_counter() - started
        if not attack.needs_public:
            return first
        # Again: what is learnt first is learnt once, and serves other cases too.
        started = time.perf_counter()
        runner.run(replace(case, attack=short), "", Progress(stop_soon))
        return time.perf_counter() - started
    # The first round also pays for what is done once.
    (start, before), (end, after) = (rounds[0] if len(rounds) > 1 else (0.0, 0)), rounds[-1]
    return (end - start) / (after - before) * evaluations_alike


def _text(lines: list[_Line], cases: int, done: int) -> str:
    rows = [("", "evaluations", "about", "")]
    rows += [(str(n.cases), str(n.evaluations), duration(n.seconds), n.title) for n in lines]
    total = _Line(
        "all",
        sum(line.cases for line in lines),
        sum(line.evaluations for line in lines),
        sum(line.seconds for line in lines),
    )
    rows.append((str(total.cases), str(total.evaluations), duration(total.seconds), total.title))
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    table = ["  ".join([*map(str.rjust, row, widths), row[3]]).rstrip() for row in rows]
    count = torch.get_num_threads()
    threads = "1 thread" if count == 1 else f"{count} threads"
    return "\n".join(
        [
            f"{cases} cases, {done} of them done. Still to be run, one after the other:",
            *table,
            f"Measured on {threads} by the first rounds of each attack; "
            "a search whose later rounds take longer (a Gaussian process) takes longer.",
        ]
    )


def duration(seconds: float) -> str:
    """A time for people: two units at the most."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes:02d} min"
    return f"{hours // 24} d {hours % 24} h"
