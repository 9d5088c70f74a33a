"""Settings for every test. Importing the package first repairs a CUDA-linked torchvision."""

import torch
from hypothesis import HealthCheck, settings

import ggl_lightning  # noqa: F401

# Test models are tiny: a second thread costs more than it gives, the more so beside other work.
torch.set_num_threads(1)

# No test depends on how quick a machine is, or on luck: every run of the suite tries the same
# examples. `--hypothesis-profile=thorough` draws others each time, and remembers those that fail.
_unhurried = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("suite", derandomize=True, **_unhurried)
settings.register_profile("thorough", derandomize=False, **_unhurried)
settings.load_profile("suite")
