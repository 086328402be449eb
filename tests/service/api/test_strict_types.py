"""A body means what the OpenAPI document says: true is no number, and "yes" is not true."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Annotated, Any, get_args

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from service.api import schemas
from service.api.schemas.base import Wire
from service.api.schemas.doors import DoorTestIn

WRONG: dict[type, tuple[object, ...]] = {
    int: (True, False, "1", 1.5),
    float: (True, False, "0.5"),
    bool: (1, 0, "yes"),
}


def fields_of_requests() -> Iterator[tuple[type[BaseModel], str]]:
    """Each number and flag of a body that a request may have."""
    for module in pkgutil.iter_modules(schemas.__path__):
        for made in vars(importlib.import_module(f"{schemas.__name__}.{module.name}")).values():
            if isinstance(made, type) and issubclass(made, Wire) and made.__name__.endswith("In"):
                yield from ((made, name) for name in made.model_fields if kinds(made, name) & WRONG.keys())


def kinds(model: type[BaseModel], name: str) -> set[Any]:
    annotation = model.model_fields[name].annotation
    return {part for each in (annotation, *get_args(annotation)) for part in (each, *get_args(each))}


FIELDS = sorted(set(fields_of_requests()), key=lambda each: (each[0].__name__, each[1]))


def test_there_are_such_fields() -> None:
    assert len(FIELDS) >= 9


@pytest.mark.parametrize(("model", "name"), FIELDS)
def test_a_value_of_another_type_is_refused(model: type[BaseModel], name: str) -> None:
    field, (kind,) = model.model_fields[name], kinds(model, name) & WRONG.keys()
    whole: Any = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
    adapter: TypeAdapter[Any] = TypeAdapter(whole)
    for value in WRONG[kind]:
        with pytest.raises(ValidationError):
            adapter.validate_python(value)


def test_bounds_stand_in_the_document() -> None:
    quality = DoorTestIn.model_json_schema()["properties"]["quality"]
    assert (quality["minimum"], quality["maximum"]) == (0, 100)
    # JSON knows no difference between 70 and 70.0.
    assert DoorTestIn(subject_id="a", camera="door-1", quality=70.0).quality == 70
