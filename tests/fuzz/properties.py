"""What holds of every command line, whatever is in it."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

import yaml

from tests.fuzz.calls import Call
from tests.fuzz.runner import Ending

_CODES = {0, 2, 3}
_LONGEST = 1500
_MOST_LINES = 20
_TRIAL = "a trial of a few batches. It writes nothing"  # what is said of trainer.fast_dev_run


def faults(call: Call, ending: Ending) -> list[str]:
    """What is wrong with how a command ended, whatever it was to do."""
    if ending.code is None:
        return ["does not end"]
    found = []
    if ending.code not in _CODES:
        found.append(f"exit code {ending.code}")
    screen = ending.output + ending.errors
    if "Traceback (most recent call last)" in screen:
        found.append("a traceback")
    if call.refused and ending.code != 2:
        found.append("should have been refused")
    if ending.code == 2:
        found += _faults_of_refusal(call, ending)
    return found


def _faults_of_refusal(call: Call, ending: Ending) -> list[str]:
    found = []
    if ending.left:
        found.append(f"leaves behind {sorted(ending.left)[:5]}")
    message = ending.message
    if not message:
        return [*found, "no line that begins with error:"]
    if len(message) > _LONGEST or message.count("\n") >= _MOST_LINES:
        found.append(f"a message of {len(message)} characters")
    if "usage:" in ending.errors:
        found.append("usage text before the message")
    lowered = message.lower()
    if not any(mention.lower() in lowered for mention in call.mentions):
        found.append("the message names nothing that was changed")
    return found


def faults_of_printed(call: Call, ending: Ending) -> list[str]:
    """What is wrong with a configuration that was printed and nothing else."""
    found = []
    if ending.left:
        found.append(f"leaves behind {sorted(ending.left)[:5]}")
    if ending.code == 0:
        found += _neglected(call, yaml.safe_load(ending.output))
    return found


def faults_of_run(call: Call, ending: Ending) -> list[str]:
    """What is wrong with what a run that was to the end left behind."""
    if ending.code not in {0, 3}:
        return []
    folders = {
        PurePosixPath(path).parent
        for path in ending.left
        if PurePosixPath(path).name == "config.yaml"
    }
    if _TRIAL in ending.errors:
        return [f"a trial leaves behind {sorted(ending.left)[:5]}"] if ending.left else []
    if len(folders) != 1:
        return [f"{len(folders)} run folders"]
    folder = folders.pop()
    text = (ending.sandbox / folder / "config.yaml").read_text(encoding="utf-8")
    config = yaml.safe_load(text)
    allowed = [folder, *_other_folders(config, ending)]
    outside = [
        path
        for path in sorted(ending.left)
        if not any(
            PurePosixPath(path).is_relative_to(place) or place.is_relative_to(path)
            for place in allowed
        )
    ]
    found = [f"outside the run folder {folder}: {outside[:5]}"] if outside else []
    return found + _neglected(call, config)


def faults_of_rerun(again: Ending) -> list[str]:
    """What is wrong with how a finished audit's command ended when it was given again."""
    found = [] if again.code == 0 else [f"exit code {again.code}: {again.message}"]
    names = {"result.json", "latent.npy", "losses.csv", "original.png"}
    anew = [path for path in sorted(again.left) if PurePosixPath(path).name in names]
    return found + ([f"computed anew: {anew[:3]}"] if anew else [])


def _other_folders(config: dict[str, Any], ending: Ending) -> list[PurePosixPath]:
    """The cache of a training's images, where there is one."""
    data = config.get("data") or {}
    data = data.get("images", data)
    cache = (data.get("init_args") or {}).get("cache_dir")
    if cache is None:
        return []
    home = str(ending.sandbox / "home")
    path = PurePosixPath(str(ending.sandbox / "here")) / str(cache).replace("~", home, 1)
    return [path.relative_to(ending.sandbox)] if path.is_relative_to(ending.sandbox) else []


def _neglected(call: Call, config: Any) -> list[str]:
    if not isinstance(config, dict):
        return [f"the configuration is {config!r}"]
    return call.neglected(config)
