"""The report command: builds the report again, or merges several runs into one."""

from __future__ import annotations

from pathlib import Path

from ggl_lightning.audit.report.build import build_report
from ggl_lightning.command_line.parsers import PlainParser
from ggl_lightning.command_names import as_called
from ggl_lightning.errors import UserError
from ggl_lightning.user_paths import argument_path


def main(args: list[str]) -> int:
    """Builds a report and prints where it is.

    Args:
        args: Arguments after ``report``.

    Returns:
        The exit code 0.

    Raises:
        UserError: If there are several runs and no ``--output``, ``--output`` is another run's
            folder, or `build_report` refuses.
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
    arguments = parser.parse_args(args)
    print(build_report(arguments.run_dir, _output(arguments.run_dir, arguments.output)))
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
