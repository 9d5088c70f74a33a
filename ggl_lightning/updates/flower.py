"""Recording updates in Flower: a mod for clients, a wrapper of strategies for the server.

Needs Flower's package: ``pip install 'ggl-lightning[flower]'``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ggl_lightning.errors import UserError
from ggl_lightning.updates.observer import ObservedTraining, observed
from ggl_lightning.updates.record import Mode
from ggl_lightning.updates.sent_state import Circumstances, StateReader, write_to_folder

try:
    from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
    from flwr.serverapp import Grid
    from flwr.serverapp.strategy import Strategy
except ImportError as error:
    raise ImportError(
        f"Recording in Flower needs its package, version 1.42 or newer ({error}): install it with "
        "pip install 'ggl-lightning[flower]'."
    ) from error

_COUNTS = ("num-examples", "num_examples")
_ROUNDS = ("server-round", "server_round", "current_round")
_RATES = ("lr", "learning-rate", "learning_rate")


class RecordingMod:
    """A client mod that records every update the client sends, as it leaves.

    ``ClientApp(mods=[RecordingMod("recordings")])``. Mods unwind in reverse, so it must be the
    *first* in the list: what comes after it, such as Flower's local differential privacy, has then
    been applied to what is recorded.

    Learning rate, steps and optimiser are observed while the client trains, the number of images is
    what it reports as ``num-examples``, and whether batch-norm ran in train mode is seen from its
    counters. The message goes on unchanged.

    Args:
        folder: Where to write: one file for each message, named by round and node.
        model: The client model, or one like it, for its names and buffers; needed for clients that
            send lists of arrays (``NumPyClient``). Without it, tensors are told apart by their
            names.
        mode: How batch-norm runs, where it cannot be seen.
    """

    def __init__(
        self, folder: str | Path, model: nn.Module | None = None, mode: Mode | None = None
    ) -> None:
        self._folder = Path(folder)
        self._reader = StateReader(model)
        self._mode = mode

    def __call__(
        self, message: Message, context: Context, call_next: Callable[[Message, Context], Message]
    ) -> Message:
        """Passes a message on to the client, and records its reply if it was to train.

        Raises:
            UserError: If the message does not hold one model, or not this one.
        """
        if not _is_training(message):
            return call_next(message, context)
        # Read before the client is called, which may use the message up.
        before = self._reader.named(_arrays(message.content), "The weights sent to the client")
        asked = _asked(message.content)
        with observed() as training:
            reply = call_next(message, context)
        if not reply.has_error():
            node = str(context.node_config.get("partition-id", context.node_id))
            _record(self._folder, self._reader, before, reply, asked, node, self._mode, training)
        return reply


class RecordingStrategy(Strategy):
    """A server-side strategy that records every update it receives, around any other strategy.

    ``RecordingStrategy(FedAvg(), "recordings").start(grid, ...)``. It records what a curious server
    sees, so nothing that clients do not send is in it: steps and optimiser are not known.

    Args:
        strategy: Whose work is done.
        folder: Where to write: one file for each message, named by round and node.
        model: As for `RecordingMod`.
        mode: How batch-norm runs, where it cannot be seen.
    """

    def __init__(
        self,
        strategy: Strategy,
        folder: str | Path,
        model: nn.Module | None = None,
        mode: Mode | None = None,
    ) -> None:
        super().__init__()
        self.strategy = strategy
        self._folder = Path(folder)
        self._reader = StateReader(model)
        self._mode = mode
        self._sent: dict[int, RecordDict] = {}

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """The strategy's messages; what each node is sent is remembered until it replies."""
        messages = self.strategy.configure_train(server_round, arrays, config, grid)
        self._sent = {}
        return self._remembered(messages)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Records the replies, then aggregates them as the strategy does."""
        replies = list(replies)
        for reply in replies:
            node = reply.metadata.src_node_id
            if reply.has_error() or node not in self._sent:
                continue
            content = self._sent.pop(node)
            before = self._reader.named(_arrays(content), "The weights sent to the client")
            asked = {"round": str(server_round), **_asked(content)}
            _record(self._folder, self._reader, before, reply, asked, str(node), self._mode)
        return self.strategy.aggregate_train(server_round, replies)

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """The strategy's own."""
        return self.strategy.configure_evaluate(server_round, arrays, config, grid)

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord | None:
        """The strategy's own."""
        return self.strategy.aggregate_evaluate(server_round, replies)

    def summary(self) -> None:
        """The strategy's own."""
        self.strategy.summary()

    def _remembered(self, messages: Iterable[Message]) -> Iterator[Message]:
        for message in messages:
            self._sent[message.metadata.dst_node_id] = message.content
            yield message


def _is_training(message: Message) -> bool:
    return message.has_content() and message.metadata.message_type.partition(".")[0] == "train"


def _arrays(content: RecordDict) -> dict[str, Tensor]:
    """The one model in a message, copied out of it."""
    records = list(content.array_records.values())
    if len(records) != 1:
        raise UserError(
            f"A message to or from the client holds {len(records)} array records: expected one, "
            "the model."
        )
    # A list's arrays come with the names 0, 1, ...; the empty list has a name of its own.
    return {n: torch.from_numpy(a.numpy().copy()) for n, a in records[0].items() if n != "_empty"}


def _asked(content: RecordDict) -> dict[str, str]:
    """What the server tells a client of the round, as far as it goes by its usual names."""
    told: dict[str, Any] = {k: v for r in content.config_records.values() for k, v in r.items()}
    found = {
        "round": next((told[name] for name in _ROUNDS if name in told), None),
        "learning_rate": next((told[name] for name in _RATES if name in told), None),
    }
    return {name: str(value) for name, value in found.items() if value is not None}


def _record(
    folder: Path,
    reader: StateReader,
    before: dict[str, Tensor],
    reply: Message,
    asked: dict[str, str],
    node: str,
    mode: Mode | None,
    training: ObservedTraining | None = None,
) -> None:
    after = reader.named(_arrays(reply.content), "The weights the client sent")
    reported = {k: v for r in reply.content.metric_records.values() for k, v in r.items()}
    count = next((reported[name] for name in _COUNTS if name in reported), None)
    told = float(asked["learning_rate"]) if "learning_rate" in asked else None
    metadata = {
        "framework": "flower",
        "framework_version": version("flwr"),
        "client": node,
        **({"round": asked["round"]} if "round" in asked else {}),
        **({} if training is None else training.metadata),
    }
    circumstances = Circumstances(
        int(count) if isinstance(count, int | float) and count > 0 else None,
        told if training is None or training.steps is None else training.learning_rate,
        None if training is None else training.steps,
        mode,
        metadata,
    )
    parts = [f"round-{asked['round']}"] if "round" in asked else []
    recording = reader.recording(before, after, circumstances)
    write_to_folder(folder, [*parts, f"client-{node}"], recording)
