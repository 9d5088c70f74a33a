"""What somebody else's typed program says of the public interface; it is checked, never run."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

import ggl_lightning
from ggl_lightning.attacks import (
    Attack,
    Finding,
    FirstLinearInversion,
    GenerativeGradientLeakage,
    Progress,
    Received,
    StandardAttack,
    Target,
    UpdateMatching,
)
from ggl_lightning.attacks.searches import AdamSearch
from ggl_lightning.audit.report import build_report
from ggl_lightning.audit.statistics import compute_statistics
from ggl_lightning.audited_update import AttackResult, AuditedUpdate
from ggl_lightning.clients import MLP, client_update
from ggl_lightning.clients.procedures import ClientProcedure, ClientSGD, LocalTraining
from ggl_lightning.defenses import ClientSide, Clipping, Compose, Defense, Noise
from ggl_lightning.errors import UserError
from ggl_lightning.priors import Prior, WGANGPPrior
from ggl_lightning.updates import (
    Recording,
    UpdateRecord,
    read_recording,
    record_gradient,
    write_recording,
)


class Halved(Defense):
    """A defense of one's own."""

    def __init__(self, share: float = 0.5) -> None:
        self.share = share

    def __call__(self, update: Sequence[Tensor], client: ClientSide) -> list[Tensor]:
        return [self.share * tensor for tensor in update]


class Grey(Attack):
    """An attack of one's own."""

    def run(
        self,
        received: Received,
        target: Target,
        seed: int,
        progress: Progress | None = None,
    ) -> Finding:
        count = received.record.count or 1
        images = torch.zeros(count, *target.image_shape)
        return Finding(images=images, labels=torch.zeros(count, dtype=torch.long))

    @property
    def evaluations(self) -> int:
        return 0

    @property
    def cost(self) -> float:
        return 0.0


def update_of(model: nn.Module, images: Tensor, labels: Tensor) -> UpdateRecord:
    update: list[Tensor] = client_update(model, images, labels)
    names = [name for name, _ in model.named_parameters()]
    return UpdateRecord(dict(zip(names, update, strict=True)), "gradient", count=len(images))


def kept(recording: Recording, path: Path) -> Recording:
    write_recording(path, recording)
    return read_recording(path)


def audited(model: nn.Module, images: Tensor, labels: Tensor, path: Path) -> float | None:
    prior: Prior = WGANGPPrior()
    procedure: ClientProcedure = LocalTraining(epochs=1, optimizer=ClientSGD(learning_rate=0.1))
    attacks: Mapping[str, Attack] = {
        "ggl": GenerativeGradientLeakage(AdamSearch(), budget=10, adaptive=True),
        "linear": FirstLinearInversion(),
        "matching": UpdateMatching(),
        "standard": StandardAttack(budget=10),
        "grey": Grey(),
    }
    defense: Defense = Compose([Clipping(bound=4.0), Noise(std=0.1), Halved()])
    try:
        found: AuditedUpdate = ggl_lightning.audit_update(
            update_of(model, images, labels),
            model,
            prior=prior,
            images=images,
            labels=labels,
            procedure=procedure,
            defense=defense,
            attacks=attacks,
            out_dir=path,
        )
    except UserError as error:
        print(str(error))
        return None
    best: AttackResult = found["ggl"]
    scores: Mapping[str, float] = best.scores
    found.save(path / "again")
    return scores.get("psnr")


def report(rows: Sequence[dict[str, object]], folder: Path) -> Path:
    print(compute_statistics(rows)["version"], ggl_lightning.__version__)
    return build_report([folder], folder)


print(audited(MLP(), torch.zeros(1, 3, 32, 32), torch.tensor([1]), Path("audited")))
print(record_gradient)
