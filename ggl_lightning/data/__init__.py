"""Data modules: CelebA, and the synthetic faces that stand in for it."""
