"""What the report calls things."""

METRIC_TITLES = {
    "mse": "MSE",
    "psnr": "PSNR",
    "psnr_published": "PSNR (published convention)",
    "ssim": "SSIM",
    "lpips_vgg": "LPIPS (VGG)",
    "lpips_alex": "LPIPS (Alex)",
    "fmse": "FMSE",
    "mse_r": "MSE-R",
    "rmse_r": "RMSE-R",
    "tv_reconstruction": "TV of the reconstruction",
    "tv_private": "TV of the private image",
}
"""Metrics for readers, by their name in results."""

ROLE_TITLES = {
    "attack": "attack",
    "null_random": "random latents",
    "null_noise": "update of noise",
    "null_other": "another image\N{RIGHT SINGLE QUOTATION MARK}s update",
    "bound": "direct inversion",
}
"""Roles of cases for readers."""
