"""Where the updates of cases come from, without configurations."""

import pytest
import torch

from ggl_lightning.attacks import GenerativeGradientLeakage, Progress, Target
from ggl_lightning.attacks.searches import NevergradSearch
from ggl_lightning.audit.plan.case import Case, CaseSpec
from ggl_lightning.audit.plan.sources import Lineup, RecordedUpdate, SimulatedClient
from ggl_lightning.audit.run.case_runner import CaseRunner
from ggl_lightning.audit.run.chance import PriorSamples
from ggl_lightning.audit.run.scoring import Scorer
from ggl_lightning.clients import find_classifier_layer
from ggl_lightning.defenses import NoDefense
from ggl_lightning.errors import UserError
from ggl_lightning.metrics import build_reconstruction_metrics
from ggl_lightning.seeding import seeded
from tests.tiny import TinyClient, TinyImages, TinyPrior
from tests.updates.toys import recording_of

KNOWN = {"count": 2, "learning_rate": 0.1, "steps": 1, "mode": "train"}


def client(seed=0):
    with seeded(seed):
        return TinyClient().eval()


def images():
    return TinyImages().dataset("test").tensors


def test_a_recorded_update_is_loaded_at_its_clients_state_and_leaves_the_model_alone():
    theirs, ours = client(1), client(2)
    before = {name: tensor.clone() for name, tensor in ours.state_dict().items()}
    recording = recording_of(theirs, **KNOWN)
    recorded = RecordedUpdate("a", recording, ours)
    loaded = recorded.load()
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], tensor)
        assert torch.equal(ours.state_dict()[name], before[name])
    assert list(loaded.record.tensors) == [name for name, _ in ours.named_parameters()]
    assert (recorded.count, loaded.procedure.kind) == (2, "difference")
    assert loaded.procedure.batch_norm_mode == "train"
    assert not any(module.training for module in loaded.model.modules())


def test_a_recording_that_changes_in_between_is_refused():
    answers = [recording_of(client(), seed, **KNOWN) for seed in (0, 1)]
    recorded = RecordedUpdate("a", lambda: answers.pop(0), client())
    with pytest.raises(UserError, match="has changed since the audit began"):
        recorded.load()


@pytest.mark.parametrize("what", ["update", "weights", "buffers", "count", "model", "lineup"])
def test_keys_stand_for_all_that_a_result_depends_on(what):
    def determinants(changed=None):
        recording = recording_of(client(), 1 if changed == "update" else 0, **KNOWN)
        if changed == "weights":
            next(iter(recording.weights.values())).add_(1)
        if changed == "buffers":
            recording.record.buffers["1.running_mean"].add_(1)
        model = torch.nn.Sequential(*client()) if changed == "model" else client()
        lineup = images()[0][: 3 if changed == "lineup" else 2]
        count = {"count": 4} if changed == "count" else {}
        if count:
            recording = recording_of(client(), 0, **{**KNOWN, "count": 4})
        return RecordedUpdate("a", recording, model, lineup=lineup).determinants()

    assert determinants() == determinants()
    assert determinants(what) != determinants()


def test_a_lineup_leaves_out_the_image_itself_only():
    private = images()[0]
    lineup = Lineup(private[1:5], private[2:4])
    assert lineup.decoy_indices(0) == [0, 2, 3]
    assert torch.equal(lineup.decoys(1), private[[1, 2, 4]])
    assert Lineup(private[:3], private[4:]).decoy_indices(0) == [0, 1, 2]
    assert Lineup(private).decoy_indices(0) == Lineup(None, private).decoy_indices(0) == []


def test_a_simulated_client_holds_what_its_indices_say():
    dataset = TinyImages().dataset("test")
    source = SimulatedClient(dataset, dataset.tensors[1], (4, 1))
    assert (source.name, source.count) == ("image000004x2", 2)
    assert torch.equal(source.images(), dataset.tensors[0][[4, 1]])
    assert source.labels().tolist() == [0, 1]


@pytest.mark.parametrize("with_images", [False, True])
def test_a_case_is_built_and_run_without_a_configuration(with_images):
    truth = {"images": images()[0][:2], "labels": images()[1][:2]} if with_images else {}
    recording = recording_of(client(1), **{**KNOWN, "mode": "eval"})
    recorded = RecordedUpdate("mine", recording, client(), **truth)
    attack = GenerativeGradientLeakage(NevergradSearch(population=4), budget=2)
    case = Case(
        CaseSpec((), "none", "cma", 0, "attack", record="mine"),
        recorded.images(),
        recorded.labels(),
        NoDefense(),
        attack,
        recorded,
    )
    loaded, prior = recorded.load(), TinyPrior()
    classifier = find_classifier_layer(loaded.model, images()[0])
    metrics = build_reconstruction_metrics(loaded.model, classifier.layer, 8)
    scorer = Scorer(metrics, loaded.model, classifier, recorded.lineup, {}, PriorSamples(prior, 3))
    runner = CaseRunner(
        Target(loaded.model, classifier, prior),
        loaded.procedure,
        scorer,
        recorded.lineup,
        {},
        loaded.record,
    )
    outcome = runner.run(case, "key", Progress())
    assert outcome.result["name"] == "mine_none_cma_seed0"
    assert outcome.reconstructions.shape == (2, 3, 8, 8)
    assert (outcome.result["mse"] is not None) == with_images
    assert outcome.result["missing_metrics"]["rank_pixel"] == (
        Lineup.reason if with_images else "no private image was given"
    )
