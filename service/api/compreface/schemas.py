"""Wire types of CompreFace's API, as its documentation has them. What is None is left out of an answer."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from service.api.schemas.base import Wire


class RefusalOut(Wire):
    """`code`: CompreFace's number, 0 for what it does not have; `reason`: the code of our own API."""

    message: str
    code: int
    reason: str


class BoxOut(Wire):
    """In pixels of the image as its EXIF turns it. `probability`: 0.8 at the detector's own threshold."""

    probability: float
    x_max: int
    y_max: int
    x_min: int
    y_min: int


class MaskOut(Wire):
    """`probability`: of the value."""

    probability: float
    value: Literal["with_mask", "without_mask"]


class SeenFaceOut(Wire):
    """Parts of plugins are there if they were asked for. `execution_time`: milliseconds of the request."""

    box: BoxOut
    landmarks: list[tuple[int, int]] | None = None
    mask: MaskOut | None = None
    embedding: list[float] | None = None
    execution_time: dict[str, float] | None = None


class SubjectOut(Wire):
    """`similarity`: 0.95 or more for a match, less than 0.5 for anybody else."""

    similarity: float
    subject: str


class RecognizedFaceOut(SeenFaceOut):
    subjects: list[SubjectOut]


class RecognizedOut(Wire):
    result: list[RecognizedFaceOut]
    plugins_versions: dict[str, str] | None = None


class VerifiedFaceOut(SeenFaceOut):
    """`similarity`: as in `SubjectOut`."""

    similarity: float


class VerifiedOut(Wire):
    result: list[VerifiedFaceOut]
    plugins_versions: dict[str, str] | None = None


class ComparedOut(Wire):
    source_image_face: SeenFaceOut
    face_matches: list[VerifiedFaceOut]
    plugins_versions: dict[str, str] | None = None


class ComparedImagesOut(Wire):
    result: list[ComparedOut]


class ExampleOut(Wire):
    """`image_id`: the id of the sample."""

    image_id: str
    subject: str


class ExamplesOut(Wire):
    faces: list[ExampleOut]
    page_number: int
    page_size: int
    total_pages: int
    total_elements: int


class NameIn(BaseModel):
    """The SDK sends more fields than CompreFace documents, so others do not count."""

    model_config = ConfigDict(extra="ignore")

    subject: Annotated[str, Field(min_length=1, max_length=1000)]


class NameOut(Wire):
    subject: str


class NamesOut(Wire):
    subjects: list[str]


class DeletedOut(Wire):
    deleted: int


class UpdatedOut(Wire):
    updated: bool
