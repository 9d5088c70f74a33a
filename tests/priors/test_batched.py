import pytest
import torch

from ggl_lightning.errors import UserError
from ggl_lightning.priors.base import Prior
from ggl_lightning.priors.batched import generate_in_batches


class Counting(Prior):
    """One grey image per latent, a tenth brighter for every class; notes how many it is given."""

    def __init__(self):
        super().__init__()
        self.latent_shape, self.image_size = (1,), 2
        self.shift = torch.nn.Parameter(torch.zeros(()))
        self.sizes = []

    def forward(self, latents, labels=None):
        self.sizes.append(len(latents))
        grey = latents if labels is None else latents + labels.unsqueeze(1) / 10
        return (grey + self.shift)[:, :, None, None].expand(-1, 3, 2, 2)


@pytest.mark.parametrize("labels", [None, torch.arange(7)])
def test_every_image_is_its_own_latents_and_labels(labels):
    prior = Counting()
    latents = torch.linspace(-1, 0, 7).unsqueeze(1)
    images = generate_in_batches(prior, latents, labels, batch=3)
    assert prior.sizes == [3, 3, 1]
    assert not images.requires_grad
    assert torch.equal(images, prior(latents, labels))


def test_a_batch_must_be_positive():
    with pytest.raises(UserError, match="batch"):
        generate_in_batches(Counting(), torch.zeros(2, 1), batch=0)
