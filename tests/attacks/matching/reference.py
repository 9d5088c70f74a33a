"""Float64, one candidate at a time, with nothing but backward()."""

import copy

import torch
from torch.nn import functional as F

from ggl_lightning.attacks.matching.update_distances import Distance


def reference_update(model, images, labels):
    model = copy.deepcopy(model).double()
    model.zero_grad()
    F.cross_entropy(model(images.double()), labels).backward()
    return [parameter.grad for parameter in model.parameters()]


def reference_distances(model, candidates, labels, received, distance, adaptation=None):
    rows = []
    for images in candidates:
        update = reference_update(model, images, labels)
        if adaptation is not None:
            update = adaptation(update)
        pairs = zip(update, received, strict=True)
        rows.append([_measure(distance, g, y.double()) for g, y in pairs])
    return torch.tensor(rows, dtype=torch.float64)


def _measure(distance, g, y):
    if distance is Distance.l2:
        return (g - y).pow(2).sum()
    if distance is Distance.l1:
        return (g - y).abs().sum()
    if not g.any() or not y.any():
        return float(g.any() or y.any())
    g, y = g / g.norm(), y / y.norm()
    return (g - y).pow(2).sum() / 2  # 1 - cos, without cancellation
