"""The pages of the HTTP API, made from the OpenAPI document that the service gives."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

from docs.site.tables import table
from service.app import create_app
from service.settings import Settings

TITLES = {
    "matching": "Matching",
    "subjects": "Subjects and enrolment",
    "events": "Decisions and unknown faces",
    "operations": "Operations",
    "administration": "Administration",
}
FACTS = (
    *(("pattern", "pattern `{}`"), ("minLength", "at least {} letters"), ("maxLength", "at most {} letters")),
    *(("minimum", "at least {}"), ("exclusiveMinimum", "more than {}")),
    *(("maximum", "at most {}"), ("exclusiveMaximum", "less than {}")),
    *(("minItems", "at least {} items"), ("maxItems", "at most {} items"), ("format", "{}")),
)
INTRODUCTION = """# The HTTP API

These pages are made from the OpenAPI document of version {version} when the site is built; a running service
gives it as `/openapi.json` and shows it at `/docs`. Here it is as [a file](openapi.json). Paths also answer
without `/v1`. Where a service has keys, a request carries one in the header `Authorization: Bearer KEY`;
`role` says which one it needs. Refusals are `application/problem+json` with a stable `code`.

"""


def api_pages(folder: str) -> dict[str, str]:
    """Maps places below `folder` to pages: an index, one for each part of the API, one of all types."""
    document = create_app(Settings()).openapi()
    parts: dict[str, list[tuple[str, str, dict[str, Any]]]] = defaultdict(list)
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            parts[operation["tags"][0]].append((method.upper(), path, operation))
    pages = {f"{folder}/index.md": _index(document, parts)}
    for part, operations in parts.items():
        sections = "\n".join(_operation(*operation) for operation in operations)
        pages[f"{folder}/{part}.md"] = f"# {TITLES[part]}\n\n{sections}"
    pages[f"{folder}/types.md"] = _types(document["components"]["schemas"])
    pages[f"{folder}/openapi.json"] = json.dumps(document, indent=1)
    return pages


def _index(document: dict[str, Any], parts: dict[str, list[tuple[str, str, dict[str, Any]]]]) -> str:
    text = INTRODUCTION.format(version=document["info"]["version"])
    for part, operations in parts.items():
        rows = [
            (
                f"[`{method} {path}`]({part}.md#{_anchor(method, path)})",
                _first(one),
                _role(one),
            )
            for method, path, one in operations
        ]
        text += f"## {TITLES[part]}\n\n{table(('request', 'what it does', 'role'), rows)}\n"
    return text


def _anchor(method: str, path: str) -> str:
    kept = "".join(letter for letter in f"{method} {path}".lower() if letter.isalnum() or letter in " -_")
    return kept.replace(" ", "-")


def _role(operation: dict[str, Any]) -> str:
    return str(operation.get("x-role", "open"))


def _first(operation: dict[str, Any]) -> str:
    """The first sentence of a description, without the stop."""
    words: str = operation.get("description") or operation["summary"]
    return " ".join(words.split("\n\n")[0].split()).split(". ")[0].rstrip(".")


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    text = f"## {method} {path}\n\n{operation.get('description', operation['summary'])}\n\n"
    text += f"Role: `{_role(operation)}`.\n\n"
    for permission, meaning in operation.get("x-permissions", {}).items():
        text += f"Permission `{permission}`: {meaning}.\n\n"
    if parameters := operation.get("parameters"):
        rows = [
            (f"`{one['name']}`", one["in"], _type(one["schema"]), _told(one, one["required"]))
            for one in parameters
        ]
        text += table(("parameter", "in", "value", "what it is"), rows) + "\n"
    if body := operation.get("requestBody"):
        text += _body(body)
    answers = [
        (f"`{status}`", _content(one), one["description"]) for status, one in operation["responses"].items()
    ]
    return text + table(("answer", "body", "code or meaning"), answers)


def _body(body: dict[str, Any]) -> str:
    described, plain = "", []
    for kind, content in body["content"].items():
        schema = content.get("schema", {})
        if "properties" in schema:
            described += f"As `{kind}`:\n\n{_fields(schema)}\n"
        elif "$ref" in schema:
            described += f"As `{kind}`: {_type(schema)}.\n\n"
        else:
            plain.append(f"`{kind}`")
    if plain:
        described += f"Or the body itself as {', '.join(plain)}.\n\n"
    note = f"{body['description']}\n\n" if "description" in body else ""
    return f"The body of the request:\n\n{described}{note}"


def _content(answer: dict[str, Any]) -> str:
    content = answer.get("content", {})
    return ", ".join(
        _type(one["schema"]) if "$ref" in one.get("schema", {}) else f"`{kind}`"
        for kind, one in content.items()
    )


def _types(schemas: dict[str, Any]) -> str:
    text = "# Types of the HTTP API\n\n"
    for name, schema in sorted(schemas.items()):
        text += f"## {name}\n\n"
        if "description" in schema:
            text += f"{schema['description']}\n\n"
        text += _fields(schema) if "properties" in schema else f"{_type(schema)}\n"
        text += "\n"
    return text


def _fields(schema: dict[str, Any]) -> str:
    needed = schema.get("required", ())
    rows = [
        (f"`{name}`", _type(one), _told({"schema": one}, name in needed))
        for name, one in schema["properties"].items()
    ]
    return table(("field", "value", "what it is"), rows)


def _told(one: dict[str, Any], required: bool) -> str:
    schema = one["schema"]
    words = [one.get("description") or schema.get("description", "")]
    for each in (schema, *schema.get("anyOf", ())):
        words += [text.format(each[fact]) for fact, text in FACTS if fact in each]
    if "default" in schema:
        words.append(f"default `{json.dumps(schema['default'])}`")
    elif required:
        words.append("needed")
    return "; ".join(filter(None, words))


def _type(schema: dict[str, Any]) -> str:
    """The type of a value, with a link where it has a name."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        return f"[{name}](types.md#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        values = schema.get("enum") or [schema["const"]]
        return ", ".join(f"`{json.dumps(value)}`" for value in values)
    kind = schema.get("type", "any value")
    if kind == "array":
        if "prefixItems" in schema:
            return f"list: {', '.join(_type(one) for one in schema['prefixItems'])}"
        return f"list of {_type(schema['items'])}"
    inner = schema.get("additionalProperties")
    if kind == "object" and isinstance(inner, dict) and inner:
        return f"object of {_type(inner)}"
    return str(kind)
