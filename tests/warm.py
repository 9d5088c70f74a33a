"""What the server of `tests.forks` loads once, so that none of its processes has to."""

import contextlib
import gc
import io
from pathlib import Path

import torch

import ggl_lightning
import ggl_lightning.audit.cli
import ggl_lightning.clients.cli
import ggl_lightning.priors.cli
from ggl_lightning.cli import run_command

_CONFIGS = Path(__file__).parents[1] / "configs"

torch.set_num_threads(1)
# The first command line of a process resolves what the others find resolved.
for _command, _words in (
    (ggl_lightning.audit.cli.main, [f"--config={_CONFIGS}/audit/demo.yaml"]),
    (ggl_lightning.clients.cli.main, ["fit", f"--config={_CONFIGS}/client/synthetic32.yaml"]),
    (ggl_lightning.priors.cli.main, ["fit", f"--config={_CONFIGS}/gan/synthetic32.yaml"]),
):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        run_command(_command, [*_words, "--print_config"])
gc.freeze()  # a fork would copy whatever the garbage collector looks at
