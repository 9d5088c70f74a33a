"""A recording is enough for today's objective to tell the private image from others."""

import torch
from torch.nn import functional as F

from ggl_lightning.attacks.matching.update_distances import UpdateDistances
from ggl_lightning.clients import GradientUpdate
from ggl_lightning.updates import gradient_sum, read_recording, record_update, restore
from tests.tiny import TinyClient, client_side


def test_a_recorded_step_names_its_image(tmp_path):
    client = client_side(seed=4)
    others = torch.rand(5, 1, 3, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1
    candidates = torch.cat([others[:3], client.images[None], others[3:]])
    file = tmp_path / "step.safetensors"
    with record_update(client.model, file, count=1):
        optimizer = torch.optim.SGD(client.model.parameters(), lr=0.1)
        F.cross_entropy(client.model(client.images), client.labels).backward()
        optimizer.step()
    model = TinyClient().eval()  # of other weights: all that is known of the client is recorded
    recording = restore(read_recording(file), model)
    received = list(gradient_sum(recording.record).tensors.values())
    with torch.no_grad():
        distances = UpdateDistances(model, received, GradientUpdate(), None)(
            candidates, client.labels
        ).sum(dim=1)
    assert distances.argmin() == 3
    assert distances[3] < 1e-6 * distances.median()
    assert recording.record.mode == "eval"
