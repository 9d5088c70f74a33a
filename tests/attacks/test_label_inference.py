import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ggl_lightning.attacks.label_inference import infer_labels
from ggl_lightning.clients import client_update, find_classifier_layer
from tests.tiny import TinyClient


@settings(max_examples=20)
@given(label=st.integers(0, 4), seed=st.integers(0, 1000))
def test_label_of_one_image_is_always_recovered_behind_a_relu(label, seed):
    torch.manual_seed(seed)
    model = TinyClient(num_classes=5).eval()
    image = torch.randn(1, 3, 8, 8)
    update = client_update(model, image, torch.tensor([label]))
    found = infer_labels(update, find_classifier_layer(model, image))
    assert found.labels == [label]
    assert 0 < found.margin <= 1


def test_margin_is_the_gap_to_the_runner_up_over_the_spread():
    model = TinyClient(num_classes=3)
    classifier = find_classifier_layer(model.eval(), torch.zeros(1, 3, 8, 8))
    update = [torch.zeros_like(p) for p in model.parameters()]
    update[classifier.weight_index][:, 0] = torch.tensor([-4.0, 6.0, 1.0])
    found = infer_labels(update, classifier)
    assert found.labels == [0]
    assert found.margin == 0.5
    update[classifier.weight_index].zero_()
    assert infer_labels(update, classifier).margin == 0


def test_repeated_labels_of_a_batch_are_counted():
    labels = torch.tensor([1, 1, 1, 4, 4, 5, 1, 4])
    for seed in range(10):
        torch.manual_seed(seed)
        model = TinyClient(num_classes=6).eval()
        images = torch.randn(8, 3, 8, 8) * 0.3
        update = client_update(model, images, labels)
        found = infer_labels(update, find_classifier_layer(model, images), count=8)
        assert found.labels == sorted(labels.tolist())


def test_repeated_labels_are_counted_without_a_bias_too():
    torch.manual_seed(0)
    model = TinyClient(num_classes=6).eval()
    model[-1].bias = None
    images, labels = torch.rand(1, 3, 8, 8).repeat(4, 1, 1, 1), torch.tensor([2, 2, 2, 5])
    update = client_update(model, images, labels)
    found = infer_labels(update, find_classifier_layer(model, images), count=4)
    assert found.labels == [2, 2, 2, 5]


@settings(max_examples=20)
@given(labels=st.lists(st.integers(0, 9), min_size=1, max_size=8), seed=st.integers(0, 1000))
def test_every_label_with_a_negative_row_is_found(labels, seed):
    torch.manual_seed(seed)
    model = TinyClient(num_classes=10).eval()
    images = torch.randn(len(labels), 3, 8, 8)
    classifier = find_classifier_layer(model, images)
    update = client_update(model, images, torch.tensor(labels))
    found = infer_labels(update, classifier, count=len(labels))
    assert len(found.labels) == len(labels)
    rows = update[classifier.bias_index]
    if len(labels) == 1:
        rows = update[classifier.weight_index].sum(dim=1)
    negative = (rows < 0).nonzero()[:, 0].tolist()
    assert set(negative) <= set(found.labels)
    assert set(negative) <= set(labels)
