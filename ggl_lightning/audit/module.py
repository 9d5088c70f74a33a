"""One audit: every case defended, attacked and scored under ``Trainer.test``."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torchmetrics import MetricCollection

from ggl_lightning.attacks import Reconstruction
from ggl_lightning.attacks.callbacks import SearchHost
from ggl_lightning.audit.case import Case, group_name
from ggl_lightning.audit.data_module import AuditDataModule
from ggl_lightning.audit.fingerprint import case_key, describe, module_hash
from ggl_lightning.audit.run_folder import CaseResult, RunFolder
from ggl_lightning.clients import Update, client_update, find_classifier_layer
from ggl_lightning.defenses import ClientSide
from ggl_lightning.errors import UserError, check_positive
from ggl_lightning.metrics import mean_psnr, reconstruction_metrics
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
        random_samples: How many random samples of the prior are compared with each private image:
            ``psnr_random_mean`` is what an attacker scores who ignores the update.

    Raises:
        UserError: If ``exp_name`` is not safe as a folder's name or ``random_samples`` is not
            positive; at the start of the test, if the Trainer is in inference mode, the images do
            not have the prior's size, or the run folder is not writable or holds other results.
    """

    def __init__(
        self,
        client_model: Callable[[], nn.Module],
        prior: Prior,
        out_dir: str = "runs",
        exp_name: str = "audit",
        client_seed: int = 0,
        random_samples: int = 100,
    ) -> None:
        super().__init__()
        check_positive("random_samples", random_samples)
        with seeded(client_seed):
            self.client_model = client_model().eval()
        self.prior = prior.eval()
        self.run_folder = RunFolder.of(out_dir, exp_name)
        self.random_samples = random_samples
        self._metrics: dict[str, MetricCollection] = {}

    def on_test_start(self) -> None:
        """Checks everything that can be checked before the first search, and opens the folder."""
        if torch.is_inference_mode_enabled():
            raise UserError(
                "The Trainer runs the test in inference mode, where no gradient can be computed: "
                "set trainer.inference_mode to false."
            )
        cases = [self._grid.cases[position] for position in range(len(self._grid.cases))]
        image = cases[0].image
        expected = (3, self.prior.image_size, self.prior.image_size)
        if tuple(image.shape) != expected:
            raise UserError(
                f"The private images have shape {tuple(image.shape)} but the prior generates "
                f"{expected}: set image_size of the images to {self.prior.image_size}, or choose "
                "another prior."
            )
        self._client_hash = module_hash(self.client_model)
        self._prior_hash = module_hash(self.prior)
        self._keys = {
            case.name: self._key(case) for case in map(cases.__getitem__, range(len(cases)))
        }
        if self.trainer.is_global_zero:
            self.run_folder.open(self._keys)
        self.trainer.strategy.barrier("audit_run_folder")
        # Every rank holds every group's metrics, whether or not it runs such a case: they reduce
        # over ranks together.
        self._metrics = {
            group_name(defense, attack): reconstruction_metrics().to(self.device)
            for defense in self._grid.defenses
            for attack in self._grid.attacks
        }
        with torch.no_grad():
            latents = self.prior.sample(self.random_samples, torch.Generator().manual_seed(0))
            labels = torch.zeros(len(latents), dtype=torch.long, device=self.device)
            self._random_images = self.prior(latents, labels)

    def test_step(self, case: Case, batch_idx: int) -> None:
        """Runs one case, or reads its result if it is already in the run folder."""
        self.case_name = case.name
        self.private_image = case.image
        image = case.image.to(self.device)
        finished = self.run_folder.load(case.name)
        if finished is not None:
            latent = torch.from_numpy(self.run_folder.load_latent(case.name)).to(self.device)
            label = torch.tensor([finished["inferred_label"]], device=self.device)
            with torch.no_grad():
                self._score(case, image, self.prior(latent.unsqueeze(0), label)[0])
            return
        started = time.perf_counter()
        # Some optimisers draw from the global generators: seed them per case and put them back.
        with seeded(case.seed), torch.enable_grad():
            received = self._received_update(case, image)
            reconstruction = case.attack.run(
                received, self.client_model, self.prior, case.seed, self.notify
            )
        seconds = time.perf_counter() - started
        scores = self._score(case, image, reconstruction.image.to(self.device))
        scores["psnr_random_mean"] = mean_psnr(self._random_images, image)
        self.run_folder.write_case(
            self._result(case, reconstruction, scores, seconds),
            case.image,
            reconstruction.image,
            reconstruction.latent,
        )

    def on_test_epoch_end(self) -> None:
        """Logs every group's metrics and writes the tables over all cases."""
        for group, metrics in self._metrics.items():
            self.log_dict({f"{group}/{name}": value for name, value in metrics.compute().items()})
        self.trainer.strategy.barrier("audit_cases")
        if self.trainer.is_global_zero:
            self.run_folder.write_tables(self._keys)

    @property
    def _grid(self) -> AuditDataModule:
        return self.trainer.datamodule  # type: ignore[attr-defined]

    def _key(self, case: Case) -> str:
        return case_key(case, self._client_hash, self._prior_hash)

    def _received_update(self, case: Case, image: Tensor) -> Update:
        images, labels = image.unsqueeze(0), torch.tensor([case.label], device=self.device)
        client = ClientSide(
            model=self.client_model,
            images=images,
            labels=labels,
            classifier=find_classifier_layer(self.client_model, images),
            generator=torch.Generator().manual_seed(case.seed),
        )
        return case.defense(client_update(self.client_model, images, labels), client)

    def _score(self, case: Case, image: Tensor, reconstruction: Tensor) -> dict[str, float]:
        values = self._metrics[case.group](reconstruction.unsqueeze(0), image.unsqueeze(0))
        return {name: value.item() for name, value in values.items()}

    def _result(
        self, case: Case, found: Reconstruction, scores: dict[str, float], seconds: float
    ) -> CaseResult:
        return {
            "name": case.name,
            "key": self._keys[case.name],
            "image_index": case.image_index,
            "defense": case.defense_name,
            "attack": case.attack_name,
            "seed": case.seed,
            "label": case.label,
            "inferred_label": found.inferred_label.label,
            "label_correct": found.inferred_label.label == case.label,
            "label_margin": found.inferred_label.margin,
            **scores,
            "loss": found.loss,
            "trial": found.trial,
            "rounds": found.rounds,
            "evaluations": found.evaluations,
            "seconds": seconds,
            "stop_reason": "; ".join(found.stop_reasons) or None,
            "details": {
                "trial_losses": found.trial_losses,
                "defense": describe(case.defense),
                "attack": describe(case.attack),
                "device": str(self.device),
            },
        }
