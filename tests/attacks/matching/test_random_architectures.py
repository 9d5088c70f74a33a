"""Random architectures, adaptations and distances, beside the float64 loop."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ggl_lightning.attacks.matching.update_distances import Distance, UpdateDistances
from ggl_lightning.clients import GradientUpdate
from ggl_lightning.defenses import Unchanged
from ggl_lightning.defenses.clipping import ClipToNorm
from ggl_lightning.defenses.compose import AdaptInOrder
from ggl_lightning.defenses.compression import PruneLike
from ggl_lightning.defenses.layerwise_clipping import ClipToNorms
from ggl_lightning.defenses.quantization import RoundToLevels
from ggl_lightning.defenses.representation import KeepColumns
from ggl_lightning.defenses.sign import TakeSign
from tests.attacks.matching.reference import reference_distances
from tests.attacks.matching.test_exactness import SIZE, case, randomised


class PerChannel(nn.Module):
    """Without a rule."""

    def __init__(self, channels):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels))

    def forward(self, x):
        return torch.tanh(x * self.scale[:, None, None])


class Twice(nn.Module):
    """One layer, called twice."""

    def __init__(self, channels):
        super().__init__()
        self.layer = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return torch.tanh(self.layer(torch.tanh(self.layer(x))))


class Shared(nn.Module):
    """Two layers with one weight."""

    def __init__(self, channels):
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.second.weight = self.first.weight

    def forward(self, x):
        return torch.tanh(self.second(torch.tanh(self.first(x))))


class Subclass(nn.Conv2d):
    """Does something else than its base class."""

    def forward(self, x):
        return torch.tanh(x + super().forward(x))


UNUSUAL = {
    "none": lambda channels: nn.Identity(),
    "prelu": nn.PReLU,
    "per channel": PerChannel,
    "twice": Twice,
    "shared": Shared,
    "subclass": lambda channels: Subclass(channels, channels, 3, padding=1),
}


@st.composite
def architectures(draw):
    """Random chains of convolutions, norms, activations and unusual layers, with a linear head."""
    channels, layers, general = 3, [], False
    for _ in range(draw(st.integers(1, 4))):
        groups = draw(st.sampled_from([g for g in (1, 2, 3) if channels % g == 0]))
        outputs = groups * draw(st.integers(2, 3))
        norm = draw(st.sampled_from(["none", "batch", "group"]))
        layers.append(
            nn.Conv2d(
                channels,
                outputs,
                (draw(st.integers(1, 3)), draw(st.integers(1, 3))),
                stride=draw(st.integers(1, 2)),
                padding=(draw(st.integers(2, 3)), 2),
                dilation=draw(st.integers(1, 2)),
                groups=groups,
                # A norm over whole channels would take a bias out again: its gradient is rounding.
                bias=norm != "group" and draw(st.booleans()),
            )
        )
        channels = outputs
        if norm != "none":
            layers.append(
                nn.BatchNorm2d(channels) if norm == "batch" else nn.GroupNorm(1, channels)
            )
        layers.append(
            draw(st.sampled_from([nn.Tanh(), nn.GELU(), nn.LeakyReLU(0.1, inplace=True)]))
        )
        unusual = draw(st.sampled_from(["none", *UNUSUAL]))
        general = general or unusual != "none"
        layers.append(UNUSUAL[unusual](channels))
    if draw(st.booleans()):
        layers.append(nn.AdaptiveAvgPool2d(2))
    layers.append(nn.Flatten())
    with torch.no_grad():
        features = nn.Sequential(*layers).eval()(torch.zeros(1, 3, SIZE, SIZE)).shape[1]
    return nn.Sequential(*layers, nn.Linear(features, 3)), general


CLOSED = ["nothing", "global", "layers", "columns"]
JUMPING = ["compression", "sign", "quantisation"]


def build_adaptation(names, update):
    """The named adaptations in order, at strengths that matter for this update."""
    norms = [tensor.norm().item() for tensor in update]
    total = sum(norm**2 for norm in norms) ** 0.5
    steps = {
        "nothing": Unchanged({}),
        "global": ClipToNorm(0.4 * total),
        "layers": ClipToNorms([norm * (0.1 + i % 3) for i, norm in enumerate(norms)]),
        "columns": KeepColumns(torch.arange(update[-2].shape[1]) % 3 != 0, len(update) - 2),
        "compression": PruneLike([t * (torch.rand(t.shape) > 0.5) for t in update]),
        "sign": TakeSign(),
        "quantisation": RoundToLevels(4),
    }
    return AdaptInOrder({f"{i}": steps[name] for i, name in enumerate(names)})


def seed_weights(model, seed):
    torch.manual_seed(seed)
    for parameter in model.parameters():  # of unit scale, so that float32 itself is exact enough
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
    return randomised(model).eval()


def magnitudes(received, distance):
    """What the distance of nothing from the received update is made of, per tensor."""
    match distance:
        case Distance.l2:
            return torch.stack([tensor.double().square().sum() for tensor in received])
        case Distance.l1:
            return torch.stack([tensor.double().abs().sum() for tensor in received])
    return torch.ones(len(received), dtype=torch.float64)


@settings(max_examples=60)
@given(
    architectures(),
    st.integers(1, 3),
    st.sampled_from(list(Distance)),
    st.lists(st.sampled_from([*CLOSED, *JUMPING]), max_size=3),
    st.integers(0, 1000),
)
def test_random_architectures(architecture, images, distance, names, seed):
    model, general = architecture
    model = seed_weights(model, seed)
    jumps = set(names) & set(JUMPING)
    for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 1e-4)):
        if jumps and dtype == torch.float32:
            continue  # rounding decides on which side of a jump an entry is; see test_entries
        model = model.to(dtype)
        candidates, labels, update = case(model, images, dtype, candidates=3, seed=seed)
        adaptation = build_adaptation(names, update)
        received = adaptation(update)
        distances = UpdateDistances(model, received, GradientUpdate(), adaptation, distance)
        found = distances(candidates, labels).double()
        closed = not jumps and distance is not Distance.l1
        assert distances.way == (
            "in closed form" if closed else "from all entries of their updates"
        )
        assert bool(distances.general_parameters) == general
        expected = reference_distances(model, candidates, labels, received, distance, adaptation)
        scale = magnitudes(received, distance)
        error = (found - expected).abs()
        assert (error.sum(dim=1) <= tolerance * (expected + scale / 100).sum(dim=1)).all()
        assert (error <= tolerance * (expected + scale / 100)).all()
