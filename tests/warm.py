"""What the server of `tests.forks` loads once, so that none of its processes has to."""

import gc

import torch

import ggl_lightning
import ggl_lightning.audit.cli
import ggl_lightning.clients.cli
import ggl_lightning.priors.cli  # noqa: F401

torch.set_num_threads(1)
gc.freeze()  # a fork would copy whatever the garbage collector looks at
