"""The names that an identity may have."""

from __future__ import annotations

from ...settings.form import has_control_characters

LONGEST_NAME = 255
"""Characters of an identity."""


def clean_name(value: object) -> str | None:
    """`value` as the name of an identity: text, or a whole number, of 1 to 255 characters that fit in one line of a log. Else None."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**30:
        value = str(value)
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST_NAME:
        return None
    return None if has_control_characters(value) or value != value.strip() else value
