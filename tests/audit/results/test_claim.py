"""Two configurations started at once into one folder: the second is refused."""

import time
from pathlib import Path

import pytest

from ggl_lightning.audit.results.claim import claim, release
from ggl_lightning.errors import UserError
from tests.forks import PATIENCE, context


def _hold(folder, configuration, parent):
    claim(Path(folder), configuration)
    parent.send("claimed")
    time.sleep(PATIENCE)


@pytest.fixture
def holder(tmp_path):
    """Another process that claims the folder for a configuration."""
    started = []

    def start(configuration, folder=tmp_path):
        ours, theirs = context().Pipe()
        process = context().Process(target=_hold, args=(str(folder), configuration, theirs))
        process.start()
        started.append(process)
        assert ours.recv() == "claimed"
        return process

    yield start
    for process in started:
        process.kill()
        process.join()
    release(tmp_path)


def test_another_configuration_is_refused_until_the_first_has_ended(tmp_path, holder):
    process = holder("one")
    claim(tmp_path, "one")  # its ranks, or the same command again, may share it
    release(tmp_path)
    with pytest.raises(UserError, match="another configuration into"):
        claim(tmp_path, "two")
    process.kill()  # as SIGKILL leaves it
    process.join()
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
    process.join()
    assert audit(*quick) == 0
    holder("another audit", folder)  # and whoever is done lets others in
