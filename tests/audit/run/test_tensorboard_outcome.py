"""What an audit leaves in TensorBoard at its end."""

import json

import pytest
import yaml
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins import base_plugin
from tensorboard.plugins.hparams import backend_context, plugin_data_pb2


@pytest.fixture
def finished(audit, tiny_config, tmp_path):
    config = yaml.safe_load(tiny_config.read_text())
    config["data"]["controls"] = ["null_random", "bound"]
    tiny_config.write_text(yaml.safe_dump(config, sort_keys=False))
    assert audit("--budget", "3") == 0
    return tmp_path / "runs" / "tiny"


def _events(folder):
    events = EventAccumulator(str(folder))
    events.Reload()
    return events


def test_parameters_stand_beside_final_metrics(finished, audit):
    rows = json.loads((finished / "summary.json").read_text())
    attacks = [row for row in rows if row["role"] == "attack"]
    folders = finished / "tensorboard" / "hparams"
    assert {folder.name for folder in folders.iterdir()} == {row["name"] for row in attacks}
    for row in attacks:
        events = _events(folders / row["name"])
        for metric in ("psnr", "psnr_random_mean"):
            assert events.Scalars(metric)[0].value == pytest.approx(row[metric], rel=1e-5)
        content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
        given = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
        assert given["defense"].string_value == row["defense"]
        assert given["image"].number_value == row["image_index"]
        if row["defense"] == "noise0.1":
            assert given["std"].number_value == pytest.approx(0.1)
    # Run again, nothing is written twice.
    files = sorted(folders.rglob("events*"))
    assert audit("--budget", "3") == 0
    assert sorted(folders.rglob("events*")) == files


def test_parameters_of_all_defenses_are_shown(finished):
    """As TensorBoard's HParams finds out which there are."""
    runs = EventMultiplexer().AddRunsFromDirectory(str(finished / "tensorboard")).Reload()
    provider = MultiplexerDataProvider(runs, str(finished))
    context = backend_context.Context(base_plugin.TBContext(data_provider=provider))
    request = RequestContext()
    metadata = context.hparams_metadata(request, "")
    found = context.experiment_from_metadata(request, "", True, metadata, [])
    names = {info.name for info in found.hparam_infos}
    assert names == {"attack", "defense", "image", "seed", "std"}
    metrics = {info.name.tag for info in found.metric_infos}
    assert {"mse", "psnr", "psnr_random_mean", "loss"} <= metrics


def test_every_client_has_a_picture_and_its_legend(finished):
    events = _events(finished / "tensorboard")
    for index in (0, 3):
        tag = f"clients/image{index:06d}_seed0"
        (picture,) = events.Images(tag)
        # The private image and four cases, 8 pixels each, with 2 between and around.
        assert (picture.width, picture.height) == (5 * 8 + 6 * 2, 8 + 2 * 2)
        legend = events.Tensors(f"{tag}/text_summary")[0].tensor_proto.string_val[0].decode()
        assert f"`{tag}`" in legend
        assert "1. private image" in legend
        assert "2. reconstruction, none, cma: PSNR " in legend
        assert "direct inversion, cma: PSNR " in legend


def test_the_verdict_is_told_before_anything_else(finished):
    events = _events(finished / "tensorboard")
    told = events.Tensors("audit/text_summary")[0].tensor_proto.string_val[0].decode()
    assert told.startswith("Worst case over attacks\n\nnone: ")
    assert "report.html" in told
    assert min(events.Tags()["scalars"]).startswith("audit_means/")
    assert "epoch" not in events.Tags()["scalars"]
