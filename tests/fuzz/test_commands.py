"""Whatever people write into a configuration or type, it ends well.

`CONTRIBUTING.md` says how to try thousands of command lines by hand.
"""

from __future__ import annotations

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.fuzz.changes import changed, shipped, single_cases, tiny
from tests.fuzz.properties import faults, faults_of_printed, faults_of_rerun, faults_of_run

SHIPPED = shipped()
# A command line with one or two changes is short enough.
NO_SHRINKING = [Phase.explicit, Phase.reuse, Phase.generate]


def examples(here: int, by_hand: int) -> settings:
    """How many command lines are tried: few in every run of the suite, many by hand."""
    return settings(max_examples=here if settings().derandomize else by_hand, phases=NO_SHRINKING)


@examples(200, 5000)
@given(data=st.data())
def test_configurations(runner, things, data):
    """Printed only: every shipped configuration, whatever it needs."""
    call = data.draw(changed(SHIPPED, things, costly=True))
    sandbox = runner.sandbox(call.files)
    ending = runner.run(call.script, [*call.words, "--print_config"], sandbox)
    assert faults(call, ending) + faults_of_printed(call, ending) == [], ending.errors
    runner.clear(sandbox)


@examples(10, 500)
@given(data=st.data())
def test_dry_runs(runner, things, faces, data):
    """Built, checked and measured, and nothing is left behind."""
    bases = single_cases(tiny(SHIPPED, faces))
    audits = {name: tree for name, tree in bases.items() if name.startswith("audit")}
    call = data.draw(changed(audits, things, costly=False))
    sandbox = runner.sandbox(call.files)
    ending = runner.run(call.script, [*call.words, "--dry_run"], sandbox)
    assert faults(call, ending) == [], ending.errors
    assert ending.left == frozenset()
    runner.clear(sandbox)


@examples(25, 1000)
@given(data=st.data())
def test_runs(runner, things, faces, data):
    """Audits and trainings to their end; a finished audit has nothing more to do."""
    call = data.draw(changed(single_cases(tiny(SHIPPED, faces)), things, costly=False))
    sandbox = runner.sandbox(call.files)
    ending = runner.run(call.script, call.words, sandbox)
    assert faults(call, ending) + faults_of_run(call, ending) == [], ending.errors
    if ending.code == 0 and call.script == "audit.py":
        again = runner.run(call.script, call.words, sandbox)
        assert faults_of_rerun(again) == [], again.errors
    runner.clear(sandbox)
