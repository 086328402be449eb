"""Formulas as MathML, which browsers draw themselves: no script and no font of another host."""

from __future__ import annotations

import html
import re

from latex2mathml.converter import convert

BLOCK = re.compile(r"^```math\n(.*?)^```\s*$", re.M | re.S)
INLINE = re.compile(r"\$([^$\n]+(?:\n[^$\n]+)?)\$")
CODE = re.compile(r"(^```.*?^```\s*$|<div class=\"math\">.*?</div>|`(?:[^`\n]|\n(?!\n))+`)", re.M | re.S)
TEXT = re.compile(r">([^<]+)<")
# What Markdown would read as its own marks.
MARKS = re.compile(r"[\\`*_{}\[\]|]")


def with_math(page: str) -> str:
    """Replaces formulas between dollars and in blocks `math`, if the page has such a block."""
    if not BLOCK.search(page):
        return page
    page = BLOCK.sub(lambda found: f'<div class="math">{_mathml(found.group(1), "block")}</div>\n', page)
    parts = CODE.split(page)
    parts[::2] = [INLINE.sub(lambda found: _mathml(found.group(1), "inline"), part) for part in parts[::2]]
    return "".join(parts)


def _mathml(latex: str, display: str) -> str:
    made = str(convert(" ".join(latex.split()), display=display))
    # At the start of a line Markdown takes `math`, not `span`, for a block of its own.
    return f"<span>{TEXT.sub(lambda found: f'>{_escaped(found.group(1))}<', made)}</span>"


def _escaped(text: str) -> str:
    plain = html.unescape(text)
    return MARKS.sub(lambda mark: f"&#{ord(mark.group(0))};", html.escape(plain, quote=False))
