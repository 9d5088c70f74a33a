import os
import subprocess
import sys
from pathlib import Path

import torch
from reference_training import reference_training

HERE = Path(__file__).parent


def test_ranks_agree_and_step_by_the_mean_of_their_gradients(tmp_path):
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(HERE / "ddp_training.py"), str(tmp_path)]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stderr
    first, second = (torch.load(tmp_path / f"rank{rank}.pt") for rank in range(2))

    for name, tensor in first["state"].items():
        assert torch.equal(tensor, second["state"][name]), name
    assert torch.equal(first["frechet_distance"], second["frechet_distance"])

    parts = list(zip(first["parts"], second["parts"], strict=True))
    assert len(parts) == 6
    assert not any(torch.equal(one, other) for one, other in parts)
    expected = reference_training(2, parts)
    for name, tensor in expected.state_dict().items():
        torch.testing.assert_close(first["state"][name], tensor, msg=name)
