"""The names that a credential may give a client."""

from __future__ import annotations

from ...settings.form import has_control_characters

MAX_NAME_CHARACTERS = 255


def clean_name(value: object) -> str | None:
    """`value` as the name of an identity: text, or a whole number, of 1 to 255 characters that fit in one line of a log.

    None for every other value; a name with a byte order mark in it is none.
    """
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**30:
        value = str(value)
    if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME_CHARACTERS:
        return None
    return None if has_control_characters(value) or "\ufeff" in value or value != value.strip() else value
