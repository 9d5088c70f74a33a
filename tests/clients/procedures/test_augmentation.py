import pytest
import torch
from torch.nn import functional as F
from torchvision.transforms import v2

from ggl_lightning.clients.procedures import (
    ClientSGD,
    ClientState,
    HorizontalFlip,
    LocalTraining,
    Normalisation,
    PaddedCrop,
)
from ggl_lightning.errors import UserError
from tests.clients.procedures.training_loops import assert_sent, batch, client_net, train


def test_flip_crop_and_normalisation_are_torchvisions():
    images, _ = batch(count=16)
    generator = torch.Generator().manual_seed(0)
    flip, crop = HorizontalFlip(), PaddedCrop(2, fill=-1)
    mirrored, corners = flip.choices(16, generator), crop.choices(16, generator)
    assert 0 < mirrored.sum() < 16
    assert corners.min() == 0
    assert corners.max() == 4
    flipped, cropped = flip(images, mirrored), crop(images, corners)
    for i, image in enumerate(images):
        assert torch.equal(flipped[i], v2.functional.hflip(image) if mirrored[i] else image)
        padded = v2.functional.pad(image, [2, 2], fill=-1)
        top, left = corners[i].tolist()
        assert torch.equal(cropped[i], v2.functional.crop(padded, top, left, 8, 8))
    mean, std = [0.4, 0.5, 0.6], [0.2, 0.3, 0.25]
    normalised = Normalisation(mean, std)(images, torch.empty(16, 0))
    torch.testing.assert_close(normalised, v2.functional.normalize((images + 1) / 2, mean, std))


def test_every_step_draws_anew_and_the_update_is_that_of_a_plain_loop():
    model, (images, labels) = client_net(), batch()
    procedure = LocalTraining(
        ClientSGD(0.1, momentum=0.9),
        epochs=2,
        batch_size=4,
        augmentations=[
            HorizontalFlip(),
            PaddedCrop(2),
            Normalisation([0.5, 0.4, 0.3], [0.2, 0.3, 0.4]),
        ],
    )
    order = procedure.order(8, torch.Generator().manual_seed(0))
    assert len({str(step.choices[1].tolist()) for step in order.steps}) == len(order)

    def transform(inputs, step):
        mirrored, corners, _ = order.steps[step].choices
        changed = []
        for image, flips, (top, left) in zip(inputs, mirrored, corners.tolist(), strict=True):
            image = v2.functional.hflip(image) if flips else image
            image = v2.functional.crop(v2.functional.pad(image, [2, 2], fill=-1), top, left, 8, 8)
            changed.append(
                v2.functional.normalize((image + 1) / 2, [0.5, 0.4, 0.3], [0.2, 0.3, 0.4])
            )
        return torch.stack(changed)

    after = train(
        model,
        images,
        labels,
        [step.indices for step in order.steps],
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
        F.cross_entropy,
        transform=transform,
    )
    assert_sent(procedure(ClientState.of(model), images, labels, order), model, after)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: HorizontalFlip(1.5), "probability of the horizontal flip is 1.5"),
        (lambda: PaddedCrop(0), "padding"),
        (lambda: Normalisation([0.5], [1, 1, 1]), "mean .* 3, one per channel"),
        (lambda: Normalisation([0.5] * 3, [1, 0, 1]), "std of the normalisation is 0"),
    ],
)
def test_bad_settings_are_refused(make, words):
    with pytest.raises(UserError, match=words):
        make()
