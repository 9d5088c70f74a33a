import pytest
import torch

from tests.metrics.ddp_statistics import run_rank, statistics_of


@pytest.mark.filterwarnings("ignore:.*compute.*before.*update.*")
def test_two_ranks_compute_what_one_process_does(tmp_path):
    torch.multiprocessing.spawn(run_rank, args=(2, str(tmp_path)), nprocs=2)
    alone = statistics_of(0, 1)
    assert alone["nothing"] == "no image has a value"
    for rank in range(2):
        assert torch.load(tmp_path / f"rank{rank}.pt") == alone
