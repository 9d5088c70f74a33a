"""Sources: what the updates of an audit's cases come from, one file each."""

from ggl_lightning.audit.plan.sources.base import Source
from ggl_lightning.audit.plan.sources.lineup import Lineup
from ggl_lightning.audit.plan.sources.recorded import LoadedUpdate, RecordedUpdate, agreed_count
from ggl_lightning.audit.plan.sources.records import RecordEntry, Records
from ggl_lightning.audit.plan.sources.simulated import SimulatedClient

__all__ = [
    "Lineup",
    "LoadedUpdate",
    "RecordEntry",
    "RecordedUpdate",
    "Records",
    "SimulatedClient",
    "Source",
    "agreed_count",
]
