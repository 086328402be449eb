"""The runner and the retrainer of one service, from its settings."""

from __future__ import annotations

from service.crops import CropVault
from service.jobs.archive import ArchiveLimits
from service.jobs.backfill import BackfillKind
from service.jobs.base import JobKind
from service.jobs.child import job_directory
from service.jobs.datasets import UploadedSets
from service.jobs.enrolled import EnrolledCrops
from service.jobs.evaluation import EvaluateKind, Evaluator
from service.jobs.queue import JobQueue
from service.jobs.retrain import Retrainer, TrainingPlaces
from service.jobs.retrain_kind import RetrainKind
from service.jobs.runner import JobRunner, RunnerOptions
from service.settings import Settings
from service.space_admin import SpaceAdmin
from service.spaces import SpaceRegistry
from service.store.database import Database


def _places(settings: Settings) -> TrainingPlaces:
    return TrainingPlaces(
        python=settings.train_python,
        datasets=settings.datasets,
        uploads=settings.data_dir / "datasets",
        facekit=settings.facekit,
        trunk=settings.trunk,
        keeps_crops=settings.keep_crops,
    )


def retrainer_of(settings: Settings, queue: JobQueue) -> Retrainer:
    return Retrainer(queue, _places(settings))


def evaluator_of(settings: Settings, queue: JobQueue) -> Evaluator:
    return Evaluator(queue, _places(settings))


def uploads_of(settings: Settings, db: Database, queue: JobQueue) -> UploadedSets:
    limits = ArchiveLimits(
        bytes=settings.max_unpacked_bytes,
        file_bytes=settings.max_body_bytes,
        reserve_bytes=settings.disk_reserve_bytes,
    )
    return UploadedSets(db, queue, settings.data_dir / "datasets", limits)


def runner_of(
    settings: Settings, db: Database, registry: SpaceRegistry, admin: SpaceAdmin, vault: CropVault
) -> JobRunner:
    """Knows every kind of job there is."""
    retrain = RetrainKind(
        _places(settings),
        registry,
        admin,
        EnrolledCrops(db, vault),
        registry_root=settings.bundle_registry,
        rendered=settings.data_dir / "rendered",
    )
    options = RunnerOptions(lease_s=settings.job_lease_s)
    kinds: list[JobKind] = [retrain, EvaluateKind(_places(settings), registry), BackfillKind(admin)]
    return JobRunner(db, kinds, job_directory(settings.data_dir), options)
