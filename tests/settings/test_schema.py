"""settings/schema.py: the keys of a settings dataclass."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field

import pytest

from wsdaemon.settings.form import SizeForm, WholeForm
from wsdaemon.settings.schema import SectionSettings, explain, keys_of
from wsdaemon.settings.values import Count, Size, Tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Example(SectionSettings):
    path: str
    limit: Count = field(metadata=explain("A limit.", inherited=False, example="7"))
    size: Size = field(default=5, metadata=explain("A size."))
    names: Tokens = field(default_factory=lambda: ("a",), metadata=explain("Names."))


def test_each_field_with_an_explanation_is_a_key() -> None:
    keys = keys_of(Example)
    assert list(keys) == ["limit", "size", "names"], "in the order of the fields, and without the path"
    limit, size, names = keys.values()
    assert (limit.form, limit.default, limit.required, limit.help, limit.inherited, limit.example) == (
        WholeForm(), MISSING, True, "A limit.", False, "7",
    )  # fmt: skip
    assert (size.form, size.default, size.required, size.inherited, size.example) == (SizeForm(), 5, False, True, "")
    assert names.default == ("a",), "what the factory makes"


def test_a_key_without_a_form_is_a_mistake_in_the_code() -> None:
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Wrong(SectionSettings):
        limit: int = field(default=1, metadata=explain("A limit."))

    with pytest.raises(TypeError, match="no form for the annotation"):
        keys_of(Wrong)


def test_nothing_conflicts_unless_a_section_says_so() -> None:
    assert list(Example(path="/", limit=1).conflicts()) == []
