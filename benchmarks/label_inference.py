"""How well the labels of a batch are read off its update, one way beside the other.

Clients with 2 to 64 images of 2, 10 or 100 classes; client models that are not trained, that are
half trained and that are trained, in eval mode; with and without defenses. Images of a class are a
smooth random pattern with a smooth random change; with ``--root`` CelebA's, of two classes
(``Male``), for the published ResNet-18 of ``--width``. Labels are drawn evenly, or all from a fifth
of the classes (``few``; one of two).

    python benchmarks/label_inference.py --json numbers.json
    python benchmarks/label_inference.py --root DATA --width 16 --json faces.json

``counts`` is the share of a batch's labels that are told, each class as often as it is both told
and true; ``classes`` the share of classes told or true that are both. ``equations`` says in how
many batches that way was chosen.
"""

import ggl_lightning  # noqa: F401, I001  (first: it repairs torchvision beside a CPU-only torch)

import argparse
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from celeba_images import spread_images
from torch import Tensor, nn
from torch.nn import functional as F

from ggl_lightning.attacks.labels import infer_labels
from ggl_lightning.attacks.labels.impact import labels_by_impact
from ggl_lightning.attacks.labels.instance_wise import BY_EQUATIONS, BY_SCALED_EQUATIONS
from ggl_lightning.clients import ResNet18, client_update, find_classifier_layer
from ggl_lightning.defenses import (
    ClientSide,
    Clipping,
    Compression,
    Defense,
    NoDefense,
    Noise,
    Representation,
)

DEFENSES: dict[str, Defense] = {
    "none": NoDefense(),
    "noise 0.001": Noise(0.001),
    "noise 0.01": Noise(0.01),
    "clipping 0.3": Clipping(0.3),
    "compression 90": Compression(90),
    "representation 80": Representation(80),
}

STAGES = {"untrained": 0, "half trained": 10, "trained": 200}
"""Steps of SGD on batches of 50."""

_SIZE = 16


class SmallClient(nn.Sequential):
    """A convolutional classifier of 16x16 images with batch-norm and a ReLU before its end."""

    def __init__(self, classes: int) -> None:
        channels = (3, 16, 32, 64)
        blocks: list[nn.Module] = []
        for before, after in itertools.pairwise(channels):
            convolution = nn.Conv2d(before, after, 3, stride=2, padding=1)
            blocks += [convolution, nn.BatchNorm2d(after), nn.ReLU()]
        super().__init__(*blocks, nn.Flatten(), nn.Linear(64 * 4, classes))


def patterns(classes: int, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Images ``(count, 3, 16, 16)`` in ``[-1, 1]`` of even classes, and their labels."""

    def smooth(number: int, generator: torch.Generator) -> Tensor:
        coarse = torch.randn(number, 3, 4, 4, generator=generator)
        return F.interpolate(coarse, size=_SIZE, mode="bilinear")

    labels = torch.arange(count) % classes
    kinds = smooth(classes, torch.Generator().manual_seed(99))
    changes = smooth(count, torch.Generator().manual_seed(seed))
    return (kinds[labels] + changes).tanh(), labels


def train(model: nn.Module, images: Tensor, labels: Tensor, steps: int) -> None:
    """Plain SGD with momentum, in training mode; the model ends in eval mode."""
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
    for _ in range(steps):
        batch = torch.randint(len(images), (50,))
        optimizer.zero_grad()
        F.cross_entropy(model(images[batch]), labels[batch]).backward()
        optimizer.step()
    model.eval()


def score(told: list[int], true: Tensor) -> tuple[float, float]:
    """Shares of classes and of counts that are right."""
    ours = torch.bincount(torch.tensor(told), minlength=int(true.max()) + 1)
    theirs = torch.bincount(true, minlength=len(ours))
    both, either = ((ours > 0) & (theirs > 0)).sum(), ((ours > 0) | (theirs > 0)).sum()
    return float(both / either), float(torch.minimum(ours, theirs).sum() / len(true))


def measure(
    model: nn.Module, images: Tensor, labels: Tensor, count: int, defense: Defense, trials: int
) -> dict[str, float]:
    """Means over clients of what both ways tell of their labels."""
    classifier = find_classifier_layer(model, images[:2])
    assert classifier.weight_index is not None
    assert classifier.bias_index is not None
    impact, chosen, equations = [], [], 0
    for trial in range(trials):
        generator = torch.Generator().manual_seed(trial)
        drawn = torch.randint(len(images), (count,), generator=generator)
        private, true = images[drawn], labels[drawn]
        side = ClientSide(model, private, true, classifier, generator)
        update = defense(client_update(model, private, true), side)
        weight, bias = (
            update[index].double() for index in (classifier.weight_index, classifier.bias_index)
        )
        impact.append(score(labels_by_impact(weight, bias, True, count).labels, true))
        found = infer_labels(update, classifier, count, defense.hides_scale)
        chosen.append(score(found.labels, true))
        equations += found.way in (BY_EQUATIONS, BY_SCALED_EQUATIONS)
    means = [
        torch.tensor(each, dtype=torch.float64).mean(dim=0).tolist() for each in (impact, chosen)
    ]
    return {
        "impact_classes": means[0][0],
        "impact_counts": means[0][1],
        "chosen_classes": means[1][0],
        "chosen_counts": means[1][1],
        "equations": equations / trials,
    }


Setting = tuple[str, nn.Module, Tensor, Tensor]


def on_patterns(options: argparse.Namespace) -> Iterator[Setting]:
    """Every model with images it has not seen, by name."""
    for classes in options.classes:
        for stage, steps in STAGES.items():
            torch.manual_seed(0)
            model = SmallClient(classes)
            train(model, *patterns(classes, max(600, 6 * classes), 1), steps)
            yield f"{classes} classes, {stage}", model, *patterns(classes, max(600, 6 * classes), 2)


def on_faces(options: argparse.Namespace) -> Iterator[Setting]:
    """The published client model, with faces of people it has not seen."""
    seen, unseen = (spread_images(options.root, split, 600) for split in ("train", "test"))
    for stage, steps in STAGES.items():
        torch.manual_seed(0)
        model = ResNet18(width=options.width)
        train(model, *seen, steps)
        yield f"faces, {stage}", model, *unseen


def main(options: argparse.Namespace) -> None:
    """Prints a line for each setting, and hands all numbers over."""
    numbers: dict[str, object] = {}
    settings: Callable[[argparse.Namespace], Iterator[Setting]]
    settings = on_faces if options.root else on_patterns
    for name, model, images, labels in settings(options):
        with torch.no_grad():
            right = float(
                (torch.cat([model(each) for each in images.split(100)]).argmax(1) == labels)
                .float()
                .mean()
            )
        numbers[f"{name}: accuracy"] = right
        print(f"{name}: accuracy {right:.2f}", flush=True)
        few = labels < max(1, (int(labels.max()) + 1) // 5)
        for draw, kept in (("even", torch.ones_like(few)), ("few", few)):
            for defense in options.defenses:
                for count in options.counts:
                    found = measure(
                        model, images[kept], labels[kept], count, DEFENSES[defense], options.trials
                    )
                    line = f"{name}, {draw}, {defense}, {count} images"
                    numbers[line] = found
                    shown = ", ".join(f"{each} {value:.3f}" for each, value in found.items())
                    print(f"{line}: {shown}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(numbers, indent=2) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, help="CelebA's folder; patterns without it")
    parser.add_argument("--width", type=int, default=64, help="of the ResNet-18 for faces")
    parser.add_argument("--classes", type=int, nargs="+", default=[2, 10, 100])
    parser.add_argument("--counts", type=int, nargs="+", default=[2, 8, 64])
    parser.add_argument("--defenses", nargs="+", choices=DEFENSES, default=list(DEFENSES))
    parser.add_argument("--trials", type=int, default=20, help="clients of each setting")
    parser.add_argument("--json", type=Path, help="where to write the numbers to")
    main(parser.parse_args())
