"""Describes photos with a bundle in this process: the service's own pipeline, without a service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from faces.bundle import Bundle
from faces.types import Role
from service.errors import RetryLater, ServiceError
from service.evaluation.described import Reason, Template
from service.evaluation.labelled import LabelledPhoto
from service.gallery.exact import ExactGallery
from service.inference.decoding import Decoder
from service.inference.engine import Description, Engine, EngineOptions
from service.matching.choice import meant_face
from service.matching.pipeline import FacePipeline
from service.settings import Settings
from service.spaces.adoption import require_thresholds
from service.spaces.space import EmbeddingSpace
from service.telemetry import Metrics


class PipelineDescriber:
    """Describes photos by a pipeline and a space of this process."""

    def __init__(self, pipeline: FacePipeline, space: EmbeddingSpace) -> None:
        self._pipeline, self._space = pipeline, space

    @property
    def space_id(self) -> str:
        return self._space.space_id

    async def describe(self, photo: LabelledPhoto, data: bytes) -> Template | Reason:
        """Raises RetryLater if the pipeline is at its limit or ends."""
        try:
            found = await self._pipeline.describe(
                self._space, data, spectrum=photo.spectrum, choose=meant_face, role=Role(photo.role)
            )
        except RetryLater:
            raise
        except ServiceError as error:
            return Reason(error.code, error.detail)
        return template_of(self._space, found.faces[0], Role(photo.role))


def template_of(space: EmbeddingSpace, described: Description, role: Role) -> Template:
    box = described.face.box
    return Template(
        vector=described.embedding.vector,
        condition=described.condition,
        mask_state=described.mask.state.value,
        quality=described.quality.score,
        reasons=tuple(described.quality.reasons),
        box=(box.x, box.y, box.width, box.height),
        cohort=space.cohort_id,
        taken=space.taken(described.embedding.vector, role, described.condition),
    )


@asynccontextmanager
async def opened_bundle(bundle: Bundle, settings: Settings) -> AsyncIterator[PipelineDescriber]:
    """Loads the bundle's networks and ends them. Raises BundleError, ProviderError."""
    require_thresholds(bundle)
    engine = Engine.load(bundle, EngineOptions.of(settings))
    decoder = Decoder(settings, Metrics())
    decoder.start()
    pipeline = FacePipeline(settings, decoder)
    engine.start()
    try:
        gallery = ExactGallery(bundle.manifest.encoder.dimension)
        yield PipelineDescriber(pipeline, EmbeddingSpace(bundle.manifest, engine, gallery))
    finally:
        await engine.close()
        await pipeline.close()
