"""The grid of cases an audit runs over."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset

from ggl_lightning.attacks import Attack, GenerativeGradientLeakage
from ggl_lightning.audit.plan.case import Case, CaseSpec, Idle, UtilitySpec, check_name
from ggl_lightning.audit.plan.companions import Companions
from ggl_lightning.audit.plan.controls import CONTROLS, control_of
from ggl_lightning.audit.plan.grid import case_grid
from ggl_lightning.audit.plan.public_images import (
    NO_RANDOM_IMAGES,
    PublicImages,
    default_public,
    opened,
)
from ggl_lightning.audit.plan.roles import ATTACK
from ggl_lightning.audit.plan.schedule import share_out
from ggl_lightning.audit.plan.selection import ImageSelection, PrivateImages, listed, select
from ggl_lightning.audit.plan.sources import (
    RecordedUpdate,
    RecordEntry,
    Records,
    SimulatedClient,
    Source,
)
from ggl_lightning.audit.plan.sources.simulated import name_of_images
from ggl_lightning.clients.procedures import ClientProcedure
from ggl_lightning.data.base import ImageDataModule
from ggl_lightning.defenses import Defense, NoDefense
from ggl_lightning.errors import UserError, check_choice, check_non_negative, check_positive

_log = logging.getLogger(__name__)

_FROM_PRIOR = ": attacks that learn first learn from samples of the prior"
_LARGEST_SEED = 2**63 - 1  # what torch's generators take


class CaseDataset(Dataset[Case]):
    """Cases by their position, with what is known of their private images.

    Args:
        sources: By name.
        specs: The cases.
        defenses: By name.
        attacks: By name.
    """

    def __init__(
        self,
        sources: Mapping[str, Source],
        specs: Sequence[CaseSpec],
        defenses: dict[str, Defense],
        attacks: dict[str, Attack],
    ) -> None:
        self.specs = specs
        self._sources = sources
        self._defenses = defenses
        self._attacks = attacks
        self._read = lru_cache(maxsize=4)(self._read_images)  # a client's cases follow one another

    def __len__(self) -> int:
        return len(self.specs)

    def __getitem__(self, position: int) -> Case:
        spec = self.specs[position]
        source = self._sources[spec.source]
        return Case(
            spec=spec,
            images=self._read(spec.source),
            labels=source.labels(),
            defense=None if spec.defense_name is None else self._defenses[spec.defense_name],
            attack=None if spec.attack_name is None else self._attacks[spec.attack_name],
            recorded=source if isinstance(source, RecordedUpdate) else None,
        )

    def cost(self, position: int) -> float:
        """What a case costs, in evaluations of one candidate image without gradient."""
        spec = self.specs[position]
        if spec.attack_name is None:
            return 0.0
        return self._attacks[spec.attack_name].cost * self._sources[spec.source].count

    def _read_images(self, source: str) -> Tensor | None:
        return self._sources[source].images()


class _Work(Dataset[Case | UtilitySpec]):
    """Cases, then federated trainings."""

    def __init__(self, cases: CaseDataset, trainings: Sequence[UtilitySpec]) -> None:
        self._cases = cases
        self._trainings = trainings

    def __len__(self) -> int:
        return len(self._cases) + len(self._trainings)

    def __getitem__(self, position: int) -> Case | UtilitySpec:
        if position < len(self._cases):
            return self._cases[position]
        return self._trainings[position - len(self._cases)]


class AuditDataModule(pl.LightningDataModule):
    """Yields the cases of an audit, one at a time.

    Of private images of a split, or of recorded updates; never of both, which differ in weights,
    procedure and defense.

    Args:
        images: Where private images come from; with records, those of federated training only.
        attacks: Attacks by the name they have in results; one without a class is a
            `GenerativeGradientLeakage`.
        defenses: Defenses by the name they have in results. Recorded updates are as their own
            system has defended them: here stands what the attacker believes that to be, and
            nothing is applied. With records it may be left out: none, then.
        idx: The private images within the split: an index, a range such as ``0-99``, a list of
            both, or an `ImageSelection`; 0 if it is left out.
        seeds: Seeds of the cases.
        split: Split the private images are taken from.
        client_batch: Private images per client; ``idx`` is cut into batches of this size, in order.
        controls: Names of the controls to run beside the attacks, all by default; an empty list for
            none.
        decoys: Images of the private image's class among which it is to be identified.
        records: Recorded updates: a file or a pattern of files; or a list of such, and of entries
            with what is known of the private images behind one.
        lineup: A folder of images, among which those behind records are to be identified.
        public: Images that attackers have of the same kind as the private ones, for attacks that
            learn first, and for what stands for chance where there is no prior; the train split of
            ``images`` if it is left out. Where there are none, samples of the prior take their
            place.
        public_images: How many public images attackers have at most, whatever each would use.
            Controls are not bound by it.

    Raises:
        UserError: If a list is empty or has duplicates, a number is negative, a name is not safe
            in a file name, or settings of private images and of records are mixed; from `setup`, if
            the split lacks an image that is asked for, or a record is not there.
    """

    def __init__(
        self,
        images: ImageDataModule | None = None,
        attacks: dict[str, GenerativeGradientLeakage | Attack] = {},  # noqa: B006 - likewise
        defenses: dict[str, Defense] = {},  # noqa: B006 - likewise
        idx: PrivateImages | None = None,
        seeds: int | list[int] = 0,
        split: str = "test",
        client_batch: int = 1,
        controls: list[str] = [*CONTROLS],  # noqa: B006 - never changed; jsonargparse shows it
        decoys: int = 100,
        records: str | list[str | RecordEntry] | None = None,
        lineup: str | None = None,
        public: PublicImages | None = None,
        public_images: int | None = None,
    ) -> None:
        super().__init__()
        if records is None and images is None:
            raise UserError(
                "data.images must be given, where private images come from; or data.records, files "
                "of recorded updates."
            )
        if records is not None:
            _check_alone(idx, client_batch)
            defenses = defenses or {"none": NoDefense()}
        elif lineup is not None:
            raise UserError(
                f"data.lineup is {lineup!r}, but lineups are for the images behind data.records: "
                "images of a split have decoys of their class (data.decoys)."
            )
        self.images = images
        self.attacks: dict[str, Attack] = dict(attacks)
        self.defenses = defenses
        self.idx = 0 if idx is None else idx
        self.records = [records] if isinstance(records, str) else records
        self.lineup = lineup
        self.public = public
        self.public_images = public_images
        self.opened_public: PublicImages | None = None
        self.seeds = [seeds] if isinstance(seeds, int) else seeds
        self.split = split
        self.client_batch = client_batch
        self.controls = controls
        self.decoys = decoys
        self._is_set_up = False
        self._has_opened_public = False
        self._chance_public = 0
        check_positive("client_batch", client_batch)
        check_non_negative("decoys", decoys)
        if public_images is not None:
            check_positive("public_images", public_images)
            if attacks and not any(attack.needs_public for attack in attacks.values()):
                raise UserError(
                    f"data.public_images (--public_images) is {public_images}, but no attack "
                    f"learns from public images: {', '.join(attacks)}. Leave it out."
                )
        if not isinstance(self.idx, ImageSelection):
            listed(self.idx)
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise UserError(f"seeds is {self.seeds}: it must list at least one value, each once.")
        if not 0 <= min(self.seeds) <= max(self.seeds) <= _LARGEST_SEED:
            raise UserError(
                f"seeds is {self.seeds}: a seed must not be negative, nor above {_LARGEST_SEED}."
            )
        if ATTACK.name in controls:
            raise UserError("controls lists attack, which is none: attacks are always run.")
        for name in controls:
            check_choice("data.controls", name, CONTROLS)
        for what, names in (("defense", defenses), ("attack", attacks)):
            if not names:
                raise UserError(f"The audit has no {what}: name at least one under data.{what}s.")
            for name in names:
                check_name(what, name)

    @property
    def image_data(self) -> ImageDataModule:
        """Where private images come from; there is always something unless there are records."""
        assert self.images is not None
        return self.images

    def prepare_data(self) -> None:
        """Lets the image data module prepare its files."""
        if self.images is not None:
            self.images.prepare_data()

    def setup(self, stage: str) -> None:
        """Lists the cases, unless that is done.

        Opens the split and selects the private images, or finds the files of the records, which
        `open_records` reads.
        """
        if self._is_set_up:  # by the gate, before the Trainer asks for it
            return
        if self.records is None:
            self._set_up_images()
        else:
            self._set_up_records(self.records)
        self._finished: frozenset[str] = frozenset()
        self._is_set_up = True

    @property
    def public_count(self) -> int:
        """How many public images are asked for at most."""
        return max(
            self._chance_public,
            *(self.public_for(each.needs_public) for each in self.attacks.values()),
        )

    def public_for(self, count: int) -> int:
        """How many public images an attack has that would use so many, where there are enough."""
        return count if self.public_images is None else min(count, self.public_images)

    def open_public(self, random_samples: int | None = None) -> None:
        """Opens the public images if any are asked for, unless that is done; after `setup`.

        Args:
            random_samples: Without a prior, how many of them stand for chance. If there are none
                then, controls that need random images are left out. None with a prior.

        Raises:
            UserError: If those that were given cannot be read.
        """
        if self._has_opened_public:
            return
        self._chance_public = random_samples or 0
        if self.public_count:
            self._set_up_public(has_prior=random_samples is None)
        self._has_opened_public = True
        if random_samples is not None and self.opened_public is None:
            self._take(self._sources, self._specs, has_random_images=False)

    def _set_up_public(self, has_prior: bool) -> None:
        if self.public is not None:
            self.opened_public = opened(self.public)
            return
        default, why = default_public(self.images, self.split), "there is no other split"
        if default is not None:
            try:
                self.opened_public = opened(default)
            except UserError as error:
                why = str(error)
        if self.opened_public is None:
            _log.warning(
                "No public images are given (data.public)%s (%s).",
                _FROM_PRIOR if has_prior else ", and there is no prior to sample in their place",
                why.rstrip("."),
            )

    def open_records(
        self,
        model: nn.Module,
        image_size: int,
        procedure: ClientProcedure | None = None,
        structure: str | None = None,
    ) -> list[RecordedUpdate]:
        """Reads and checks the records; for arguments and errors see `Records.open`.

        Returns:
            All of them.
        """
        opened = self._records.open(model, image_size, procedure, structure)
        self.cases = CaseDataset(opened, self._specs, self.defenses, self.attacks)
        return list(opened.values())

    def _set_up_records(self, entries: Sequence[str | RecordEntry]) -> None:
        self._records = Records(entries, self.lineup)
        self.labels = torch.zeros(0, dtype=torch.long)
        self.companions = Companions(TensorDataset(self.labels), self.labels, 0)
        specs = case_grid(
            (),
            list(self.defenses),
            list(self.attacks),
            self.seeds,
            self.controls,
            self._records.names,
        )
        self._take({}, specs)

    def _set_up_images(self) -> None:
        self.image_data.open_split(self.split)
        images = self.image_data.dataset(self.split)
        labels = self.image_data.labels(self.split)
        idx = select(self.idx, len(labels), lambda: labels, self.split)
        if len(idx) % self.client_batch:
            raise UserError(
                f"client_batch is {self.client_batch}, which does not divide the {len(idx)} "
                "private images of idx: every client needs a whole batch."
            )
        batches = [
            tuple(idx[i : i + self.client_batch]) for i in range(0, len(idx), self.client_batch)
        ]
        specs = case_grid(
            batches, list(self.defenses), list(self.attacks), self.seeds, self.controls
        )
        self.labels = labels
        self.companions = Companions(images, labels, self.decoys)
        self._take(
            {name_of_images(each): SimulatedClient(images, labels, each) for each in batches}, specs
        )

    def _take(
        self, sources: Mapping[str, Source], specs: list[CaseSpec], has_random_images: bool = True
    ) -> None:
        self._sources = sources
        self._specs = self._without_impossible(specs, has_random_images)
        _check_distinct(self._specs)
        self.cases = CaseDataset(sources, self._specs, self.defenses, self.attacks)

    def _without_impossible(self, specs: list[CaseSpec], has_random_images: bool) -> list[CaseSpec]:
        """Leaves out controls that lack something, and says so."""
        kept = []
        lacking: Counter[tuple[str, str]] = Counter()
        for spec in specs:
            lack = self._lacks(spec, has_random_images)
            if lack is None:
                kept.append(spec)
            else:
                lacking[spec.role, lack] += 1
        for (role, lack), count in lacking.items():
            _log.warning("%d cases of the control %s are left out: %s.", count, role, lack)
        return kept

    def _lacks(self, spec: CaseSpec, has_random_images: bool) -> str | None:
        control = control_of(spec.role)
        if control is None:
            return None
        if control.needs_random_images and not has_random_images:
            return NO_RANDOM_IMAGES
        if spec.record is not None:
            return control.lacks_of_record(self._records.has_images(spec.record))
        lack = control.lacks(spec.indices, self.companions)
        return None if lack is None else f"the {self.split} split {lack}"

    def leave_out_of_account(self, finished: frozenset[str]) -> None:
        """Says which cases cost nothing any more when they are shared out, the same on all ranks.

        Args:
            finished: Names.
        """
        self._finished = finished

    def test_dataloader(self) -> DataLoader:
        """This process's share of the work, balanced by cost, without padding."""
        utility = getattr(self.trainer.lightning_module, "utility", None) if self.trainer else None
        trainings = [] if utility is None else [UtilitySpec(name) for name in self.defenses]
        work = _Work(self.cases, trainings)
        if self.trainer is None or self.trainer.world_size == 1:
            return DataLoader(work, batch_size=None, num_workers=0)
        names = [spec.name for spec in self.cases.specs]
        costs = [
            1.0 if name in self._finished else 1.0 + self.cases.cost(position)
            for position, name in enumerate(names)
        ] + [1.0 if utility is None else utility.cost] * len(trainings)
        share = share_out(costs, self.trainer.world_size)[self.trainer.global_rank]
        if not share:  # a rank without batches would skip the hooks at the end, and hang the others
            return DataLoader([Idle()], batch_size=None, num_workers=0)  # type: ignore[arg-type]
        return DataLoader(Subset(work, share), batch_size=None, num_workers=0)

    def transfer_batch_to_device(
        self, batch: Any, device: torch.device, dataloader_idx: int
    ) -> Any:
        """Leaves a case as it is; `AuditModule` moves what it needs."""
        return batch


def _check_alone(idx: PrivateImages | None, client_batch: int) -> None:
    """Raises if settings of private images of a split are given beside records."""
    if idx is not None:
        raise UserError(
            f"data.idx is {idx}, which are private images of a split, beside data.records: an "
            "audit is of one or the other, since they differ in weights, procedure and defense. "
            "Leave idx out, and run another audit for those images."
        )
    if client_batch != 1:
        raise UserError(
            f"data.client_batch is {client_batch} beside data.records: how many images are behind "
            "a record is its own count. Leave it out."
        )


def _check_distinct(specs: Sequence[CaseSpec]) -> None:
    """Raises if two cases would share a folder, since parts of their names run together."""
    known: dict[str, CaseSpec] = {}
    for spec in specs:
        other = known.setdefault(spec.name, spec)
        if other is not spec:
            raise UserError(
                f"Two cases are called {spec.name!r}: {_parts(other)} and {_parts(spec)}. Give the "
                "defense or the attack another name."
            )


def _parts(spec: CaseSpec) -> str:
    return f"{spec.role} with defense {spec.defense_name!r} and attack {spec.attack_name!r}"
