"""Every call of `halflight` that the documents name is one that the command line takes."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest
from typer.main import get_command

from service.cli.main import app
from tests.conftest import REPO

DOCUMENTS = [REPO / "README.md", *sorted((REPO / "docs").glob("*.md"))]
DOCUMENTS += [REPO / "deploy" / "README.md", REPO / "models" / "README.md"]
# In a block of its own line, or within backticks.
LINE = re.compile(r"^(?:\.venv/bin/)?halflight (?P<call>[^#\n&]+)", re.MULTILINE)
INLINE = re.compile(r"`halflight (?P<call>[^`]+)`")


def calls() -> list[tuple[str, str]]:
    found = []
    for document in DOCUMENTS:
        text = document.read_text()
        for pattern in (LINE, INLINE):
            found += [(document.name, match["call"].strip()) for match in pattern.finditer(text)]
    return found


def refusal(call: str) -> str | None:
    """What the parser says against it. A missing argument is no fault: prose may name a command alone."""
    # Typer brings a parser of its own, whose classes it does not show.
    command: Any = get_command(app)
    context = command.make_context("halflight", [], resilient_parsing=True)
    context.resilient_parsing = False
    words = shlex.split(call)
    try:
        while words and hasattr(command, "resolve_command"):
            name, command, words = command.resolve_command(context, words)
            context = type(context)(command, parent=context, info_name=name)
        _, left, _ = command.make_parser(context).parse_args(words)
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        return str(error.format_message())
    return f"takes no {left}" if left else None


@pytest.mark.parametrize(("document", "call"), calls())
def test_the_command_line_takes_it(document: str, call: str) -> None:
    assert refusal(call) is None, f"{document}: halflight {call}"


def test_the_check_can_fail_and_the_documents_name_calls() -> None:
    assert "no such option" in str(refusal("serve --dta x")).lower()
    assert refusal("verify probe.png anna") is not None
    assert "no such command" in str(refusal("veryfy probe.png")).lower()
    assert len(calls()) >= 10
