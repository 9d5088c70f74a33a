"""Null is refused where a value is needed, at any depth of a configuration."""

from __future__ import annotations

from typing import Any, Optional, TypeVar

import pytest

from ggl_lightning.audit.cli import main
from ggl_lightning.cli import run_command
from ggl_lightning.command_line.nulls import check_nulls
from ggl_lightning.errors import UserError

_Kind = TypeVar("_Kind")


def function(
    number: int,
    text: str = "a",
    perhaps: int | None = 1,
    perhaps_too: Optional[float] = 2.0,  # noqa: UP045
    anything: Any = 3,
    of_a_kind: _Kind = 4,
    untyped=5,
    implicitly: int = None,  # noqa: RUF013
) -> None:
    pass


def test_nulls_pass_where_they_may_stand():
    allowed = ("perhaps", "perhaps_too", "anything", "of_a_kind", "untyped", "implicitly")
    check_nulls(function, {"number": 0, "text": "", **dict.fromkeys(allowed)})


def test_all_others_are_told_at_once():
    with pytest.raises(UserError) as refused:
        check_nulls(function, {"number": None, "text": None, "perhaps": None})
    assert refused.value.problems == (
        "number of function is null: it needs a value.",
        "text of function is null: it needs a value, or may be left out for 'a'.",
    )


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("model.client_model.init_args.width", "width of ResNet18 is null"),
        ("data.images.init_args.batch_size", "batch_size of CelebADataModule is null"),
        ("data.attacks.cma.init_args.budget", "budget of GenerativeGradientLeakage is null"),
    ],
)
def test_a_command_refuses_null(setting, message, tmp_path, capsys):
    config = "configs/audit/demo_search.yaml"
    arguments = ["--config", config, f"--out_dir={tmp_path / 'runs'}", f"--{setting}=null"]
    assert run_command(main, arguments) == 2
    assert f"error: {message}: it needs a value, or may be left out" in capsys.readouterr().err
