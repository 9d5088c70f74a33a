"""One audit: every case defended, attacked and scored under ``Trainer.test``."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor, nn

from ggl_lightning.attacks import Progress, Target
from ggl_lightning.attacks.callbacks import (
    SearchCallback,
    SearchHost,
    SearchSnapshots,
    kept_trials,
)
from ggl_lightning.attacks.fits import Fits
from ggl_lightning.audit.gate import Candidate, check_audit
from ggl_lightning.audit.gate.records import random_images
from ggl_lightning.audit.plan.case import Case, Idle, UtilitySpec
from ggl_lightning.audit.plan.companions import Companions
from ggl_lightning.audit.plan.data_module import AuditDataModule
from ggl_lightning.audit.plan.image_size import image_size_of
from ggl_lightning.audit.plan.keys import CaseKeys, describe
from ggl_lightning.audit.plan.roles import ATTACK
from ggl_lightning.audit.plan.sources import Lineup, RecordedUpdate
from ggl_lightning.audit.report import write_report
from ggl_lightning.audit.report.worst_case import worst_case_lines
from ggl_lightning.audit.results.claim import release
from ggl_lightning.audit.results.collect import collect
from ggl_lightning.audit.results.grid_keys import GridKeys
from ggl_lightning.audit.results.kept_fits import FolderFits
from ggl_lightning.audit.results.row import failed_row, without_result
from ggl_lightning.audit.results.run_folder import RunFolder
from ggl_lightning.audit.results.schema import Row, columns, is_done
from ggl_lightning.audit.results.values import metric_value
from ggl_lightning.audit.run.case_runner import CaseRunner
from ggl_lightning.audit.run.chance import chance
from ggl_lightning.audit.run.environment import environment
from ggl_lightning.audit.run.group_means import GroupMeans
from ggl_lightning.audit.run.patience import Patience
from ggl_lightning.audit.run.progress import AuditProgress
from ggl_lightning.audit.run.received_update import UnusableUpdateError
from ggl_lightning.audit.run.recorded_cases import RecordedCaseRunner
from ggl_lightning.audit.run.scoring import Scorer
from ggl_lightning.audit.run.table import format_table
from ggl_lightning.audit.run.tensorboard import log_outcome
from ggl_lightning.audit.run.trainings import Trainings
from ggl_lightning.clients import (
    ClassifierLayer,
    TrainedClassifier,
    find_classifier_layer,
    load_trained_client,
)
from ggl_lightning.clients.building import build_client_model
from ggl_lightning.clients.procedures import ClientProcedure
from ggl_lightning.clients.update import given_procedure
from ggl_lightning.devices import device_of
from ggl_lightning.disk_errors import is_disk_error
from ggl_lightning.errors import UserError, check_positive
from ggl_lightning.federated import FederatedTraining
from ggl_lightning.identity import identity, module_hash, module_identity
from ggl_lightning.interruption import stop_each_by_itself
from ggl_lightning.metrics import ReconstructionMetrics, build_reconstruction_metrics
from ggl_lightning.priors.base import Prior
from ggl_lightning.seeding import seeded

_log = logging.getLogger(__name__)

NO_PRIOR = "none"
"""What stands for the prior in keys and results where there is none."""


class AuditModule(SearchHost):
    """Runs the cases of an `AuditDataModule` and keeps their results in a run folder.

    Use it with ``Trainer(inference_mode=False)``: a search needs gradients of the client model,
    and inference mode forbids them for good on the tensors it has touched.

    Args:
        client_model: Builds the client model. It is built with ``client_seed``, so that its
            random weights do not depend on anything else in the configuration, and put in eval
            mode. A model that is built already is taken together with ``trained_model`` only.
        prior: The attacker's prior; None for an attacker without one, for attacks that need none.
        out_dir: Folder of all runs.
        exp_name: This run's folder within it.
        client_seed: Seeds the client model's initialisation.
        trained_model: A trained client model's file (`load_trained_client`), loaded into the client
            model; None audits random weights.
        procedure: How a client's images become an update; their gradient if None. Of recorded
            updates, what the attacker believes: what their records say if None.
        update_rule: The former name of ``procedure``.
        random_samples: How many random samples of the prior are compared with each private image:
            ``psnr_random_mean`` is what an attacker scores who reads nothing but the label off
            the update. Without a prior these are public images.
        lpips_vgg_weights: torchvision's ``vgg16`` weights for LPIPS; None looks in torch's hub
            cache.
        lpips_alex_weights: torchvision's ``alexnet`` weights, likewise.
        attribute_classifiers: Trained classifiers by the attribute they see: how often each says
            the same of a reconstruction and its private image.
        utility: Trains the client model under every defense, to see what the defense costs; None
            leaves that out.
        image_size: Height and width of the images, in pixels, where nothing else says it: recorded
            updates, an attacker without a prior and a client model that takes any; None otherwise.

    Attributes:
        failures: Rows of the cases and trainings that could not be completed, once the test is
            over; on rank zero those of all ranks.
        table: What to show the user of the results, once the test is over; on rank zero.

    Raises:
        UserError: If both names of ``procedure`` are given, ``exp_name`` is not safe as a folder's
            name, or ``random_samples`` or ``image_size`` is not positive; at the start of the test,
            with everything that stands in the way (`admit`).
    """

    def __init__(
        self,
        client_model: Callable[[], nn.Module] | nn.Module,
        prior: Prior | None = None,
        out_dir: str = "runs",
        exp_name: str = "audit",
        client_seed: int = 0,
        trained_model: str | None = None,
        procedure: ClientProcedure | None = None,
        update_rule: ClientProcedure | None = None,
        random_samples: int = 100,
        lpips_vgg_weights: str | None = None,
        lpips_alex_weights: str | None = None,
        attribute_classifiers: dict[str, TrainedClassifier] | None = None,
        utility: FederatedTraining | None = None,
        image_size: int | None = None,
    ) -> None:
        super().__init__()
        check_positive("random_samples", random_samples)
        if image_size is not None:
            check_positive("image_size", image_size)
        if isinstance(client_model, nn.Module) and trained_model is None:
            raise UserError(
                f"client_model is a {type(client_model).__name__} that is built already, as by "
                "a function with init_args, so client_seed cannot seed its weights: give a class "
                "or a function without init_args, or give its weights by trained_model."
            )
        with seeded(client_seed):
            self.client_model = build_client_model(client_model).eval()
        self._client_structure = module_identity(self.client_model)
        if trained_model is not None:
            load_trained_client(self.client_model, trained_model)
        self.prior = None if prior is None else prior.eval()
        self.procedure = given_procedure(procedure, update_rule, "audit")
        self._believed = update_rule if procedure is None else procedure
        self.run_folder = RunFolder.of(out_dir, exp_name)
        self.random_samples = random_samples
        self.image_size = image_size
        self.lpips_weights = (lpips_vgg_weights, lpips_alex_weights)
        for name in attribute_classifiers or {}:
            _check_attribute(name)
        self.attribute_classifiers = nn.ModuleDict(
            {name: model.build() for name, model in (attribute_classifiers or {}).items()}
        ).requires_grad_(False)
        self.utility = utility
        self.failures: list[Row] = []
        self.table = ""
        self._admitted: AuditDataModule | None = None
        self._means: dict[tuple[str | None, str | None], GroupMeans] = {}

    def configure_callbacks(self) -> list[pl.Callback]:
        """Progress, and snapshots unless the Trainer has been given them with other settings."""
        callbacks = self.trainer.callbacks  # type: ignore[attr-defined]
        given = any(isinstance(callback, SearchSnapshots) for callback in callbacks)
        return [AuditProgress()] if given else [AuditProgress(), SearchSnapshots()]

    def admit(self, trainer: pl.Trainer, grid: AuditDataModule) -> None:
        """Checks everything that can be known before the first search; writes nothing.

        The command calls it before a Trainer starts processes or loggers; `setup` does otherwise.

        Args:
            trainer: What is to run the audit.
            grid: The cases.

        Raises:
            UserError: With everything that stands in the way, or if the run folder holds other
                results.
        """
        check_audit(
            Candidate(
                self.client_model,
                self.prior,
                self.procedure,
                self.utility,
                self.run_folder,
                grid,
                self._believed,
                self._client_structure,
                self.random_samples,
                self.image_size,
            ),
            trainer,
        )
        self.prepare(grid)
        self.run_folder.check(self.grid_keys)
        self._admitted = grid

    def setup(self, stage: str) -> None:
        """Opens the run folder, after everything is checked that can be before the first search."""
        if self._admitted is not self._grid:
            self.admit(self.trainer, self._grid)
        finished: frozenset[str] = frozenset()
        if self.trainer.is_global_zero:
            finished = self.run_folder.open(self.grid_keys)
            self.run_folder.write_environment(environment(self.device, self.trainer.world_size))
        # Ranks must agree on what is left, or they would not share it out alike.
        self._grid.leave_out_of_account(self.trainer.strategy.broadcast(finished))

    def prepare(self, grid: AuditDataModule) -> None:
        """Finds out the last layer, which metrics there are, and the keys of all cases.

        Args:
            grid: The cases, after its own `setup`.

        Raises:
            UserError: If an image or a file of weights cannot be read.
        """
        self._size = image_size_of(self.prior, grid, self.client_model, self.image_size)
        images = grid.cases[0].images if grid.records is None else None
        if images is None:
            images = random_images(1, self._size)
        self._classifier = self._classifier_of(self.client_model, images)
        self._metrics = build_reconstruction_metrics(
            self.client_model, self._classifier.layer, self._size, *self.lpips_weights
        )
        networks = self._metrics.lpips.items()
        scoring = {
            "random_samples": self.random_samples,
            "missing": sorted(self._metrics.missing),
            "attribute_classifiers": module_hash(self.attribute_classifiers),
            "lpips": {name: module_hash(network) for name, network in networks},
        }
        client_hash = self._client_hash(grid)
        prior_hash = NO_PRIOR if self.prior is None else module_hash(self.prior)
        self._setting = {"client": client_hash[:32], "prior": prior_hash[:32]}
        if self.prior is None:
            public = grid.opened_public
            scoring["random_images"] = None if public is None else public.key(self.random_samples)
            scoring["image_size"] = self._size
        common = {"scoring": scoring, **self._circumstances(), "callbacks": self._deciding()}
        make_key = CaseKeys(
            self.procedure,
            client_hash,
            prior_hash,
            grid.companions,
            common,
            grid.opened_public,
            grid.public_for,
        )
        cases = (grid.cases[position] for position in range(len(grid.cases)))
        self.keys = {case.spec.name: make_key(case) for case in cases}
        self._setting["common"] = make_key.common_hash
        self.training_keys: dict[str, str] = {}
        self.trainings: Trainings | None = None
        if self.utility is not None:
            self.trainings = Trainings(
                self.utility, self.client_model, client_hash, grid, self._circumstances()
            )
            self.training_keys = self.trainings.keys
        self.grid_keys = GridKeys(
            self.keys,
            self.training_keys,
            self._setting,
            {name: describe(defense) for name, defense in grid.defenses.items()},
            {name: describe(attack) for name, attack in grid.attacks.items()},
            None if self.utility is None else describe(self.utility),
        )

    def _client_hash(self, grid: AuditDataModule) -> str:
        """What stands for the client model: the structure alone if every record has its weights."""
        if grid.records is None:
            return module_hash(self.client_model, self._client_structure)
        return hashlib.sha256(f"recorded {self._client_structure}".encode()).hexdigest()

    def _circumstances(self) -> dict[str, Any]:
        """What results depend on beside the configuration of model and data."""
        trainer = self._trainer
        precision = "32-true" if trainer is None else str(trainer.precision)
        return {} if precision == "32-true" else {"precision": precision}

    def _deciding(self) -> list[Any]:
        """Callbacks that decide when a search ends."""
        trainer = self._trainer
        callbacks = [] if trainer is None else trainer.callbacks  # type: ignore[attr-defined]
        return [
            identity(each)
            for each in callbacks
            if isinstance(each, SearchCallback) and each.decides_results
        ]

    def runner(
        self, grid: AuditDataModule, fits: Fits | None = None
    ) -> CaseRunner | RecordedCaseRunner:
        """What runs cases, after `prepare` and on the module's device.

        Args:
            grid: The cases.
            fits: Where attacks keep what they have learnt; the run folder if None.
        """
        fits = FolderFits(self.run_folder.fits) if fits is None else fits
        if grid.records is not None:
            return RecordedCaseRunner(lambda recorded: self._recorded_runner(recorded, grid, fits))
        return CaseRunner(
            self._target(self.client_model, self._classifier, grid, fits),
            self.procedure,
            self._scorer(self._metrics, self._classifier, grid.companions, grid),
            grid.companions,
            self._setting,
        )

    def _recorded_runner(
        self, recorded: RecordedUpdate, grid: AuditDataModule, fits: Fits
    ) -> CaseRunner:
        """What runs the cases of one record, at the state of its client."""
        loaded = recorded.load()
        classifier = self._classifier_of(loaded.model, random_images(1, self._size))
        metrics = replace(self._metrics, client_model=loaded.model, last_layer=classifier.layer)
        return CaseRunner(
            self._target(loaded.model, classifier, grid, fits),
            loaded.procedure,
            self._scorer(metrics, classifier, recorded.lineup, grid),
            recorded.lineup,
            self._setting,
            loaded.record,
        )

    @staticmethod
    def _classifier_of(model: nn.Module, images: Tensor) -> ClassifierLayer:
        return find_classifier_layer(model, images.to(device_of(model)))

    def _target(
        self, model: nn.Module, classifier: ClassifierLayer, grid: AuditDataModule, fits: Fits
    ) -> Target:
        return Target(
            model,
            classifier,
            self.prior,
            grid.opened_public,
            fits,
            self._size,
            grid.public_images,
        )

    def _scorer(
        self,
        metrics: ReconstructionMetrics,
        classifier: ClassifierLayer,
        companions: Companions | Lineup,
        grid: AuditDataModule,
    ) -> Scorer:
        model = metrics.client_model
        return Scorer(
            metrics,
            model,
            classifier,
            companions,
            dict(self.attribute_classifiers.items()),
            chance(self.prior, grid.opened_public, self.random_samples, device_of(model)),
        )

    def teardown(self, stage: str) -> None:
        """Lets others run into the folder."""
        release(self.run_folder.path)

    def on_test_start(self) -> None:
        """Puts together what runs cases, now that everything is on its device."""
        stop_each_by_itself(self.trainer)
        self._patience = Patience()
        self._runner = self.runner(self._grid)
        # Every rank holds every group's means, whether or not it runs such a case: they reduce
        # over ranks together.
        logged = [column.name for column in columns() if column.is_logged]
        self._means = {
            (defense, attack): GroupMeans(logged).to(self.device)
            for defense in self._grid.defenses
            for attack in self._grid.attacks
        }

    def test_step(self, work: Case | UtilitySpec | Idle, batch_idx: int) -> None:
        """Runs one case or training, or reads its result if it is already in the run folder."""
        if isinstance(work, Idle):
            return
        if isinstance(work, UtilitySpec):
            self._train(work)
            return
        name = work.spec.name
        # Known to callbacks also of a case that is done: its snapshot may have been left behind.
        self.case_folder = self.run_folder.case_folder(name)
        result = self.run_folder.load(name)
        if result is None:
            result = self._run(work, self.keys[name])
        means = self._means.get((result["defense"], result["attack"]))
        if result["role"] == ATTACK.name and is_done(result) and means is not None:
            means.update({field: metric_value(result, field) for field in means.fields})

    def on_test_epoch_end(self) -> None:
        """Logs every group's means and writes the tables over all cases."""
        self._patience.wait(lambda: self.trainer.received_sigterm)
        for (defense, attack), means in self._means.items():
            found = means.compute()
            named = {f"{defense}/{attack}/{name}": value for name, value in found.items()}
            # Written under a name that TensorBoard lists first, and without Lightning's epoch.
            self.log_dict(named, logger=False)
            self._log_means({f"audit_means/{name}": float(each) for name, each in named.items()})
        self.trainer.strategy.barrier("audit_cases")
        if self.trainer.is_global_zero:
            self._write_outcome()

    def _log_means(self, means: Mapping[str, float]) -> None:
        for logger in self.loggers:
            logger.log_metrics(dict(means), step=0)
            logger.save()

    def _write_outcome(self) -> None:
        """Writes what is said of all cases together, those of other ranks and runs included."""
        folder = self.run_folder
        folder.tidy()
        rows: list[Row] = []
        trainings: list[Row] = []
        self.table = format_table([], folder.path)
        said: list[str] = []
        if folder.has_rows():
            results = collect([folder.path])
            by_name = {row["name"]: row for row in results.rows}
            rows = [by_name[name] for name in self.keys if name in by_name]
            trainings = [row for row in results.utility if row["name"] in self.training_keys]
            folder.write_picture(rows)
            statistics = write_report(results, folder.path)
            said = worst_case_lines(statistics)
            self.table = format_table(results.rows, folder.path, folder.others, said)
        self._add_failures([*rows, *trainings])
        loggers = [each for each in self.loggers if isinstance(each, TensorBoardLogger)]
        log_outcome(loggers, folder, rows, [line for line in said if line])

    def _add_failures(self, written: list[Row]) -> None:
        """Completes the failures by those of other ranks, which are on disk only."""
        # A process that could not write a result may not have been able to write why, either.
        unwritten = {name: without_result(name) for name in [*self.keys, *self.training_keys]}
        unwritten |= {row["name"]: row for row in self.failures}
        for row in written:
            unwritten.pop(row["name"], None)
        failed = [row for row in written if not is_done(row)]
        self.failures = [*failed, *unwritten.values()]

    def _run(self, case: Case, key: str) -> Row:
        """Runs a case and writes its result; a case that fails does not stop the others."""
        self.case_name, self.case_key = case.spec.name, key
        self.private_images = case.images
        try:
            outcome = self._runner.run(case, key, Progress(self.notify, kept_trials(self)))
            self.run_folder.write_case(case.images, outcome)
        except UserError:  # the configuration's mistake: other cases would not fare better
            raise
        except Exception as error:  # noqa: BLE001 - whatever an optimiser or a disk may raise
            row = failed_row(case, key, self._setting, _reason(error))
            self._fail(row, error, self.run_folder.write_failure)
            return row
        return outcome.result

    def _train(self, spec: UtilitySpec) -> None:
        """Trains under one defense, unless that is done; likewise."""
        assert self.trainings is not None
        if self.run_folder.load_training(spec.name) is not None:
            return
        try:
            row = self.trainings.run(spec, self.device)
            self.run_folder.write_training(row)
        except UserError:
            raise
        except Exception as error:  # noqa: BLE001 - likewise
            row = self.trainings.failed_row(spec, _reason(error))
            self._fail(row, error, self.run_folder.write_training)

    def _fail(self, row: Row, error: Exception, write: Callable[[Row], None]) -> None:
        expected = is_disk_error(error) or isinstance(error, UnusableUpdateError)
        trace = None if expected else error
        _log.error("%s failed: %s", row["name"], row["error"], exc_info=trace)
        self.failures.append(row)
        try:
            write(row)
        except OSError as unwritten:  # the disk that failed the case, most likely
            _log.error("The failure of %s cannot be written: %s", row["name"], unwritten)

    @property
    def _grid(self) -> AuditDataModule:
        return self.trainer.datamodule  # type: ignore[attr-defined]


def _check_attribute(name: str) -> None:
    """Raises if a module cannot have a part of that name."""
    if not name or "." in name or hasattr(nn.ModuleDict(), name):
        raise UserError(
            f"An attribute classifier is called {name!r}: choose another name, without dots."
        )


def _reason(error: Exception) -> str:
    """One line that says what went wrong."""
    first_line = next(iter(str(error).splitlines()), "")
    return f"{type(error).__name__}: {first_line}" if first_line else type(error).__name__


def failure_summary(failures: list[dict[str, Any]]) -> str:
    """Text for the user on what could not be completed, one line each, at most ten.

    Args:
        failures: Rows of failed cases.
    """
    lines = [f"  {row['name']}: {row['error']}" for row in failures[:10]]
    if len(failures) > 10:
        lines.append(f"  and {len(failures) - 10} more")
    return "\n".join([f"{len(failures)} failed; the same command tries them again:", *lines])
