"""Settings for every test. Importing the package first repairs a CUDA-linked torchvision."""

import torch

import ggl_lightning  # noqa: F401

# Test models are tiny: a second thread costs more than it gives, the more so beside other work.
torch.set_num_threads(1)
