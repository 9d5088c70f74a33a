"""The report command: builds the report again, merges runs into one, or compares two."""

from __future__ import annotations

from pathlib import Path

from ggl_lightning.audit.report.build import build_report
from ggl_lightning.audit.report.comparison_page import comparison_text, write_comparison
from ggl_lightning.audit.report.run_comparison import compare_runs
from ggl_lightning.command_line.parsers import PlainParser
from ggl_lightning.command_names import as_called
from ggl_lightning.errors import UserError
from ggl_lightning.user_paths import argument_path


def main(args: list[str]) -> int:
    """Builds a report and prints where it is; with ``--compare``, prints how two runs differ.

    Args:
        args: Arguments after ``report``.

    Returns:
        The exit code 0.

    Raises:
        UserError: If there are several runs and no ``--output``, ``--output`` is another run's
            folder, `build_report` refuses, or two runs cannot be compared.
    """
    parser = PlainParser(
        prog=f"{as_called('ggl-audit')} report",
        description="Writes report.html and its tables from the results in run folders.",
    )
    parser.add_argument(
        "run_dir", nargs="+", type=argument_path, metavar="RUN_DIR", help="run folders"
    )
    parser.add_argument(
        "--output",
        type=argument_path,
        metavar="DIR",
        help="where to write; by default the run folder itself, if it is the only one",
    )
    parser.add_argument(
        "--compare",
        action="store_true",
        help="paired differences of two runs on the same private images, the first minus the "
        "second; with --output they are written too",
    )
    arguments = parser.parse_args(args)
    if arguments.compare:
        return _compare(arguments.run_dir, arguments.output)
    print(build_report(arguments.run_dir, _output(arguments.run_dir, arguments.output)))
    return 0


def _compare(run_dirs: list[Path], output: Path | None) -> int:
    if len(run_dirs) != 2:
        raise UserError(f"--compare takes two run folders: {len(run_dirs)} are given.")
    if output is not None:
        output = _output(run_dirs, output)
    comparison = compare_runs(*run_dirs)
    print(comparison_text(comparison))
    if output is not None:
        print(write_comparison(comparison, output))
    return 0


def _output(run_dirs: list[Path], output: Path | None) -> Path:
    if output is None:
        if len(run_dirs) > 1:
            raise UserError(
                f"{len(run_dirs)} run folders make one report, which belongs to none of them: say "
                "where to write it with --output DIR."
            )
        return run_dirs[0]
    own = [run_dirs[0].resolve()] if len(run_dirs) == 1 else []
    try:
        is_a_run = (output / "cases").exists()
    except OSError as error:
        raise UserError(
            f"The report cannot be written to {output} ({error.strerror}): give another folder "
            "with --output."
        ) from error
    if is_a_run and output.resolve() not in own:
        raise UserError(
            f"--output is {output}, which is a run folder with its own report: give a folder of "
            "its own."
        )
    return output
