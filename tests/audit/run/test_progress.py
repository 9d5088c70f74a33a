from types import SimpleNamespace

import pytest
import torch

from ggl_lightning.audit.plan.case import Case, CaseSpec, UtilitySpec
from ggl_lightning.audit.run import progress
from ggl_lightning.audit.run.progress import AuditProgress


def work(cases, trainings):
    made = [
        Case(CaseSpec((i,), "none", "cma", 0, "attack"), torch.zeros(1), None, None, None)
        for i in range(cases)
    ]
    return [*made, *(UtilitySpec(f"defense{i}") for i in range(trainings))]


def run(items, trainings, *, first=True):
    trainer = SimpleNamespace(
        is_global_zero=first,
        world_size=1,
        num_test_batches=[len(items)],
        datamodule=SimpleNamespace(defenses=dict.fromkeys(range(trainings))),
    )
    module = SimpleNamespace(utility=object() if trainings else None)
    shown = AuditProgress()
    for place, item in enumerate(items):
        shown.on_test_batch_start(trainer, module, item, place)
        shown.on_test_batch_end(trainer, module, None, item, place)
    shown.on_test_epoch_end(trainer, module)


@pytest.fixture
def clock(monkeypatch):
    """Twenty seconds pass whenever somebody looks."""
    seconds = iter(range(0, 10**6, 20))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(seconds))


def test_a_log_gets_a_line_each_half_minute_with_the_time_left(clock, capsys):
    run(work(6, 2), 2)
    lines = capsys.readouterr().err.splitlines()
    # Begun at 0 s, a case takes 20 s.
    assert lines[:2] == ["2 of 6 cases, about 80 s left", "4 of 6 cases, about 40 s left"]
    assert lines[-1] == "2 of 2 trainings under a defense, about 0 s left"


def test_short_audits_and_other_ranks_print_nothing(capsys):
    run(work(6, 2), 2)
    run(work(6, 2), 2, first=False)
    assert capsys.readouterr().err == ""


def terminal(monkeypatch, rows):
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(progress.sys.stderr, "fileno", lambda: 2)
    size = progress.os.terminal_size((100, rows))
    monkeypatch.setattr(progress.os, "get_terminal_size", lambda descriptor: size)


def test_a_terminal_gets_bars_that_name_the_case(monkeypatch, capsys):
    terminal(monkeypatch, rows=24)
    run(work(3, 1), 1)
    shown = capsys.readouterr().err
    assert "3/3" in shown
    assert "image000000_none_cma_seed0" in shown
    assert "1/1" in shown
    assert "report" in shown.splitlines()[-1]


def test_a_terminal_without_rows_gets_lines_since_bars_would_be_hidden(clock, monkeypatch, capsys):
    """As recorders of sessions have, where nobody has said how large the window is."""
    terminal(monkeypatch, rows=0)
    run(work(6, 2), 2)
    shown = capsys.readouterr().err
    assert "2 of 6 cases, about 80 s left" in shown
    assert "%|" not in shown
