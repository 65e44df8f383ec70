"""The base of the configuration's sections. Pure."""

from __future__ import annotations

from msgspec import Struct


class Section(Struct, frozen=True, forbid_unknown_fields=True):
    """The base of every section: immutable, and without a place for keys nobody knows."""
