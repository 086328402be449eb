"""The requests of training jobs: validated at the API, stored in the job's row, written as request.json."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from faces.strict import Strict
from faces.types import Role
from service.spaces.threshold_table import CameraName

RETRAIN, EVALUATE = "retrain", "evaluate"
Preset = Literal["hsst", "hsst+distill", "adapter"]
References = Literal["set", "gallery"]
Activate = Literal["manual", "if_better"]
# Fields of an evaluation that the training package does not know.
SERVICE_ONLY = ("by", "camera", "pictures", "references")
# Marks the row of an evaluation whose photos were uploaded for it alone.
PASSING = "passing"
MAX_ITERATIONS = 10_000_000
MAX_MINUTES = 14 * 24 * 60

DatasetName = Annotated[str, Field(min_length=1, max_length=200)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]


class _TrainingRequest(Strict):
    """What both requests do. The row of a job holds the request and `actor`, which only the service needs."""

    @classmethod
    def of_job(cls, params: Mapping[str, Any]) -> Self:
        """The request that the row of a job holds."""
        return cls.model_validate({name: params[name] for name in cls.model_fields})

    def params(self) -> dict[str, Any]:
        """The request as the row of a job holds it."""
        return self.model_dump(mode="json")

    def file(self, **places: Path | str | None) -> dict[str, Any]:
        """The content of request.json: the request, and where the process finds things."""
        return self.params() | {
            name: str(place.resolve()) if isinstance(place, Path) else place for name, place in places.items()
        }


class Retraining(_TrainingRequest):
    """What an administrator asks for. At most one of `iterations`, `epochs` and `minutes` is given."""

    dataset: DatasetName
    preset: Preset = "hsst"
    iterations: Annotated[int, Field(ge=1, le=MAX_ITERATIONS)] | None = None
    epochs: Annotated[float, Field(gt=0, le=10_000)] | None = None
    minutes: Annotated[float, Field(gt=0, le=MAX_MINUTES)] | None = None
    seed: Seed = 0
    activate: Activate = "manual"

    @model_validator(mode="after")
    def _one_budget(self) -> Self:
        if sum(budget is not None for budget in (self.iterations, self.epochs, self.minutes)) > 1:
            raise ValueError("give one of iterations, epochs and minutes")
        return self


class Evaluation(_TrainingRequest):
    """An evaluation of the active bundle. `seed`: of random draws.

    `by`: the training package in a process of its own, or the service's own pipeline, which also suggests
    thresholds by camera, and alone knows the other fields. `camera`: of probes that lie in no camera's
    folder. `pictures`: whether the report shows failed photos and the worst mistakes.
    `references`: what probes are compared with, those of the set or the enrolled gallery, whose subjects the
    labels then name.
    """

    dataset: DatasetName
    seed: Seed = 0
    by: Literal["training", "service"] = "training"
    camera: CameraName | None = None
    pictures: bool = False
    references: References = "set"

    @model_validator(mode="after")
    def _known_to_the_service(self) -> Self:
        given = self.camera is not None or self.pictures or self.references != "set"
        if self.by != "service" and given:
            raise ValueError('`camera`, `pictures` and `references` need "by": "service"')
        return self

    @property
    def needs(self) -> tuple[Role, ...]:
        """Of which roles the set must have photos."""
        return tuple(Role) if self.references == "set" else (Role.PROBE,)

    @classmethod
    def of_job(cls, params: Mapping[str, Any]) -> Self:
        """A job of an older release does not say by whom."""
        return cls.model_validate({name: params[name] for name in cls.model_fields if name in params})

    def file(self, **places: Path | str | None) -> dict[str, Any]:
        """The process is the training package: it knows nothing of the service's own fields."""
        return {name: value for name, value in super().file(**places).items() if name not in SERVICE_ONLY}
