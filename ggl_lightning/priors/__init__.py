"""Priors: generators with a latent space to search."""
