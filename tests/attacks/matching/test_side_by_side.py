"""Parts of a population in threads: the same rows, and no trace left behind."""

import threading

import pytest
import torch

from ggl_lightning.attacks.matching.candidate_gradients import CandidateGradients
from ggl_lightning.attacks.matching.side_by_side import SideBySide
from ggl_lightning.attacks.matching.update_distances import UpdateDistances
from ggl_lightning.clients import GradientUpdate, ResNet18, client_update


@pytest.fixture(params=[2, 3, 5])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


class Recorder:
    """Doubles numbers and notes where that happened."""

    def __init__(self):
        self.calls = []

    def __call__(self, images, labels):
        place = threading.current_thread(), torch.get_num_threads(), torch.is_grad_enabled()
        self.calls.append((len(images), *place))
        return 2 * images + labels


def threads_of_a_new_thread():
    found = []
    thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    return found[0]


@pytest.mark.parametrize("population", [40, 41, 43])
def test_each_thread_takes_a_part(population, threads):
    recorders = [Recorder() for _ in range(threads)]
    waiting = iter(recorders[1:])
    side_by_side = SideBySide(recorders[0], lambda: next(waiting))
    images, labels = torch.arange(float(population)), torch.tensor(1)
    for _ in range(2):
        with torch.no_grad():
            rows = side_by_side(images, labels)
        assert rows.equal(2 * images + 1)
    calls = [call for recorder in recorders for call in recorder.calls]
    assert [len(recorder.calls) for recorder in recorders] == [2] * threads
    sizes = [recorder.calls[0][0] for recorder in recorders]
    assert sum(sizes) == population
    assert max(sizes) - min(sizes) <= 1
    assert {call[2:] for call in calls} == {(1, False)}
    assert threading.current_thread() not in {call[1] for call in calls}
    assert torch.get_num_threads() == threads
    assert threads_of_a_new_thread() == threads


def test_few_candidates_share_the_threads(threads):
    recorder = Recorder()
    side_by_side = SideBySide(recorder, lambda: recorder)
    side_by_side(torch.zeros(16), torch.tensor(0))
    assert {call[2] for call in recorder.calls} == {max(1, threads // 2)}


@pytest.mark.parametrize(("population", "differentiable"), [(15, False), (50, True), (0, False)])
def test_nothing_is_split_where_it_does_not_pay(population, differentiable, threads):
    recorder = Recorder()
    images = torch.zeros(population, requires_grad=differentiable)
    SideBySide(recorder, pytest.fail)(images, torch.tensor(0))
    here = threading.current_thread(), threads, True
    assert recorder.calls == [(population, *here)]


def test_an_error_in_a_thread_is_raised(threads):
    def fail(images, labels):
        raise ValueError(str(len(images)))

    with pytest.raises(ValueError, match=r"^\d+$"):
        SideBySide(fail, lambda: fail)(torch.zeros(50), torch.tensor(0))
    assert torch.get_num_threads() == threads
    assert threads_of_a_new_thread() == threads


def test_distances_are_the_same_in_threads(threads, monkeypatch):
    torch.manual_seed(0)
    model = ResNet18(width=4).double().eval()
    labels = torch.tensor([1])
    images = torch.rand(41, 1, 3, 8, 8, dtype=torch.float64)
    received = client_update(model, torch.rand(1, 3, 8, 8, dtype=torch.float64), labels)
    twins = []
    make_twin = CandidateGradients.twin
    monkeypatch.setattr(
        CandidateGradients, "twin", lambda this: twins.append(make_twin(this)) or twins[-1]
    )
    together = UpdateDistances(model, received, GradientUpdate())(images, labels)
    assert len(twins) == threads - 1
    torch.set_num_threads(1)
    alone = UpdateDistances(model, received, GradientUpdate())(images, labels)
    torch.testing.assert_close(together, alone, rtol=1e-10, atol=1e-20)
