"""What the commands are called where they were started from."""

from __future__ import annotations

import sys
from pathlib import Path

# By installed name: how the same is started in a checkout of the sources.
_IN_SOURCES = {
    "ggl-audit": "python audit.py",
    "ggl-train-gan": "python train_gan.py",
    "ggl-train-client": "python train_client.py",
    "ggl-faces": "python -m ggl_lightning.data.synthetic",
}
_SCRIPTS = {started.split()[-1] for started in _IN_SOURCES.values() if started.endswith(".py")}
_MODULE = ("ggl_lightning", "data", "synthetic", "__main__.py")


def as_called(installed: str) -> str:
    """A command as the user of this process would type it.

    Args:
        installed: Its installed name: ``ggl-audit``, ``ggl-train-gan``, ``ggl-train-client`` or
            ``ggl-faces``.

    Returns:
        That name, or ``python audit.py`` and so on if the process was started in that way.
    """
    started = Path(sys.argv[0])
    if started.name in _SCRIPTS or started.parts[-len(_MODULE) :] == _MODULE:
        return _IN_SOURCES[installed]
    return installed
