"""The check command: whether an audit's worst case stays within limits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ggl_lightning.atomic_file import write_chunks
from ggl_lightning.audit.cli import FAILED_CASES, run
from ggl_lightning.audit.limits.checks import Check
from ggl_lightning.audit.limits.judge import check_results
from ggl_lightning.audit.limits.junit import junit_file
from ggl_lightning.audit.limits.limits import Limits
from ggl_lightning.audit.results.schema import headline_metrics
from ggl_lightning.audit.statistics.enough import LEAST_IMAGES
from ggl_lightning.command_line.parsers import PlainParser
from ggl_lightning.command_names import as_called
from ggl_lightning.errors import UserError
from ggl_lightning.user_paths import argument_path

EXCEEDED = 1
"""Exit code: a limit is exceeded, or something that should be compared with one is missing."""


def main(args: list[str]) -> int:
    """Checks run folders, or runs the audit after ``--`` and checks that.

    Args:
        args: Arguments after ``check``.

    Returns:
        The exit code: 0, `EXCEEDED`, or that of an audit that was interrupted.

    Raises:
        UserError: On bad input.
    """
    own, audit = args, None
    if "--" in args:
        own, audit = args[: args.index("--")], args[args.index("--") + 1 :]
    parsed = _parser().parse_intermixed_args(own)
    limits = Limits(
        parsed.max_leakage,
        parsed.max_identification,
        parsed.no_leak,
        parsed.certain,
        parsed.metric,
        parsed.min_images,
    )
    if (audit is None) == (not parsed.run_dir):
        raise UserError(
            "Give run folders to check, or -- and the arguments of an audit to run and check; "
            f"{'neither is there' if audit is None else 'both are there'}."
        )
    if parsed.junit is not None and parsed.junit.is_dir():
        raise UserError(f"--junit is {str(parsed.junit)!r}, which is a folder: name a file.")
    if audit is None:
        return _check(parsed.run_dir, limits, parsed.only, parsed.junit)
    ended = run(audit)
    if not ended.is_first:
        return ended.exit_code  # the first process checks
    if ended.run_folder is None:
        raise UserError("--dry_run runs nothing that could be checked: leave it out.")
    if ended.exit_code not in (0, FAILED_CASES):
        return ended.exit_code
    return _check([ended.run_folder], limits, parsed.only, parsed.junit)


def _check(
    run_dirs: Sequence[Path], limits: Limits, only: Sequence[str], junit: Path | None
) -> int:
    checks = check_results(run_dirs, limits, only)
    for check in checks:
        print(check)
    if junit is not None:
        _write(junit, checks, " ".join(str(path) for path in run_dirs))
    return 0 if all(check.passed for check in checks) else EXCEEDED


def _write(path: Path, checks: Sequence[Check], suite: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_chunks(path, [junit_file(checks, suite)])
    except OSError as error:
        raise UserError(
            f"--junit is {str(path)!r}, which cannot be written ({error.strerror}): name another "
            "file."
        ) from error


def _parser() -> PlainParser:
    name = as_called("ggl-audit")
    parser = PlainParser(
        prog=f"{name} check",
        allow_abbrev=False,
        usage=f"{name} check LIMITS [options] (RUN_DIR ... | -- ARGUMENTS OF AN AUDIT)",
        description="Exits with 1 if the worst case over an audit's attacks exceeds a limit, or is "
        "not known.",
    )
    parser.add_argument(
        "run_dir", nargs="*", type=argument_path, metavar="RUN_DIR", help="finished run folders"
    )
    parser.add_argument(
        "--max_leakage",
        type=float,
        metavar="SHARE",
        help="normalised leakage: 0 is chance, 1 all that prior and search could have",
    )
    parser.add_argument(
        "--max_identification",
        type=float,
        metavar="SHARE",
        help="private images that are named among their decoys",
    )
    parser.add_argument("--no_leak", action="store_true", help="the verdict must be no leak shown")
    parser.add_argument(
        "--certain",
        action="store_true",
        help="compare the upper ends of the 95%% intervals with the limits",
    )
    parser.add_argument(
        "--metric",
        metavar="NAME",
        help="by which leakage is measured: "
        + ", ".join(metric.name for metric in headline_metrics())
        + "; by default that of the verdict",
    )
    parser.add_argument(
        "--min_images",
        type=int,
        default=LEAST_IMAGES,
        metavar="N",
        help="private images that a number must rest on (%(default)s)",
    )
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="DEFENSE",
        help="a defense that must keep to the limits, several times for several; by default all, "
        "NoDefense too",
    )
    parser.add_argument("--junit", type=argument_path, metavar="FILE", help="JUnit file to write")
    return parser
