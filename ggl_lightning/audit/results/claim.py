"""Keeps two configurations from being run into one folder at the same time."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import logging
import os
import time
from pathlib import Path
from typing import Any

from ggl_lightning.errors import UserError

CLAIM_FILE = ".claim"
"""Its lock is what counts: a file that a killed process left says nothing."""

_PATIENCE = 5.0  # seconds, for another process to say what it runs
_UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)

_held: dict[Path, int] = {}  # file descriptors by folder: closing one gives its lock up
_log = logging.getLogger(__name__)


def claim(folder: Path, configuration: Any) -> None:
    """Claims a run folder for a configuration until this process ends or claims it anew.

    Processes with the same configuration may share it. The claim is a lock of the operating
    system's on a file in the folder: a process that dies, however, gives it up. Where the file
    system has no locks, nothing is claimed, which is logged.

    Args:
        folder: The run folder, which exists.
        configuration: What is run, ready for JSON.

    Raises:
        UserError: If another process is running another configuration into it.
    """
    own = hashlib.sha256(json.dumps(configuration, sort_keys=True).encode()).hexdigest().encode()
    place = folder.resolve()
    release(place)
    try:
        file = os.open(place / CLAIM_FILE, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        raise UserError(
            f"The output folder {folder} is not writable ({error.strerror}): give another one "
            "with --out_dir."
        ) from error
    try:
        same = _share(file, own)
    except OSError as error:
        os.close(file)
        if error.errno not in _UNSUPPORTED:
            raise
        _log.warning("%s cannot be claimed, since its file system has no locks.", folder)
        return
    if not same:
        os.close(file)
        raise UserError(
            f"Another process is running another configuration into {folder}: give this one "
            "another --exp_name or --out_dir, or wait until that one has ended."
        )
    _held[place] = file


def release(folder: Path) -> None:
    """Gives up this process's claim of a folder, if it has one.

    Args:
        folder: The run folder.
    """
    file = _held.pop(folder.resolve(), None)
    if file is not None:
        os.close(file)


def _share(file: int, own: bytes) -> bool:
    """Whether the folder is now claimed for this configuration."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        if _lock(file, fcntl.LOCK_EX):  # nobody else is here
            os.ftruncate(file, 0)
            os.pwrite(file, own, 0)
        # Going over to a shared lock may let another process in between: it is looked at who came.
        if _lock(file, fcntl.LOCK_SH):
            return os.pread(file, len(own) + 1, 0) == own
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)


def _lock(file: int, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
