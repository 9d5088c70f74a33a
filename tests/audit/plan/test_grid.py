"""The list of cases, and the other images that controls need."""

from collections import Counter

import torch
from scipy.stats import chisquare
from torch.utils.data import TensorDataset

from ggl_lightning.audit.plan.companions import Companions
from ggl_lightning.audit.plan.controls.noise import noise_like
from ggl_lightning.audit.plan.grid import case_grid

ALL = ["null_random", "null_noise", "null_other", "bound"]


def test_first_image_is_complete_before_the_second_begins():
    grid = case_grid([(3,), (5,)], ["none", "noise"], ["cma", "adam"], [0, 1], ALL)
    clients = [(spec.seed, spec.indices) for spec in grid]
    assert clients == sorted(clients)
    first = [spec for spec in grid if (spec.seed, spec.indices) == (0, (3,))]
    assert [spec.role for spec in first[:4]] == ["attack"] * 4
    assert len(first) == 4 + 1 + 2 + 4 + 4
    assert len({spec.name for spec in grid}) == len(grid)


def test_controls_have_what_they_depend_on_and_no_more():
    grid = case_grid([(0,)], ["none", "noise"], ["cma"], [0], ALL)
    found = {(s.role, s.defense_name, s.attack_name) for s in grid if s.role != "attack"}
    assert found == {
        ("null_random", None, None),
        ("bound", None, "cma"),
        ("null_noise", "none", "cma"),
        ("null_noise", "noise", "cma"),
        ("null_other", "none", "cma"),
        ("null_other", "noise", "cma"),
    }
    assert len(case_grid([(0,)], ["none", "noise"], ["cma"], [0], [])) == 2


def _companions(decoys=3):
    labels = torch.tensor([0, 1, 0, 1, 0, 0, 0, 2])
    images = torch.arange(8.0)[:, None, None, None].expand(8, 3, 2, 2)
    return Companions(TensorDataset(images, labels), labels, decoys), labels


def test_decoys_are_others_of_the_class_always_the_same():
    companions, labels = _companions()
    for index in range(8):
        decoys = companions.decoy_indices(index)
        assert index not in decoys
        assert all(labels[decoy] == labels[index] for decoy in decoys)
        assert len(decoys) == min(3, int((labels == labels[index]).sum()) - 1)
        assert len(set(decoys)) == len(decoys)
        assert decoys == _companions()[0].decoy_indices(index)
        shown = companions.decoys(index)[:, 0, 0, 0] if decoys else torch.empty(0)
        assert shown.tolist() == decoys


def test_every_other_image_of_the_class_is_as_likely():
    labels = torch.zeros(9, dtype=torch.long)
    companions = Companions(TensorDataset(torch.zeros(9, 1), labels), labels, decoys=3)
    drawn = [companions.other_indices((4, 1, 7), seed) for seed in range(900)]
    for picks in drawn:
        assert len({4, 1, 7, *picks}) == 6
    for place in range(3):
        counts = Counter(picks[place] for picks in drawn)
        assert counts.keys() == {0, 2, 3, 5, 6, 8}
        assert chisquare(list(counts.values())).pvalue > 0.01


def test_another_clients_images_are_of_the_same_classes_and_not_the_same():
    companions, labels = _companions()
    chosen = set()
    for seed in range(20):
        others = companions.other_indices((0, 2, 1), seed)
        assert labels[others].tolist() == [0, 0, 1]
        assert not set(others) & {0, 2, 1}
        assert len(set(others)) == 3
        assert others == companions.other_indices((0, 2, 1), seed)
        chosen.add(tuple(others))
    assert len(chosen) > 1
    assert companions.have_others((0, 2, 1))
    assert not companions.have_others((7,))
    assert not companions.have_others((1, 3))
    assert not companions.have_others((0, 2, 4))


def test_noise_has_the_norms_of_what_it_replaces_and_a_seed():
    update = [torch.randn(4, 3), torch.zeros(5), torch.full((2, 2, 2), 1e-3)]
    kept = [tensor.clone() for tensor in update]
    noise = noise_like(update, 3)
    for ours, theirs, before in zip(noise, update, kept, strict=True):
        assert ours.shape == theirs.shape
        torch.testing.assert_close(ours.norm(), theirs.norm())
        assert torch.equal(theirs, before)
    assert not torch.allclose(noise[0], update[0], atol=0.1)
    assert torch.equal(noise[0], noise_like(update, 3)[0])
    assert not torch.equal(noise[0], noise_like(update, 4)[0])
    # Not the stream a noise defense with this seed draws from.
    defense = torch.randn(4, 3, generator=torch.Generator().manual_seed(3))
    assert (
        abs(torch.nn.functional.cosine_similarity(defense.flatten(), noise[0].flatten(), 0)) < 0.9
    )
