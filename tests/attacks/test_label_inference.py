import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ggl_lightning.attacks.labels import infer_labels
from ggl_lightning.attacks.labels.impact import BY_IMPACT
from ggl_lightning.attacks.labels.instance_wise import BY_EQUATIONS, BY_SCALED_EQUATIONS
from ggl_lightning.attacks.labels.one_image import BY_ROW_SUM
from ggl_lightning.clients import ClassifierLayer, client_update, find_classifier_layer
from ggl_lightning.clients.procedures import (
    ClientSGD,
    ClientState,
    LocalTraining,
    StepwiseRate,
)
from ggl_lightning.errors import UserError
from ggl_lightning.seeding import seeded
from tests.tiny import TinyClient, received


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
    assert found.way == BY_ROW_SUM


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


class SignedFeatures(nn.Module):
    """A classifier whose last layer gets inputs of both signs."""

    def __init__(self, num_classes, bias, seed):
        super().__init__()
        with seeded(seed):
            self.body = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.Flatten(), nn.LayerNorm(96))
            self.head = nn.Linear(96, num_classes, bias=bias)

    def forward(self, images):
        return self.head(self.body(images))


def _inferred(model, label, image_seed=0):
    image = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(image_seed))
    update = client_update(model, image, torch.tensor([label]))
    return infer_labels(update, find_classifier_layer(model, image))


@pytest.mark.parametrize("num_classes", [2, 3, 10])
def test_with_a_bias_the_label_is_exact_whatever_the_features_are(num_classes):
    for seed in range(50):
        model = SignedFeatures(num_classes, bias=True, seed=seed).eval()
        found = _inferred(model, seed % num_classes, seed)
        assert found.labels == [seed % num_classes]
        assert found.margin > 0.3


@pytest.mark.parametrize("num_classes", [3, 10])
def test_without_a_bias_the_odd_sign_of_three_classes_tells_the_label(num_classes):
    for seed in range(50):
        model = SignedFeatures(num_classes, bias=False, seed=seed).eval()
        found = _inferred(model, seed % num_classes, seed)
        assert found.labels == [seed % num_classes]
        assert found.margin > 0.1


def test_without_a_bias_two_classes_of_signed_features_are_a_tie():
    for seed in range(10):
        assert _inferred(SignedFeatures(2, bias=False, seed=seed).eval(), seed % 2).margin == 0


def test_noise_that_hides_the_label_lowers_the_margin():
    margins = []
    for seed in range(20):
        model = SignedFeatures(3, bias=False, seed=seed).eval()
        image = torch.zeros(1, 3, 8, 8)
        noise = torch.Generator().manual_seed(seed)
        update = [
            torch.randn(tensor.shape, generator=noise)
            for tensor in client_update(model, image, torch.tensor([0]))
        ]
        margins.append(infer_labels(update, find_classifier_layer(model, image)).margin)
    assert max(margins) < 0.3


def test_batches_of_signed_features_without_a_bias_are_a_guess():
    model = SignedFeatures(4, bias=False, seed=0).eval()
    images, labels = torch.randn(3, 3, 8, 8), torch.tensor([1, 1, 3])
    update = client_update(model, images, labels)
    found = infer_labels(update, find_classifier_layer(model, images), count=3)
    assert len(found.labels) == 3
    assert found.margin == 0


def test_features_behind_a_relu_are_known_not_to_be_negative():
    image = torch.zeros(1, 3, 8, 8)
    assert find_classifier_layer(TinyClient().eval(), image).non_negative
    assert not find_classifier_layer(SignedFeatures(2, True, 0).eval(), image).non_negative


def test_a_frozen_last_layer_is_said_to_be_in_the_way():
    model = TinyClient().eval()
    model[-1].requires_grad_(False)
    image = torch.zeros(1, 3, 8, 8)
    update = client_update(model, image, torch.tensor([1]))
    with pytest.raises(UserError, match="last layer is frozen"):
        infer_labels(update, find_classifier_layer(model, image))


def test_the_bias_alone_is_enough():
    model = TinyClient(num_classes=4).eval()
    model[-1].weight.requires_grad_(False)
    assert _inferred(model, 2).labels == [2]


TRAININGS = {
    "plain": LocalTraining(ClientSGD(1e-3), batch_size=2, mode="eval"),
    "summed": LocalTraining(ClientSGD(1e-3), epochs=3, mode="eval", sends="gradient_sum"),
    "momentum": LocalTraining(ClientSGD(1e-3, momentum=0.9), epochs=3, batch_size=3, mode="eval"),
    "nesterov and a schedule": LocalTraining(
        ClientSGD(1e-3, momentum=0.8, nesterov=True),
        epochs=2,
        schedule=StepwiseRate(1, 0.5, per="step"),
        mode="eval",
    ),
    "weight decay": LocalTraining(ClientSGD(1e-3, momentum=0.9, weight_decay=0.1), epochs=2),
    "training mode": LocalTraining(ClientSGD(1e-3, momentum=0.9), epochs=2, batch_size=3),
}


@pytest.mark.parametrize("name", TRAININGS)
@pytest.mark.parametrize("labels", [[4], [5, 1], [1, 1, 1, 4, 4, 5]])
def test_labels_are_read_off_what_local_training_sends(name, labels):
    """A difference points the other way than a gradient, and is as large as the rates make it."""
    procedure = TRAININGS[name]
    for seed in range(4):
        torch.manual_seed(seed)
        model = TinyClient(num_classes=6).eval()
        images = torch.randn(len(labels), 3, 8, 8) * 0.3
        order = procedure.order(len(labels), torch.Generator().manual_seed(seed))
        sent = procedure(ClientState.of(model), images, torch.tensor(labels), order)
        given = received(
            model,
            list(sent.tensors.values()),
            len(labels),
            kind=sent.kind,
            procedure=procedure,
        )
        found = given.read_labels(model, find_classifier_layer(model, images))
        assert found.labels == sorted(labels)
        assert found.margin > 0


def test_a_mean_gradient_is_read_off_small_steps():
    torch.manual_seed(0)
    model = TinyClient(num_classes=6).double().eval()
    images, labels = torch.randn(6, 3, 8, 8, dtype=torch.float64), torch.arange(6)
    expected = client_update(model, images, labels)
    weights = {name: each.detach() for name, each in model.named_parameters()}
    for momentum, decay in ((0.0, 0.0), (0.9, 0.0), (0.9, 0.1)):
        optimizer = ClientSGD(1e-6, momentum=momentum, weight_decay=decay)
        procedure = LocalTraining(optimizer, epochs=3, mode="eval")
        order = procedure.order(6, torch.Generator().manual_seed(0))
        sent = procedure(ClientState.of(model), images, labels, order)
        found = procedure.mean_gradient(sent.tensors, weights, 6)
        for ours, theirs in zip(found.values(), expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-6)


class Batch:
    """What a last layer sends of given inputs and labels, by the formula of its gradient."""

    def __init__(self, inputs, labels, weight, bias):
        layer = nn.Linear(inputs.shape[1], len(bias)).double()
        layer.weight.data, layer.bias.data = weight, bias
        self.labels = sorted(labels)
        wrong = (inputs @ weight.T + bias).softmax(dim=1)
        wrong[range(len(labels)), labels] -= 1
        self.update = [wrong.T @ inputs / len(labels), wrong.mean(dim=0)]
        self.classifier = ClassifierLayer(layer, 0, 1, bool((inputs >= 0).all()))

    def inferred(self, update=None, classifier=None, scaled=False):
        return infer_labels(
            update or self.update, classifier or self.classifier, len(self.labels), scaled
        )


def _biased_batch(labels, logits, seed=0, features=7):
    """A model that predicts the same of every image, whatever its input."""
    logits = torch.tensor(logits, dtype=torch.float64)
    inputs = torch.rand(
        len(labels), features, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    return Batch(inputs, labels, torch.zeros(len(logits), features, dtype=torch.float64), logits)


@settings(max_examples=60)
@given(
    logits=st.lists(st.floats(-2, 2), min_size=3, max_size=12),
    draws=st.lists(st.integers(0, 10**6), min_size=2, max_size=40),
    seed=st.integers(0, 100),
)
def test_counts_are_exact_if_all_images_are_predicted_alike(logits, draws, seed):
    batch = _biased_batch([each % len(logits) for each in draws], logits, seed)
    found = batch.inferred()
    assert found.labels == batch.labels
    assert found.way == BY_EQUATIONS
    assert found.margin > 0.999
    assert found.counts == {label: batch.labels.count(label) for label in batch.labels}


def test_a_model_that_favours_a_class_misleads_impacts_but_not_equations():
    batch = _biased_batch([0] * 2 + [1] * 14 + [2] * 4, [2.0, 0.0, 0.5, -1.0])
    assert batch.inferred().labels == batch.labels
    weights_are_not_sent = ClassifierLayer(batch.classifier.layer, None, 1, True)
    found = batch.inferred(classifier=weights_are_not_sent)
    assert found.way == BY_IMPACT
    assert found.labels != batch.labels


def test_classes_are_counted_though_their_images_are_predicted_differently():
    """Each class has its own input, and its own probabilities."""
    labels = [0] * 1 + [1] * 5 + [2] * 3 + [3] * 7
    inputs = 1 + torch.eye(4, dtype=torch.float64)[labels]
    weight = 0.1 * torch.eye(4, dtype=torch.float64)
    found = Batch(inputs, labels, weight, torch.zeros(4, dtype=torch.float64)).inferred()
    assert found.labels == labels
    assert found.way == BY_EQUATIONS


@settings(max_examples=30)
@given(
    logits=st.lists(st.floats(-1, 1), min_size=6, max_size=12),
    draws=st.lists(st.integers(0, 10**6), min_size=6, max_size=20),
    factor=st.floats(0.02, 0.8),
)
def test_what_clipping_scaled_down_is_scaled_up_again(logits, draws, factor):
    batch = _biased_batch([each % len(logits) for each in draws], logits)
    found = batch.inferred([factor * tensor for tensor in batch.update], scaled=True)
    if found.way == BY_SCALED_EQUATIONS and set(range(len(logits))) - set(batch.labels):
        # A class that does not occur says how far the factor may go.
        assert found.labels == batch.labels
    assert len(found.labels) == len(batch.labels)
    assert batch.inferred(scaled=True) == batch.inferred()


def test_labels_of_a_clipped_batch_are_counted_only_if_scaling_is_thought_of():
    batch = _biased_batch([0] * 2 + [1] * 9 + [4] * 4 + [6], [0.3, 0.0, 0.5, -0.2, 0.1, -0.4, 0.2])
    clipped = [0.3 * tensor for tensor in batch.update]
    found = batch.inferred(clipped, scaled=True)
    assert (found.labels, found.way) == (batch.labels, BY_SCALED_EQUATIONS)
    assert found.margin > 0.9
    assert batch.inferred(clipped).labels != batch.labels


def test_two_classes_are_counted_where_the_model_is_undecided():
    batch = _biased_batch([0] * 3 + [1] * 9, [0.4, 0.0])
    assert batch.inferred().labels == batch.labels
    assert batch.inferred().way == BY_EQUATIONS
    decided = _biased_batch([0] * 3 + [1] * 9, [2.0, 0.0])
    assert decided.inferred().way == BY_IMPACT


def test_equations_are_left_where_they_contradict_themselves():
    batch = _biased_batch([0, 0, 1, 2, 2, 2], [0.5, 0.0, -0.5])
    weight, bias = batch.update
    cut = bias.clone()
    cut[bias.abs().argmin()] = 0
    assert batch.inferred([weight, cut]).way == BY_IMPACT
    zeros = [torch.zeros_like(weight), torch.zeros_like(bias)]
    assert (batch.inferred(zeros).way, batch.inferred(zeros).margin) == (BY_IMPACT, 0)


@settings(max_examples=60)
@given(
    entries=st.lists(st.floats(-3, 3, width=32), min_size=4, max_size=4),
    scale=st.sampled_from([1e-20, 1e-3, 1.0, 1e10]),
    count=st.integers(2, 20),
    seed=st.integers(0, 100),
)
def test_any_update_gives_as_many_labels_as_there_are_images(entries, scale, count, seed):
    draw = torch.Generator().manual_seed(seed)
    bias = scale * torch.tensor([*entries, -sum(entries)], dtype=torch.float64)
    weight = torch.randn(5, 3, generator=draw, dtype=torch.float64)
    layer = nn.Linear(3, 5).double()
    found = infer_labels([weight, bias], ClassifierLayer(layer, 0, 1, False), count)
    assert len(found.labels) == count
    assert set(found.labels) <= set(range(5))
    assert found.labels == sorted(found.labels)
    assert 0 <= found.margin <= 1
