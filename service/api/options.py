"""The options a route knows, from query and form alike: what it does not know is refused, not ignored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from urllib.parse import parse_qsl, urlencode

from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from service.api.uploads import FORM, UploadForm
from service.errors import InvalidParameter, MalformedRequest

MAX_OPTIONS, MAX_NAME = 64, 64


def _query_names(dependant: Dependant) -> Iterator[str]:
    yield from (field.alias for field in dependant.query_params)
    for each in dependant.dependencies:
        yield from _query_names(each)


@dataclass(frozen=True, slots=True)
class KnownOptions:
    """Names by where they stand: in the query, as text fields of a form, as files of a form."""

    query: frozenset[str]
    fields: frozenset[str]
    files: frozenset[str]

    @classmethod
    def of(cls, route: APIRoute) -> KnownOptions:
        """Read off the route's parameters and the form that its documentation describes."""
        query = set(_query_names(route.dependant))
        content = (route.openapi_extra or {}).get("requestBody", {}).get("content", {})
        properties = content.get(FORM, {}).get("schema", {}).get("properties", {})
        files = {
            name
            for name, schema in properties.items()
            if "binary" in (schema.get("format"), schema.get("items", {}).get("format"))
        }
        return cls(frozenset(query), frozenset(properties.keys() - files), frozenset(files))

    def check_query(self, query_string: bytes) -> list[tuple[str, str]]:
        """The options of a query. Raises InvalidParameter for unknown and repeated ones."""
        try:
            options = parse_qsl(
                query_string.decode("latin-1"), keep_blank_values=True, max_num_fields=MAX_OPTIONS
            )
        except ValueError as error:
            raise MalformedRequest(f"a query has {MAX_OPTIONS} options at most") from error
        self._refuse_unknown((name for name, _ in options), self.query | self.fields)
        self._refuse_repeated(name for name, _ in options)
        return options

    def merge(self, query_string: bytes, form: UploadForm) -> tuple[bytes, UploadForm]:
        """The same options, each where the route looks for it. Raises InvalidParameter."""
        options = self.check_query(query_string)
        self._refuse_unknown(form.fields, self.query | self.fields, self.files)
        self._refuse_unknown(form.files, self.files)
        self._refuse_repeated([name for name, _ in options] + list(form.fields))
        given = dict(options) | form.fields
        query = {name: value for name, value in given.items() if name in self.query}
        fields = {name: value for name, value in given.items() if name not in self.query}
        return urlencode(query).encode(), UploadForm(fields, form.files)

    def _refuse_unknown(
        self, names: Iterable[str], known: frozenset[str], others: frozenset[str] = frozenset()
    ) -> None:
        for name in names:
            if name in known:
                continue
            if name in others:
                raise InvalidParameter(f"`{name}` must be a file")
            # Of a name that is longer than any known one no hint is looked for: it takes a time that
            # grows with the name.
            near = get_close_matches(name[:MAX_NAME], known, n=1) or sorted(known)[: len(known) == 1]
            hint = f"did you mean `{near[0]}`?" if near else f"known: {', '.join(sorted(known)) or 'none'}"
            raise InvalidParameter(f"`{name[:MAX_NAME]}` is not known here; {hint}")

    @staticmethod
    def _refuse_repeated(names: Iterable[str]) -> None:
        for name, count in Counter(names).items():
            if count > 1:
                raise InvalidParameter(f"`{name}` is given twice")
