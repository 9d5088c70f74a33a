"""Two configurations started at once into one folder: the second is refused."""

import os
import subprocess
import sys

import pytest

from ggl_lightning.audit.results.claim import claim, release
from ggl_lightning.errors import UserError

_HOLD = """
import sys, time
from pathlib import Path
from ggl_lightning.audit.results.claim import claim
claim(Path(sys.argv[1]), sys.argv[2])
print("claimed", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that claims the folder for a configuration."""
    started = []

    def start(configuration, folder=tmp_path):
        process = subprocess.Popen(
            [sys.executable, "-c", _HOLD, str(folder), configuration],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ,
        )
        started.append(process)
        assert process.stdout.readline() == b"claimed\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
    release(tmp_path)


def test_another_configuration_is_refused_until_the_first_has_ended(tmp_path, holder):
    process = holder("one")
    claim(tmp_path, "one")  # its ranks, or the same command again, may share it
    release(tmp_path)
    with pytest.raises(UserError, match="another configuration into"):
        claim(tmp_path, "two")
    process.kill()  # as SIGKILL leaves it
    process.wait()
    claim(tmp_path, "two")


def test_a_process_may_claim_its_own_folder_anew(tmp_path):
    claim(tmp_path, "one")
    claim(tmp_path, "two")
    release(tmp_path)
    release(tmp_path)


def test_an_audit_that_starts_beside_another_one_is_refused(audit, tmp_path, holder, capsys):
    folder = tmp_path / "runs" / "tiny"
    folder.mkdir(parents=True)
    process = holder("another audit", folder)
    quick = ("--idx", "0", "--budget", "1", "--defense", "none")
    assert audit(*quick) == 2
    assert "another configuration into" in capsys.readouterr().err
    assert not (folder / "config.yaml").exists()
    process.kill()
    process.wait()
    assert audit(*quick) == 0
    holder("another audit", folder)  # and whoever is done lets others in
