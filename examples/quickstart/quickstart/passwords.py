"""Argon2 hashes: slow and hungry for memory on purpose, and therefore nothing for an event loop."""

from __future__ import annotations

from typing import Annotated

import argon2
from msgspec import Meta, Struct

from exec_worker import InvalidRequest, node

_hasher = argon2.PasswordHasher()


class Password(Struct, frozen=True):
    """A password that somebody chose."""

    password: Annotated[str, Meta(min_length=8, max_length=1024)]


class Protected(Struct, frozen=True):
    """What may be stored in its place."""

    hash: str


class Attempt(Struct, frozen=True):
    """A password that somebody typed, and the hash that was stored."""

    password: Annotated[str, Meta(max_length=1024)]
    hash: Annotated[str, Meta(max_length=1024)]


class Verdict(Struct, frozen=True):
    """Whether they belong together; an `outdated` hash should be made again with today's strength."""

    matches: bool
    outdated: bool


@node(stage="core", idempotent=True)
def protect(asked: Password) -> Protected:
    """Hash a password with Argon2id; each hash has its own salt, so no two are equal."""
    return Protected(_hasher.hash(asked.password))


@node(stage="core", idempotent=True)
def verify(attempt: Attempt) -> Verdict:
    """Say whether a password fits a hash."""
    try:
        cost = argon2.extract_parameters(attempt.hash)
    except argon2.exceptions.InvalidHashError as error:
        raise InvalidRequest("this is no Argon2 hash") from error
    # The hash says how much memory and time it wants; a stranger's may not want more than ours.
    if cost.memory_cost > _hasher.memory_cost or cost.time_cost > _hasher.time_cost:
        raise InvalidRequest("this hash costs more than those that are made here")
    try:
        _hasher.verify(attempt.hash, attempt.password)
    except argon2.exceptions.VerifyMismatchError:
        return Verdict(matches=False, outdated=False)
    except argon2.exceptions.VerificationError as error:
        raise InvalidRequest("this Argon2 hash is damaged") from error
    return Verdict(matches=True, outdated=_hasher.check_needs_rehash(attempt.hash))
