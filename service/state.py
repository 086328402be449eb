"""The typed state of a running service and the wiring of its parts. `api.deps` gives it to handlers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from service.access.keys import KeyRing
from service.access.limits import Admission, MemoryBudget, RateLimiter
from service.access.private import make_private
from service.audit.recorder import AuditRecorder
from service.audit.refusals import RefusalLog
from service.audit.signing import AuditSigner, open_signer
from service.bulk.erasure import after_erasure
from service.bulk.job import BulkJob
from service.bulk.request import BULK
from service.bulk.uploads import BulkUploads
from service.bundles.registry import bundle_store
from service.crops import OldCropKey
from service.delivery.outgoing import Outgoing
from service.delivery.receivers import receivers_of
from service.doors.building import build
from service.doors.keeper import DoorKeeper
from service.doors.ledger import DoorLedger
from service.enrolment.enroller import Enroller
from service.enrolment.types import Enrolled
from service.errors import Draining, NotReady
from service.inference.decoding import Decoder
from service.jobs.base import JobKind
from service.jobs.child import job_directory
from service.jobs.queue import JobQueue
from service.jobs.runner import JobRunner, OnEnd, RunnerOptions
from service.live.feed import DecisionFeed, LiveEvent
from service.live.keeping import ProbeKeeper
from service.live.review import Review
from service.live.watchers import WatcherBook
from service.matching.comparison import Comparer
from service.matching.pipeline import FacePipeline
from service.retraining.archive import ArchiveLimits
from service.retraining.datasets import UploadedSets
from service.retraining.enrolled_crops import EnrolledCrops
from service.retraining.environment import TrainingEnvironment
from service.retraining.evaluate_job import EvaluateJob
from service.retraining.labelled_uploads import LabelledUploads
from service.retraining.request import EVALUATE, PASSING
from service.retraining.retrain_job import RetrainJob
from service.retraining.submit import TrainingJobs
from service.sealing.sources import MasterKeys
from service.settings import Settings
from service.spaces.admin import BACKFILL, SpaceAdmin
from service.spaces.backfill_job import BackfillJob
from service.spaces.backfill_worker import BackfillWorker
from service.spaces.registry import SpaceRegistry
from service.spaces.snapshots import GallerySnapshots
from service.spaces.space import EmbeddingSpace
from service.spaces.threshold_admin import ThresholdAdmin
from service.store.clear_rows import seal_clear_rows
from service.store.database import Database
from service.store.search_schema import GalleryOptions
from service.subjects.editor import SubjectEditor
from service.telemetry import Metrics
from service.workers.buckets import Rates
from service.workers.line import Line

log = structlog.get_logger("halflight.app")

SETTLE_POLLS = 3
EncodeEnrolled = Callable[[Enrolled], dict[str, Any]]
EncodeDecision = Callable[[LiveEvent], bytes]


@dataclass(slots=True, eq=False, kw_only=True)
class State:
    """The parts of the service.

    `failure`: why loading ended without an active space. `loading`: the task that loads the models.
    """

    settings: Settings
    db: Database
    keys: KeyRing
    registry: SpaceRegistry
    spaces: SpaceAdmin
    thresholds: ThresholdAdmin
    jobs: JobQueue
    runner: JobRunner
    training_jobs: TrainingJobs
    uploads: UploadedSets
    bulk_uploads: BulkUploads
    labelled_uploads: LabelledUploads
    pipeline: FacePipeline
    enroller: Enroller
    editor: SubjectEditor
    comparer: Comparer
    admission: Admission
    enrolling: Admission
    streams: Admission
    decisions: DecisionFeed
    imports: Admission
    probes: ProbeKeeper
    review: Review
    outgoing: Outgoing
    doors: DoorKeeper
    watchers: WatcherBook
    bodies: MemoryBudget
    failed_logins: RateLimiter
    limiter: RateLimiter
    audit: AuditRecorder
    refusals: RefusalLog
    signer: AuditSigner
    metrics: Metrics
    line: Line | None = None
    draining: bool = False
    failure: BaseException | None = None
    loading: asyncio.Task[None] | None = None

    def space(self, *, may_finish: bool = False) -> EmbeddingSpace:
        """The active space. Raises Draining, NotReady."""
        if self.draining and not may_finish:
            raise Draining("the service is shutting down", retry_after_s=5)
        space = self.registry.active
        if space is None:
            raise NotReady("the models are still loading", retry_after_s=2)
        return space


async def open_state(
    settings: Settings,
    metrics: Metrics,
    encode: EncodeEnrolled,
    encode_decision: EncodeDecision,
    line: Line | None = None,
    rates: Rates | None = None,
) -> State:
    """Wires every part. The models load later, while `/health/live` already answers.

    `encode`: makes the JSON answer of an enrolment that idempotency keeps; `encode_decision`: that of an
    event; `line`: to the other workers of this service, if there are any; `rates`: what all of them count
    together.
    Raises StoreError, CropKeyError, MasterKeyError, OriginError, ReceiversError, DoorsError.
    """
    receivers = receivers_of(settings, show_mqtt=lambda up: metrics.mqtt_connected.set(up))
    doors, outputs = (None, {}) if settings.doors_file is None else build(settings.doors_file)
    make_private(settings.data_dir)
    db = await Database.open(settings.sqlalchemy_url, MasterKeys(settings.key_source))
    db.on_shredded = after_erasure(settings)
    await db.migrate()
    await db.use_gallery(GalleryOptions.of(settings))
    await _seal_old(db, settings)
    decoder = Decoder(settings, metrics)
    decoder.start()
    pipeline, admission = FacePipeline(settings, decoder), Admission(settings.max_requests)
    bodies = MemoryBudget(settings.max_body_memory_bytes)
    metrics.in_flight.set_function(lambda: admission.in_flight)
    metrics.body_bytes.set_function(lambda: bodies.held_bytes)
    registry = SpaceRegistry(
        db, bundle_store(settings), settings.data_dir / "gallery", _snapshots(db, settings, metrics)
    )
    metrics.disk_reserve.set(settings.disk_reserve_bytes)
    worker = BackfillWorker(db, registry, busy=lambda: admission.in_flight > 0)
    admin = SpaceAdmin(
        db, registry, settle_s=SETTLE_POLLS * settings.log_poll_s, bundle_key=settings.bundle_key
    )
    audit = AuditRecorder(db, metrics, strict=settings.audit == "strict", flush_s=settings.audit_flush_s)
    bulk_uploads = BulkUploads(settings.data_dir / "bulk", _archive_limits(settings))

    labelled_uploads = LabelledUploads(settings.data_dir / "evaluations", _archive_limits(settings))

    async def end_bulk(request: Mapping[str, Any]) -> None:
        await bulk_uploads.erase(str(request["upload"]))

    async def end_evaluation(request: Mapping[str, Any]) -> None:
        if request.get(PASSING):
            await labelled_uploads.erase(str(request["dataset"]))

    on_end = {BULK: end_bulk, EVALUATE: end_evaluation}
    queue = JobQueue(
        db,
        {
            BACKFILL: admin.end_cancelled_backfill,
            BULK: lambda job, _actor: end_bulk(job.request),
            EVALUATE: lambda job, _actor: end_evaluation(job.request),
        },
    )
    enroller = Enroller(db, pipeline, registry, settings, encode)
    bulk = BulkJob(
        db,
        registry,
        enroller,
        bulk_uploads,
        busy=lambda: admission.in_flight > 0,
        at_once=2 * settings.max_batch,
        count_enrolled=metrics.enrolled.inc,
    )
    decisions = DecisionFeed(
        settings.events_kept,
        run=None if line is None else line.run,
        share=None if line is None else line.share,
    )
    probes = ProbeKeeper(db, decisions, metrics, hours=settings.keep_probes_hours)
    outgoing = Outgoing(db, metrics, encode_decision, receivers)
    return State(
        settings=settings,
        db=db,
        keys=KeyRing(db),
        registry=registry,
        spaces=admin,
        thresholds=ThresholdAdmin(db, registry),
        jobs=queue,
        runner=_runner(settings, db, registry, admin, worker, pipeline, bulk, labelled_uploads, on_end),
        training_jobs=TrainingJobs(queue, _environment(settings)),
        uploads=UploadedSets(db, queue, settings.data_dir / "datasets", _archive_limits(settings)),
        bulk_uploads=bulk_uploads,
        labelled_uploads=labelled_uploads,
        pipeline=pipeline,
        enroller=enroller,
        editor=SubjectEditor(db, enroller.follow_log),
        comparer=Comparer(db, pipeline, max_faces=settings.max_faces),
        admission=admission,
        # Enrolments may wait for the database: they leave half of the places to matching.
        enrolling=Admission(max(1, settings.max_requests // 2)),
        streams=Admission(
            settings.max_event_streams, "streams of decisions are open already; close one, or try again later"
        ),
        decisions=decisions,
        probes=probes,
        review=Review(db, probes, enroller),
        outgoing=outgoing,
        doors=DoorKeeper(doors, outputs, DoorLedger(db, outgoing), decisions.publish, metrics),
        watchers=WatcherBook() if line is None else WatcherBook(line.note),
        imports=Admission(1, "an archive is being imported already; try again later"),
        bodies=bodies,
        failed_logins=RateLimiter(
            rate_per_s=settings.failed_logins_per_s,
            burst=settings.failed_logins_burst,
            why="too many requests without a valid key come from this address",
            buckets=None if rates is None else rates.addresses,
        ),
        limiter=RateLimiter(
            rate_per_s=settings.rate_limit_per_s,
            burst=settings.rate_limit_burst,
            buckets=None if rates is None else rates.keys,
        ),
        audit=audit,
        refusals=RefusalLog(audit),
        signer=open_signer(settings.given_audit_key, settings.data_dir),
        metrics=metrics,
        line=line,
    )


async def _seal_old(db: Database, settings: Settings) -> None:
    """Seals what older releases stored in clear or under the crop key, which then goes."""
    old = OldCropKey(settings.given_crop_key, settings.data_dir)
    await seal_clear_rows(db, old.open)
    async with db.read() as uow:
        lost = await uow.crops.count_under_other_keys()
    if lost:
        log.warning("kept crops of an older release do not open with the crop key", crops=lost)
    else:
        try:
            old.discard()
        except OSError:
            log.warning("crop.key opens nothing any more and cannot be removed: remove it")


def _snapshots(db: Database, settings: Settings, metrics: Metrics) -> GallerySnapshots | None:
    """None: the settings want no snapshots of galleries."""
    if not settings.snapshot_templates:
        return None
    return GallerySnapshots(
        db,
        settings.data_dir / "gallery",
        least=settings.snapshot_templates,
        count=lambda way: metrics.gallery_fills.labels(way).inc(),
    )


def _environment(settings: Settings) -> TrainingEnvironment:
    return TrainingEnvironment(
        python=settings.train_python,
        datasets=settings.datasets,
        uploads=settings.data_dir / "datasets",
        facekit=settings.facekit,
        trunk=settings.trunk,
        keeps_crops=settings.keep_crops,
    )


def _archive_limits(settings: Settings) -> ArchiveLimits:
    return ArchiveLimits(
        bytes=settings.max_unpacked_bytes,
        file_bytes=settings.max_body_bytes,
        ratio=settings.max_archive_ratio,
        reserve_bytes=settings.disk_reserve_bytes,
    )


def _runner(
    settings: Settings,
    db: Database,
    registry: SpaceRegistry,
    admin: SpaceAdmin,
    worker: BackfillWorker,
    pipeline: FacePipeline,
    bulk: BulkJob,
    labelled: LabelledUploads,
    on_end: Mapping[str, OnEnd],
) -> JobRunner:
    """The runner, with every kind of job."""
    environment = _environment(settings)
    retrain = RetrainJob(
        environment,
        registry,
        admin,
        worker,
        EnrolledCrops(db),
        bundles=settings.bundle_registry,
        rendered=settings.data_dir / "rendered",
    )
    options = RunnerOptions(lease_s=settings.job_lease_s)
    evaluate = EvaluateJob(environment, registry, pipeline, labelled, db)
    backfill = BackfillJob(worker, admin)
    kinds: list[JobKind] = [retrain, evaluate, backfill, bulk]
    return JobRunner(db, kinds, job_directory(settings.data_dir), options, on_end=on_end)
