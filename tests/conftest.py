"""Shared fixtures. Importing the package first repairs a CUDA-linked torchvision."""

import ggl_lightning  # noqa: F401
