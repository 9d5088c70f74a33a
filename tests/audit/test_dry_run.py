"""--dry_run says what would be done and does nothing."""

import yaml


def _use_all_controls(tiny_config):
    config = yaml.safe_load(tiny_config.read_text())
    del config["data"]["controls"]
    tiny_config.write_text(yaml.safe_dump(config, sort_keys=False))


def test_cases_evaluations_and_time_are_listed_and_nothing_written(
    audit, tiny_config, tmp_path, capsys
):
    _use_all_controls(tiny_config)
    assert audit("--dry_run") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("16 cases, 0 of them done")
    table = {" ".join(line.split()[4:]): line.split()[:2] for line in lines[2:-2]}
    # 2 images x (2 attacks + bound + 2 + 2 nulls) searches, and 2 random nulls without any.
    assert table["attack none cma"] == ["2", str(2 * 151)]
    assert table["null_other noise0.1 cma"] == ["2", str(2 * 151)]
    assert table["bound cma"] == ["2", str(2 * 151)]
    assert table["null_random"] == ["2", "0"]
    assert table["all"] == ["16", str(14 * 151)]
    assert "batch-norm, which is in eval mode throughout" in lines[-1]
    assert not (tmp_path / "runs").exists()


def test_what_is_done_is_not_counted_and_other_results_are_refused(audit, capsys):
    assert audit() == 0
    capsys.readouterr()
    assert audit("--dry_run=true", "--idx", "[0, 3, 4]") == 0
    out = capsys.readouterr().out
    assert "6 cases, 4 of them done" in out
    assert audit("--dry_run", "--budget", "3") == 2
    assert "already holds other results" in capsys.readouterr().err


def test_federated_trainings_are_listed_until_they_are_done(audit, tiny_config, capsys):
    config = yaml.safe_load(tiny_config.read_text())
    config["model"]["utility"] = {
        "class_path": "ggl_lightning.federated.FederatedTraining",
        "init_args": {"rounds": 6, "clients": 2, "clients_per_round": 1, "evaluate_every": 2},
    }
    tiny_config.write_text(yaml.safe_dump(config, sort_keys=False))
    assert audit("--dry_run", "--idx", "0") == 0
    out = capsys.readouterr().out
    assert "training under none" in out
    assert "training under noise0.1" in out
    assert audit("--idx", "0", "--budget", "2") == 0
    assert audit("--dry_run", "--idx", "0", "--budget", "2") == 0
    assert "training" not in capsys.readouterr().out.partition("Still to be run")[2]
