"""The runner and the reading of configurations see what they are to see."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.calls import Call
from tests.fuzz.changes import Draft
from tests.fuzz.properties import faults, faults_of_run
from tests.fuzz.yaml_tree import Mapping, Scalar, leaves, means, parse, write


@pytest.fixture
def run(runner):
    """Runs a script of a few lines in a sandbox."""
    sandboxes = []

    def run(lines: str, seconds: float = 60.0):
        sandbox = runner.sandbox({"script.py": lines.encode()})
        sandboxes.append(sandbox)
        return runner.run(str(sandbox / "here/script.py"), ["a", "b c"], sandbox, seconds)

    yield run
    for sandbox in sandboxes:
        runner.clear(sandbox)


def call(**settings) -> Call:
    return Call("audit.py", [], {}, [], mentions={"budget"}, **settings)


def test_a_command_ends_as_its_process_would(run):
    ended = run("import sys; print(sys.argv[1:]); print('x', file=sys.stderr); sys.exit(3)")
    assert (ended.code, ended.output, ended.errors) == (3, "['a', 'b c']\n", "x\n")
    assert run("1 / 0").code == 1
    assert "ZeroDivisionError" in run("1 / 0").errors
    assert run("raise SystemExit('no')").code == 1
    assert run("import os; os.kill(os.getpid(), 11)").code == -11
    assert run("bytearray(2**44)").code == 1  # more memory than there is
    assert run("pass").code == 0


def test_a_command_that_hangs_is_ended(run):
    ended = run("import time; time.sleep(600)", seconds=0.5)
    assert ended.code is None
    assert faults(call(), ended) == ["does not end"]


def test_nothing_of_one_command_is_left_to_the_next(run):
    run("import os, signal; os.environ['LEFT'] = '1'; signal.signal(15, signal.SIG_IGN)")
    ended = run("import os, signal; print(os.environ.get('LEFT'), signal.getsignal(15).name)")
    assert ended.output == "None SIG_DFL\n"


def test_files_are_seen_wherever_they_are_left(run):
    ended = run(
        "import pathlib, tempfile\n"
        "pathlib.Path('new').write_text('x')\n"
        "pathlib.Path.home().joinpath('dot').mkdir()\n"
        "tempfile.mkstemp(prefix='scratch')\n"
        "pathlib.Path('script.py').open('a').write(' ')\n"
    )
    names = sorted(path[:11] for path in ended.left)
    assert names == ["here/new", "here/script", "home/dot", "tmp/scratch"]


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        ("raise ValueError", "exit code 1"),
        ("raise ValueError", "a traceback"),
        ("import sys; sys.exit(2)", "no line that begins with error:"),
        ("import sys; print('error: x', file=sys.stderr); sys.exit(2)", "names nothing"),
        ("import sys; print('error: budget' * 200, file=sys.stderr); sys.exit(2)", "a message of"),
        ("import sys; print('usage: \\nerror: budget', file=sys.stderr); sys.exit(2)", "usage"),
        ("import sys; open('new', 'w'); sys.exit(2)", "leaves behind ['here/new']"),
    ],
)
def test_faults_are_told(run, lines, fault):
    assert any(fault in found for found in faults(call(), run(lines)))


def test_a_good_refusal_has_no_faults(run):
    ended = run("import sys; print('error: budget is 0.', file=sys.stderr); sys.exit(2)")
    assert faults(call(refused=True), ended) == []
    assert faults(call(refused=True), run("pass")) == ["should have been refused"]


def test_what_lies_outside_of_the_run_folder_is_told(run):
    make = "import os; os.makedirs('runs/a'); open('runs/a/config.yaml', 'w').write('model: {}')\n"
    assert faults_of_run(call(), run(make)) == []
    beside = make + "open('runs/b', 'w')"
    assert faults_of_run(call(), run(beside)) == [
        "outside the run folder here/runs/a: ['here/runs/b']"
    ]
    assert faults_of_run(call(), run("pass")) == ["0 run folders"]


def test_settings_that_are_lost_or_changed_are_told():
    given = list(leaves(parse("model: {width: 010, name: a}\ndata: {idx: [1]}")))
    asked = Call("audit.py", [], {}, given)
    assert asked.neglected({"model": {"width": 10, "name": "a"}, "data": {"idx": [1]}}) == []
    assert len(asked.neglected({"model": {"width": 8, "name": "b"}, "data": {"idx": [1, 2]}})) == 3
    assert asked.neglected({"model": {"width": 10, "name": "a"}}) == [
        "data.idx was given as Sequence(items=[Scalar(text='1')]) and is gone"
    ]


def test_what_is_said_later_counts():
    given = [(("a", "b"), Scalar("1")), (("a",), Scalar("null")), (("a", "b"), Scalar("2"))]
    assert Call("audit.py", [], {}, given).neglected({"a": {"b": 2}}) == []
    assert len(Call("audit.py", [], {}, given).neglected({"a": {"b": 1}})) == 1


def test_the_defense_that_is_called_none_takes_the_place_of_all():
    std = ("data", "defenses", "noise", "init_args", "std")
    asked = Call("audit.py", [], {}, [(std, Scalar("0.1")), (("defense",), Scalar("none"))])
    left = {"none": {"class_path": "ggl_lightning.defenses.NoDefense"}}
    assert asked.neglected({"data": {"defenses": left}}) == []


def test_choosing_a_gpu_chooses_the_accelerator():
    given = [(("trainer", "accelerator"), Scalar("cpu")), (("gpu",), Scalar("0"))]
    asked = Call("audit.py", [], {}, given)
    assert asked.neglected({"trainer": {"accelerator": "gpu", "devices": [0]}}) == []
    assert len(asked.neglected({"trainer": {"accelerator": "cpu", "devices": 1}})) == 2


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("weights_only", "null", True),  # the default
        ("seed_everything", "", 0),
        ("seed_everything", "yes", 0),  # any
    ],
)
def test_what_is_left_to_its_default_is_not_lost(name, text, value):
    assert Call("train_gan.py", [], {}, [((name,), Scalar(text))]).neglected({name: value}) == []
    assert Call("train_gan.py", [], {}, [((name,), Scalar("7"))]).neglected({name: value}) != []
    twice = [((name,), Scalar("7")), ((name,), Scalar(text))]
    assert Call("train_gan.py", [], {}, twice).neglected({name: value}) == []


def test_a_trial_leaves_no_run_folder(run):
    say = "import sys; print('trainer.fast_dev_run is True: a trial of a few batches. It writes "
    say += "nothing: no logs.', file=sys.stderr)\n"
    assert faults_of_run(call(), run(say)) == []
    assert faults_of_run(call(), run(say + "open('new', 'w')")) == [
        "a trial leaves behind ['here/new']"
    ]


def test_a_refusal_may_name_a_value_by_what_is_in_it():
    draft = Draft("audit.py", [], Mapping(), costly=False, things=Path())
    draft.note("a", "{class_path: a.b.RandomImages, init_args: {count: 0}}", "''")
    assert {"RandomImages", "count", "''"} <= draft.mentions
    assert "0" not in draft.mentions


@pytest.mark.parametrize(
    ("text", "same", "other"),
    [
        ("010", [10, "010"], [8, "10", 10.5]),
        ("1:30", ["1:30"], [90, 5400]),
        ("2024_01_01", ["2024_01_01"], [2024, "20240101"]),
        ("0x10", [16, "0x10"], [10, 0]),
        ("1e-3", [0.001, "1e-3"], [1, "0.001"]),
        (".nan", [float("nan"), ".nan"], [0.0, None]),
        ("off", [False, "off"], [True, None, 0]),
        ("'off'", ["off", False], ["'off '", True]),
        ("~", [None, "~"], ["", "/root", False]),
        ("''", ["", None], ["''x", 0]),
        ("1", [1, 1.0, [1], "1"], [True, 2, [1, 1], {}]),
        ("~/a", ["~/a", "/home/x/a"], ["/home/x/b", "a"]),
        ("Noise", ["Noise", "a.b.Noise", {"class_path": "a.Noise"}], ["a.Noise2", {}]),
        ("{a: 1}", [{"a": 1}, {"a": 1, "b": 2}], [{"a": 2}, {"b": 1}, 1, None]),
        ("[1, x]", [[1, "x"], "[1, x]"], [[1], ["x", 1], "[1, y]", "[", "1"]),
    ],
)
def test_a_value_means_what_was_written_or_not(text, same, other):
    node = parse(text)
    assert [means(node, value) for value in same] == [True] * len(same)
    assert [means(node, value) for value in other] == [False] * len(other)


def test_trees_are_written_as_they_were_read():
    text = "a: 010\nb:\n  - c: 'x: y'\n    d: []\n  - {}\ne: {f: \nnull}\n"
    tree = parse(text)
    assert parse(write(tree)) == tree
    assert "010" in write(tree)
