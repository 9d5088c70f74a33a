"""One audit: every case defended, attacked and scored under ``Trainer.test``."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torchmetrics import MetricCollection

from ggl_lightning.attacks import Received, Reconstruction
from ggl_lightning.attacks.callbacks import SearchHost, SearchSnapshots, kept_trials
from ggl_lightning.attacks.history import losses_csv
from ggl_lightning.audit.case import Case, group_name
from ggl_lightning.audit.data_module import AuditDataModule
from ggl_lightning.audit.fingerprint import case_key, describe, module_hash
from ggl_lightning.audit.matching import match_to_originals
from ggl_lightning.audit.run_folder import CaseResult, RunFolder
from ggl_lightning.clients import (
    GradientUpdate,
    Update,
    UpdateRule,
    find_classifier_layer,
    load_trained_client,
)
from ggl_lightning.defenses import ClientSide
from ggl_lightning.errors import UserError, check_positive
from ggl_lightning.metrics import InferredLabelAccuracy, build_reconstruction_metrics, mean_psnr
from ggl_lightning.priors.base import Prior
from ggl_lightning.seeding import seeded


class AuditModule(SearchHost):
    """Runs the cases of an `AuditDataModule` and keeps their results in a run folder.

    Use it with ``Trainer(inference_mode=False)``: a search needs gradients of the client model,
    and inference mode forbids them for good on the tensors it has touched.

    Args:
        client_model: Builds the client model. It is built with ``client_seed``, so that its
            random weights do not depend on anything else in the configuration, and put in eval
            mode.
        prior: The attacker's prior.
        out_dir: Folder of all runs.
        exp_name: This run's folder within it.
        client_seed: Seeds the client model's initialisation.
        trained_model: A trained client model's file (`load_trained_client`), loaded into the client
            model; None audits random weights.
        update_rule: How a client's images become an update; their gradient if None.
        random_samples: How many random samples of the prior are compared with each private image:
            ``psnr_random_mean`` is what an attacker scores who reads nothing but the label off
            the update.
        lpips_vgg_weights: torchvision's ``vgg16`` weights for LPIPS; None looks in torch's hub
            cache.
        lpips_alex_weights: torchvision's ``alexnet`` weights, likewise.

    Raises:
        UserError: If ``exp_name`` is not safe as a folder's name or ``random_samples`` is not
            positive; at the start of the test, if the Trainer is in inference mode, the images do
            not have the prior's size, the client model does not end in a linear layer, or the run
            folder is not writable or holds other results.
    """

    def __init__(
        self,
        client_model: Callable[[], nn.Module],
        prior: Prior,
        out_dir: str = "runs",
        exp_name: str = "audit",
        client_seed: int = 0,
        trained_model: str | None = None,
        update_rule: UpdateRule | None = None,
        random_samples: int = 100,
        lpips_vgg_weights: str | None = None,
        lpips_alex_weights: str | None = None,
    ) -> None:
        super().__init__()
        check_positive("random_samples", random_samples)
        with seeded(client_seed):
            self.client_model = client_model().eval().requires_grad_()
        if trained_model is not None:
            load_trained_client(self.client_model, trained_model)
        self.prior = prior.eval()
        self.update_rule = GradientUpdate() if update_rule is None else update_rule
        self.run_folder = RunFolder.of(out_dir, exp_name)
        self.random_samples = random_samples
        self.lpips_weights = (lpips_vgg_weights, lpips_alex_weights)
        self._metrics: dict[str, MetricCollection] = {}

    def configure_callbacks(self) -> list[pl.Callback]:
        """Snapshots, unless the Trainer has been given them with other settings."""
        callbacks = self.trainer.callbacks  # type: ignore[attr-defined]
        given = any(isinstance(callback, SearchSnapshots) for callback in callbacks)
        return [] if given else [SearchSnapshots()]

    def on_test_start(self) -> None:
        """Checks everything that can be checked before the first search, and opens the folder."""
        if torch.is_inference_mode_enabled():
            raise UserError(
                "The Trainer runs the test in inference mode, where no gradient can be computed: "
                "set trainer.inference_mode to false."
            )
        cases = [self._grid.cases[position] for position in range(len(self._grid.cases))]
        images = cases[0].images
        expected = (3, self.prior.image_size, self.prior.image_size)
        if tuple(images.shape[1:]) != expected:
            raise UserError(
                f"The private images have shape {tuple(images.shape[1:])} but the prior generates "
                f"{expected}: set image_size of the images to {self.prior.image_size}, or choose "
                "another prior."
            )
        self._classifier = find_classifier_layer(self.client_model, images.to(self.device))
        self._client_hash = module_hash(self.client_model)
        self._prior_hash = module_hash(self.prior)
        self._keys = {case.name: self._key(case) for case in cases}
        if self.trainer.is_global_zero:
            self.run_folder.open(self._keys)
        self.trainer.strategy.barrier("audit_run_folder")
        # Successive cases mostly share their label; more labels' images would fill the memory.
        self._random_images = lru_cache(maxsize=2)(self._generate_random_images)
        available = build_reconstruction_metrics(
            self.client_model, self._classifier.layer, self.prior.image_size, *self.lpips_weights
        )
        self._missing_metrics = available.missing
        # Every rank holds every group's metrics, whether or not it runs such a case: they reduce
        # over ranks together.
        self._metrics = {
            group_name(defense, attack): available.collection().to(self.device)
            for defense in self._grid.defenses
            for attack in self._grid.attacks
        }

    def test_step(self, case: Case, batch_idx: int) -> None:
        """Runs one case, or reads its result if it is already in the run folder."""
        self.case_name = case.name
        self.private_images = case.images
        self.case_key = self._keys[case.name]
        self.case_folder = self.run_folder.case_folder(case.name)
        originals = case.images.to(self.device)
        finished = self.run_folder.load(case.name)
        if finished is not None:
            latents = torch.from_numpy(self.run_folder.load_latents(case.name)).to(self.device)
            labels = torch.tensor(finished["assumed_labels"], device=self.device)
            with torch.no_grad():
                self._score(case, originals, self.prior(latents, labels))
            return
        # Some optimisers draw from the global generators: seed them per case and put them back.
        with seeded(case.seed), torch.enable_grad():
            found = case.attack.run(
                self._received(case, originals),
                self.client_model,
                self._classifier,
                self.prior,
                case.seed,
                self.notify,
                kept_trials(self),
            )
        order = match_to_originals(found.images, case.images)
        scores = self._score(case, originals, found.images[order].to(self.device))
        random_psnrs = [
            mean_psnr(self._random_images(int(label)), original)
            for label, original in zip(found.labels[order], originals, strict=True)
        ]
        scores["psnr_random_mean"] = sum(random_psnrs) / len(random_psnrs)
        self.run_folder.write_case(
            self._result(case, found, order, scores),
            case.images,
            found.images[order],
            found.latents[order],
            losses_csv(found.histories),
        )

    def on_test_epoch_end(self) -> None:
        """Logs every group's metrics and writes the tables over all cases."""
        for group, metrics in self._metrics.items():
            if self.trainer.world_size == 1 and not metrics["mse"].update_called:
                continue  # a run cut to fewer batches may have no case of a group
            self.log_dict({f"{group}/{name}": value for name, value in metrics.compute().items()})
        self.trainer.strategy.barrier("audit_cases")
        if self.trainer.is_global_zero:
            self.run_folder.write_tables(self._keys)

    @torch.no_grad()
    def _generate_random_images(self, label: int) -> Tensor:
        """What an attacker generates who knows the label alone; the same for every case."""
        latents = self.prior.sample(self.random_samples, torch.Generator().manual_seed(0))
        return self.prior(latents, torch.full((len(latents),), label, device=self.device))

    @property
    def _grid(self) -> AuditDataModule:
        return self.trainer.datamodule  # type: ignore[attr-defined]

    def _key(self, case: Case) -> str:
        return case_key(case, self.update_rule, self._client_hash, self._prior_hash)

    def _received(self, case: Case, images: Tensor) -> Received:
        labels = case.labels.to(self.device)
        update: Update = self.update_rule(self.client_model, images, labels)
        client = ClientSide(
            model=self.client_model,
            images=images,
            labels=labels,
            classifier=self._classifier,
            generator=torch.Generator().manual_seed(case.seed),
        )
        return Received(
            update=case.defense(update, client),
            count=len(images),
            rule=self.update_rule,
            defense=case.defense,
            labels=labels if case.attack.known_label else None,
        )

    def _score(self, case: Case, originals: Tensor, reconstructions: Tensor) -> dict[str, float]:
        values = self._metrics[case.group](reconstructions, originals)
        return {name: value.item() for name, value in values.items()}

    def _result(
        self,
        case: Case,
        found: Reconstruction,
        order: Tensor,
        scores: dict[str, float],
    ) -> CaseResult:
        label_accuracy = InferredLabelAccuracy()(torch.tensor(found.inferred.labels), case.labels)
        return {
            "name": case.name,
            "key": self._keys[case.name],
            "image_index": case.indices[0],
            "images": len(case.indices),
            "defense": case.defense_name,
            "attack": case.attack_name,
            "seed": case.seed,
            "labels": case.labels.tolist(),
            "inferred_labels": found.inferred.labels,
            "assumed_labels": found.labels[order].tolist(),
            "label_correct": label_accuracy.item() == 1,
            "label_accuracy": label_accuracy.item(),
            "label_margin": found.inferred.margin,
            **scores,
            **dict.fromkeys(self._missing_metrics),
            "loss": found.loss,
            "trial": found.trial,
            "rounds": found.rounds,
            "evaluations": found.evaluations,
            "seconds": found.seconds,
            "stop_reason": "; ".join(found.stop_reasons) or None,
            "defense_parameters": describe(case.defense),
            "defense_estimate": found.estimate,
            "defense_guarantee": case.defense.guarantee(),
            "missing_metrics": self._missing_metrics,
            "details": {
                "indices": list(case.indices),
                "trial_losses": found.trial_losses,
                "attack": describe(case.attack),
                "update_rule": describe(self.update_rule),
                "device": str(self.device),
            },
        }
