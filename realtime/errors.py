"""The one exception that a user may meet."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class UserError(Exception):
    """A foreseeable mistake, told in one line: what, what was found, what was expected, what to do."""


def nearest(name: str, known: Iterable[str]) -> str:
    """`, did you mean 'x'?` for the known name closest to `name`, or nothing."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f", did you mean {close[0]!r}?" if close else ""


@contextmanager
def naming(whose: str) -> Iterator[None]:
    """What goes wrong inside is told with the name of the one of several that it is of."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{whose}: {error}") from error
