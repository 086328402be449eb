"""Tells photos from what file managers and people leave among them, by names alone."""

from __future__ import annotations

from pathlib import PurePath

# What is passed over and counted.
OTHER_NAMES = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "readme", "license"})
OTHER_SUFFIXES = frozenset(
    {".txt", ".md", ".rst", ".rtf", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".html", ".htm"}
    | {".yaml", ".yml", ".toml", ".ini", ".cfg", ".log", ".url", ".nfo", ".db", ".lnk"}
)


def is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() == "__macosx"


def is_other(name: str, *, folder: bool) -> bool:
    """Whether a name says that this is no photo. A subject's folder may have any name but a hidden one."""
    if is_hidden(name):
        return True
    return not folder and (name.lower() in OTHER_NAMES or PurePath(name).suffix.lower() in OTHER_SUFFIXES)
