"""``results.csv``, ``results.parquet``, ``summary.json``, ``table.tex``."""

import csv
import io
import json
import re

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ggl_lightning.audit.report import build_report
from ggl_lightning.audit.report.groups import read_groups
from ggl_lightning.audit.report.latex import escape, latex_table
from ggl_lightning.audit.report.tables import csv_lines, harmless, parquet_bytes, results_table
from tests.audit.report.fabricated import Plan, rows, write_run


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return build_report([write_run(folder, Plan(attacks=("cma", "adam")))], folder).parent


def read_csv(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_csv_and_parquet_have_the_same_values(output):
    table = pq.read_table(output / "results.parquet")
    lines = read_csv((output / "results.csv").read_text())
    assert list(lines[0]) == table.column_names
    assert len(lines) == table.num_rows == len(rows(Plan(attacks=("cma", "adam"))))
    for line, record in zip(lines, table.to_pylist(), strict=True):
        for name, value in record.items():
            written = line[name]
            if value is None:
                assert written == ""
            elif isinstance(value, float):
                assert float(written) == value
            else:
                assert written == str(value)


def test_both_have_the_values_of_the_summary(output):
    summary = json.loads((output / "summary.json").read_text())
    records = pq.read_table(output / "results.parquet").to_pylist()
    for row, record in zip(summary, records, strict=True):
        for name, value in row.items():
            nested = isinstance(value, list | dict)
            assert (json.loads(record[name]) if nested else record[name]) == value, name
    table = pq.read_table(output / "results.parquet")
    types = {name: str(table.schema.field(name).type) for name in table.column_names}
    assert types["psnr"] == types["lpips_vgg"] == "double"  # though one is missing everywhere
    assert types["seed"] == types["evaluations"] == "int64"
    assert types["label_correct"] == "bool"
    assert types["name"] == types["error"] == types["labels"] == "string"


text = st.text(max_size=8)
number = st.none() | st.floats(allow_nan=False, allow_infinity=False)


@settings(max_examples=40)
@given(
    st.lists(
        st.fixed_dictionaries(
            {"name": text, "defense": text, "psnr": number, "seed": st.integers()},
            optional={"extra": text, "=1+1": st.integers() | st.booleans() | text},
        ),
        min_size=1,
        max_size=5,
    )
)
def test_any_values_survive_and_no_text_is_a_formula(made):
    table = results_table(made)
    read = pq.read_table(io.BytesIO(parquet_bytes(table)))
    assert read.equals(table)
    # A lone carriage return in a cell is what newline="" keeps.
    lines = list(csv.reader(io.StringIO(b"".join(csv_lines(table)).decode(), newline="")))
    columns = [column.to_pylist() for column in read.columns]
    assert lines[0] == [harmless(name) for name in read.column_names]
    for line, record in zip(lines[1:], zip(*columns, strict=True), strict=True):
        for written, value in zip(line, record, strict=True):
            if isinstance(value, str):
                assert written.removeprefix("'") == value.removeprefix("'")
                assert not written.startswith(("=", "+", "-", "@", "\t", "\r"))
            elif isinstance(value, float):
                assert float(written) == value
            else:
                assert written == ("" if value is None else str(value))


def test_negative_numbers_stay_numbers():
    table = results_table([{"name": "-5", "psnr": -1.5, "seed": -3}])
    (line,) = read_csv(b"".join(csv_lines(table)).decode())
    assert (line["name"], line["psnr"], line["seed"]) == ("'-5", "-1.5", "-3")


def test_seeds_beyond_64_bits_keep_their_digits():
    table = results_table([{"seed": 2**64}, {"seed": 1}])
    assert table.column("seed").to_pylist() == [str(2**64), "1"]


def statistics(names, **entry):
    groups = [{"defense": d, "attack": a, "cases": 2, **entry} for d, a in names]
    return read_groups({"groups": groups}, [d for d, _ in names], [a for _, a in names])


def cells(line):
    assert line.endswith(r" \\")
    return re.split(r"(?<!\\)&", line.removesuffix(r"\\"))


def test_latex_table_has_a_row_per_group(output):
    lines = (output / "table.tex").read_text().splitlines()
    assert lines[1].startswith(r"\begin{tabular}{ll")
    assert [lines[2], lines[4], *lines[-2:]] == [
        r"\toprule",
        r"\midrule",
        r"\bottomrule",
        r"\end{tabular}",
    ]
    columns = len(re.search(r"\{([lr]+)\}$", lines[1]).group(1))
    body = [cells(line) for line in (lines[3], *lines[5:-2])]
    assert {len(row) for row in body} == {columns}
    assert len(body) == 1 + 4 * 2
    assert [row[0].strip() for row in body[1::2]] == ["none", "noise0.01", "noise0.1", "clipping4"]


def test_latex_numbers_with_and_without_intervals():
    leakage = {"psnr": {"value": -0.25, "low": -0.5, "high": 0.125, "count": 2}}
    metrics = {"psnr": {"mean": 12.5, "low": None, "high": None, "interval_missing": "x"}}
    (group,) = statistics([("a", "b")], leakage=leakage, metrics=metrics)
    row = [cell.strip() for cell in cells(latex_table([group]).splitlines()[5])]
    assert row[:4] == ["a", "b", "2", "$-0.25$ [$-0.50$, $0.12$]"]
    assert row[8:10] == ["$12.50$", "---"]


def latex_reader(text):
    """The characters that LaTeX prints for escaped text: a tiny reader of its own."""
    commands = {
        "textbackslash": "\\",
        "textasciitilde": "~",
        "textasciicircum": "^",
        "textless": "<",
        "textgreater": ">",
        "textbar": "|",
        "textquotedbl": '"',
        "textquotesingle": "'",
        "textasciigrave": "`",
    }
    token = re.compile(r"\\([a-z]+)\{\}|\\([&%$#_{}])|\{([-\[\]*])\}|([^\\&%$#_{}~^])")
    printed, position = [], 0
    while position < len(text):
        found = token.match(text, position)
        assert found, f"LaTeX would take {text[position:]!r} for something else"
        command, symbol, braced, plain = found.groups()
        printed.append(commands[command] if command else symbol or braced or plain)
        position = found.end()
    return "".join(printed)


@given(st.text())
def test_latex_prints_any_name_as_it_is(name):
    assert latex_reader(escape(name)) == " ".join(name.split())


def test_latex_names_cannot_break_out_of_their_cell():
    hostile = "[1ex] \\input{x} & % \n\\end{tabular}"
    table = latex_table(statistics([(hostile, "--")]))
    line = table.splitlines()[5]
    assert latex_reader(cells(line)[0].strip()) == " ".join(hostile.split())
    assert table.count("\\end{tabular}") == 1
