import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ggl_lightning.attacks.label_inference import infer_label
from ggl_lightning.clients import client_update, find_classifier_layer
from tests.tiny import TinyClient


@settings(max_examples=20, deadline=None)
@given(label=st.integers(0, 4), seed=st.integers(0, 1000))
def test_label_of_one_image_is_always_recovered_behind_a_relu(label, seed):
    torch.manual_seed(seed)
    model = TinyClient(num_classes=5).eval()
    image = torch.randn(1, 3, 8, 8)
    update = client_update(model, image, torch.tensor([label]))
    found = infer_label(update, find_classifier_layer(model, image))
    assert found.label == label
    assert 0 < found.margin <= 1


def test_margin_is_the_gap_to_the_runner_up_over_the_spread():
    model = TinyClient(num_classes=3)
    classifier = find_classifier_layer(model.eval(), torch.zeros(1, 3, 8, 8))
    update = [torch.zeros_like(p) for p in model.parameters()]
    update[classifier.weight_index][:, 0] = torch.tensor([-4.0, 6.0, 1.0])
    found = infer_label(update, classifier)
    assert found.label == 0
    assert found.margin == 0.5
    update[classifier.weight_index].zero_()
    assert infer_label(update, classifier).margin == 0
