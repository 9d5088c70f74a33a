"""Metrics of reconstructions, on torchmetrics."""

from ggl_lightning.metrics.reconstruction import mean_psnr, reconstruction_metrics

__all__ = ["mean_psnr", "reconstruction_metrics"]
