"""The command that writes synthetic faces in CelebA's layout."""

from __future__ import annotations

import time

from ggl_lightning.command_line.parsers import PlainParser
from ggl_lightning.command_names import as_called
from ggl_lightning.data.celeba_layout import BASE_FOLDER
from ggl_lightning.data.synthetic.contact_sheet import save_contact_sheet
from ggl_lightning.data.synthetic.writer import write_synthetic_celeba
from ggl_lightning.user_paths import argument_path


def _parser() -> PlainParser:
    parser = PlainParser(
        prog=as_called("ggl-faces"),
        description="Draws synthetic faces and writes them in CelebA's on-disk layout.",
    )
    parser.add_argument(
        "--root", type=argument_path, help="folder to hold celeba/ (made if missing)"
    )
    parser.add_argument("--count", type=int, default=20000, help="images (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="collection (default: %(default)s)")
    parser.add_argument("--workers", type=int, help="processes (default: one per core)")
    parser.add_argument(
        "--contact_sheet",
        type=argument_path,
        metavar="FILE",
        help="save a sheet of the first 48 people",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser


def main(arguments: list[str]) -> int:
    """Writes faces, a contact sheet of them, or both.

    Args:
        arguments: Command-line arguments, without the program's name.

    Returns:
        The exit code 0.

    Raises:
        UserError: On bad input.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.root is None and options.contact_sheet is None:
        parser.error("give --root, --contact_sheet or both")
    if options.root is not None:
        start = time.perf_counter()
        root = write_synthetic_celeba(
            options.root, options.count, options.seed, options.workers, not options.quiet
        )
        seconds = time.perf_counter() - start
        print(f"{options.count} synthetic faces in {root / BASE_FOLDER} ({seconds:.1f} s)")
    if options.contact_sheet is not None:
        print(f"contact sheet: {save_contact_sheet(options.contact_sheet, options.seed)}")
    return 0
