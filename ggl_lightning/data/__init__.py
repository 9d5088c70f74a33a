"""Data modules: CelebA, the synthetic faces that stand in for it, and ImageNet."""
