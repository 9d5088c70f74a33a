"""Errors that come from the disk, and not from a mistake in the program."""

from __future__ import annotations

import errno

_NUMBERS = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG),  # full, in one sense or another
    *(errno.EROFS, errno.EACCES, errno.EPERM),
    *(errno.EIO, errno.ESTALE, errno.ENODEV, errno.ENXIO),  # gone
}


def is_disk_error(error: BaseException) -> bool:
    """Whether an error says that a disk is full, read-only or gone."""
    return isinstance(error, OSError) and error.errno in _NUMBERS
