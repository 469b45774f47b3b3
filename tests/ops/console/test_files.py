"""ops/console/files.py: the page asks for its own parts and for nothing else, and has nothing that its policy forbids."""

from __future__ import annotations

import re

import pytest

from wsdaemon.ops.console.files import POLICY, page, parts


def test_the_page_has_its_parts_and_no_others() -> None:
    text = page("/here/", whole=True).body.decode()
    assert set(re.findall(r'(?:src|href)="/here/([^"]+)"', text)) == {"console.css", "main.js"}
    assert set(re.findall(r'(?:src|href)="([^"]+)"', text)) == {"/here/console.css", "/here/main.js", "data:,"}
    assert 'data-only=""' in text and 'data-only="try"' in page("/", whole=False).body.decode()


def test_scripts_import_what_is_there() -> None:
    for name, file in parts().items():
        for wanted in re.findall(r'from "\./([^"]+)"', file.body.decode()):
            assert wanted in parts(), name


@pytest.mark.parametrize("name", [None, *parts()])
def test_nothing_is_inline_nothing_comes_from_elsewhere_and_no_text_becomes_html(name: str | None) -> None:
    text = (page("/", whole=True) if name is None else parts()[name]).body.decode()
    assert not re.search(r'<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+="|javascript:', text)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|\bfetch\(.http", text)
    assert not re.search(r"https?://(?!localhost)[a-z]", text.replace("https?://", ""))
    assert text.isascii()


def test_the_policy_allows_no_script_and_no_style_but_its_own() -> None:
    rules = dict(rule.split(" ", 1) for rule in POLICY.split("; "))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == rules["frame-ancestors"] == "'none'"
    assert rules["script-src"] == rules["style-src"] == "'self'"
    assert "unsafe" not in POLICY and "*" not in POLICY
