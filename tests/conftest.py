"""Settings for every test. Importing the package first repairs a CUDA-linked torchvision."""

import pytest
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

# What takes longest begins first, or one of several processes would be left with it when the others
# are done. The first one gets most of it, and has one server of `tests.forks` for it.
_LONG = (
    "tests/audit/test_interruptions.py",
    "tests/fuzz/test_commands.py",
    "tests/training/test_two_devices.py",
    "tests/audit/test_ddp_audit.py",
    "tests/audit/test_lost_ranks.py",
    "tests/attacks/matching/test_random_architectures.py",
    "tests/audit/test_imagenet_biggan.py",
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the longest tests to the front."""
    items.sort(key=lambda item: not item.nodeid.startswith(_LONG))
