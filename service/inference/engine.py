"""Loads and warms the networks of one bundle, and describes faces with them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faces.align import AlignError, align
from faces.bundle import Bundle, FileRef, MaskSpec, open_cohort
from faces.detect import Placement
from faces.masks import MaskReading, read_mask
from faces.types import AlignedCrop, Condition, Embedding, Face, Image, Role
from service.inference.batcher import Batcher, Observe
from service.inference.detector import Detector, DetectorInput
from service.inference.encoder import DetectedMasks, Encoder, MaskClassifier
from service.inference.liveness import LivenessCheck
from service.inference.liveness_reading import NOT_LOOKED, LivenessReading
from service.inference.quality import Quality, assess, is_overexposed
from service.inference.session import OnnxSession
from service.inference.tensorrt import Shapes, TensorRtOptions
from service.inference.verifier import FaceVerifier
from service.settings import Settings

# The value of warm-up inputs: a black input could give an all-zero vector, which is no embedding.
MID_GREY = 127


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """How the networks run: providers in order of preference, threads and queue sizes.

    `tensorrt` is used only if its provider is among `providers`.
    """

    providers: tuple[str, ...]
    allow_fallback: bool
    intra_op_threads: int
    max_batch: int
    max_queue: int
    tensorrt: TensorRtOptions | None = None

    @classmethod
    def of(cls, settings: Settings) -> EngineOptions:
        """Reads the options from the settings of the service."""
        return cls(
            providers=settings.providers,
            allow_fallback=settings.allow_fallback,
            intra_op_threads=settings.intra_op_threads,
            max_batch=settings.max_batch,
            max_queue=settings.max_queue,
            tensorrt=TensorRtOptions(engine_cache=settings.engine_cache, fp16=settings.tensorrt_half),
        )


@dataclass(frozen=True, slots=True)
class FacesFound:
    """How many faces an image shows, and how many detections scored `below` what was asked for."""

    found: int
    below: int


@dataclass(frozen=True, slots=True, eq=False)
class Description:
    """One face of one image with its crop, embeddings, mask state and quality.

    `embeddings`: one, or two of a visible probe whose mask state is uncertain if the bundle chooses its
    encoder by condition; the first is that of `condition`, and the better score counts. `among`: the faces
    of its image; the pipeline sets it. `liveness`: of a probe, where the bundle looks for it.
    """

    face: Face
    crop: AlignedCrop
    embeddings: tuple[Embedding, ...]
    mask: MaskReading
    quality: Quality
    among: FacesFound = FacesFound(found=1, below=0)
    liveness: LivenessReading = NOT_LOOKED

    @property
    def embedding(self) -> Embedding:
        return self.embeddings[0]

    @property
    def vectors(self) -> NDArray[np.float32]:
        """The templates, float32 [n, dimension]."""
        return np.stack([one.vector for one in self.embeddings])

    @property
    def condition(self) -> Condition:
        """The likeliest condition."""
        return Condition(self.crop.spectrum, self.mask.masked)

    @property
    def possible_conditions(self) -> tuple[Condition, ...]:
        """Every condition that the face may be in: two where its mask state is uncertain."""
        return tuple(Condition(self.crop.spectrum, masked) for masked in self.mask.possible)


class Engine:
    """The networks of one bundle. Create it with `load`, then call `start` inside the event loop."""

    def __init__(
        self,
        bundle: Bundle,
        detector: Detector,
        encoder: Encoder,
        mask: MaskClassifier | DetectedMasks,
        provider: str,
        liveness: LivenessCheck | None = None,
    ) -> None:
        self.manifest, self.provider = bundle.manifest, provider
        # Read here, so that a bundle whose cohort cannot be read never serves.
        self.cohort = open_cohort(bundle)
        self.detector, self.encoder, self.mask, self.liveness = detector, encoder, mask, liveness

    @classmethod
    def load(
        cls,
        bundle: Bundle,
        options: EngineOptions,
        *,
        observe: Callable[[str], Observe] | None = None,
    ) -> Engine:
        """Loads and warms every network; blocks. Raises ProviderError and ONNX Runtime's own errors."""
        sessions: dict[Path, OnnxSession] = {}

        def session(ref: FileRef, smallest: tuple[int, int], largest: tuple[int, int]) -> OnnxSession:
            path = bundle.path(ref)
            if path not in sessions:
                sessions[path] = OnnxSession(
                    path,
                    providers=options.providers,
                    allow_fallback=options.allow_fallback,
                    intra_op_threads=options.intra_op_threads,
                    tensorrt=options.tensorrt,
                    shapes=Shapes(smallest_px=smallest, largest_px=largest, max_batch=options.max_batch),
                )
            return sessions[path]

        def watch(name: str) -> Observe | None:
            return observe(name) if observe else None

        manifest, spec = bundle.manifest, bundle.manifest.encoder
        sides = manifest.detector.sides_px
        encoders = {
            Role.PROBE: session(spec.probe, spec.input_px, spec.input_px),
            Role.REFERENCE: session(spec.reference, spec.input_px, spec.input_px),
        }
        limits = {"max_batch": options.max_batch, "max_queue": options.max_queue}
        mask: MaskClassifier | DetectedMasks
        if isinstance(manifest.mask, MaskSpec):
            mask_px = (manifest.mask.input_px, manifest.mask.input_px)
            network = session(manifest.mask.file, mask_px, mask_px)
            mask = MaskClassifier(manifest.mask, network, observe=watch("mask"), **limits)
        else:
            mask = DetectedMasks()
        verifier: FaceVerifier | None = None
        if (judge := manifest.detector.verifier) is not None:
            judge_px = (judge.input_px, judge.input_px)
            verifier = FaceVerifier(
                session(judge.file, judge_px, judge_px), observe=watch("verify"), **limits
            )
        liveness: LivenessCheck | None = None
        if (looks := manifest.liveness) is not None:
            looks_px = (looks.input_px, looks.input_px)
            liveness = LivenessCheck(
                looks, session(looks.file, looks_px, looks_px), observe=watch("liveness"), **limits
            )
        engine = cls(
            bundle,
            Detector(
                manifest.detector,
                session(manifest.detector.file, (sides[0], sides[0]), (sides[-1], sides[-1])),
                observe=watch("detect"),
                verifier=verifier,
                **limits,
            ),
            Encoder(
                spec,
                encoders,
                space_id=manifest.space_id,
                observe=watch("embed"),
                **limits,
            ),
            mask,
            encoders[Role.PROBE].provider,
            liveness,
        )
        engine.forward()
        return engine

    @property
    def batchers(self) -> tuple[Batcher[Any, Any], ...]:
        own = (self.mask.batcher,) if isinstance(self.mask, MaskClassifier) else ()
        judge = () if self.detector.verifier is None else (self.detector.verifier.batcher,)
        looks = () if self.liveness is None else (self.liveness.batcher,)
        return (self.detector.batcher, *judge, self.encoder.batcher, *own, *looks)

    def start(self) -> None:
        """Starts the batch loops. Call it inside the event loop."""
        for batcher in self.batchers:
            batcher.start()

    async def close(self) -> None:
        """Finishes the queues, then stops."""
        await asyncio.gather(*(batcher.close() for batcher in self.batchers))

    async def describe(self, image: Image, face: Face, role: Role) -> Description:
        """Aligns, embeds, classifies and assesses one face of one image.

        Raises AlignError (faces.align), QueueFull, BatcherClosed.
        """
        crop = align(image, face, self.manifest.encoder.alignment)
        if self.encoder.waits_for_mask(crop, role):
            mask = self._read(await self.mask.classify(image, face), crop)
            embeddings = await self.encoder.embed(crop, role, mask)
        else:
            async with asyncio.TaskGroup() as group:
                embedding = group.create_task(self.encoder.embed(crop, role))
                probability = group.create_task(self.mask.classify(image, face))
            mask, embeddings = self._read(probability.result(), crop), embedding.result()
        liveness = NOT_LOOKED
        if self.liveness is not None and role is Role.PROBE:
            liveness = await self.liveness.read(image, face, crop)
        return Description(face, crop, embeddings, mask, assess(face, crop), liveness=liveness)

    def assess(self, image: Image, face: Face) -> Quality | None:
        """The quality of one face of one image, without any network; None if it cannot be aligned."""
        try:
            return assess(face, align(image, face, self.manifest.encoder.alignment))
        except AlignError:
            return None

    def _read(self, probability: float, crop: AlignedCrop) -> MaskReading:
        spec = self.manifest.mask
        return read_mask(
            probability, threshold=spec.threshold, band=spec.uncertain, overexposed=is_overexposed(crop)
        )

    def forward(self) -> None:
        """Runs one real forward pass through every network, for warm-up and readiness; blocks."""
        spec, mask = self.manifest.encoder, self.manifest.mask
        for side in self.manifest.detector.sides_px:
            blank = np.full((side, side, 3), MID_GREY, np.uint8)
            self.detector.run([DetectorInput(blank, Placement(scale=1.0, canvas_px=side), (side, side))])
        if (judge := self.manifest.detector.verifier) is not None and self.detector.verifier is not None:
            self.detector.verifier.run(
                [np.full((1, 3, judge.input_px, judge.input_px), MID_GREY, np.float32)]
            )
        for role in Role:
            self.encoder.run([(role, np.full((3, *spec.input_px), MID_GREY, np.float32))])
        if isinstance(self.mask, MaskClassifier) and isinstance(mask, MaskSpec):
            self.mask.run([np.full((3, mask.input_px, mask.input_px), MID_GREY, np.float32)])
        if self.liveness is not None and (looks := self.manifest.liveness) is not None:
            self.liveness.run([np.full((3, looks.input_px, looks.input_px), MID_GREY, np.float32)])
