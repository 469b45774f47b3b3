"""[auth:NAME] sections: what they take, what they refuse, and their part of the reference."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import pytest

from wsdaemon.settings.auth import AUTH_KINDS, BasicAuthSettings, HttpAuthSettings, JwtAuthSettings, TlsAuthSettings, TokenSource
from wsdaemon.settings.build import Section, build, section
from wsdaemon.settings.ini import load
from wsdaemon.settings.problems import SettingsError
from wsdaemon.settings.reference import effective, reference
from wsdaemon.settings.schema import keys_of

SOURCE = "header, cookie:NAME, query:NAME or subprotocol:PREFIX"
URL = "a URL such as http://127.0.0.1:9000/auth, without user, password and fragment"
LISTENER = section("listener:a", address="tcp:0")


def problems(*sections: Section) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        build([LISTENER, *sections], "x")
    return [str(problem) for problem in caught.value.problems]


def mount(**keys: object) -> Section:
    return section("mount:/", app="echo", **keys)


def test_each_kind_has_its_own_keys(tmp_path: Path) -> None:
    (tmp_path / "ws.ini").write_text(
        "[listener:a]\naddress = tcp:0\n"
        "[mount:/]\napp = echo\nauth = staff, api , site\nexpiry_warning = 30s\nsubprotocols = chat\n"
        "[mount:/open]\napp = echo\n"
        "[auth:staff]\nkind = basic\nfile = htpasswd\nrealm = My site\n"
        "[auth:api]\nkind = JWT\nalgorithms = rs256, ES256\njwks_file = /etc/jwks.json\naudience = a, b\n"
        "token_from = header, cookie:session, query:access_token, subprotocol:bearer.\n"
        "[auth:site]\nkind = http\nurl = https://auth.example/check?x=1\ntimeout = 500ms\nclaim_headers = X-Roles\n"
        "[auth:machines]\nkind = tls\nidentity = subject\nallow = CN=a\n"
    )
    settings = load(tmp_path / "ws.ini")
    staff, api, site, machines = settings.auths
    assert isinstance(staff, BasicAuthSettings) and (staff.name, staff.file, staff.realm) == ("staff", tmp_path / "htpasswd", "My site")
    assert isinstance(api, JwtAuthSettings) and api.algorithms == ("RS256", "ES256") and api.audience == ("a", "b")
    assert api.token_from == (
        TokenSource("header"),
        TokenSource("cookie", "session"),
        TokenSource("query", "access_token"),
        TokenSource("subprotocol", "bearer."),
    )
    assert isinstance(site, HttpAuthSettings) and site.timeout == 0.5 and site.claim_headers == ("X-Roles",)
    assert isinstance(machines, TlsAuthSettings) and machines.identity == "subject"
    assert [(each.auth, each.expiry_warning) for each in settings.mounts] == [(("staff", "api", "site"), 30.0), ((), 0.0)]
    assert settings.warnings == ("[auth:machines] is used by no mount",)
    (tmp_path / "again.ini").write_text(effective(settings))
    assert load(tmp_path / "again.ini") == settings


KEYS = "kind, file, realm, remember, threads, max_waiting, failures_per_minute, address_failures_per_minute"


def test_problems_of_sections() -> None:
    found = problems(
        mount(auth="staf"),
        section("auth:staff", kind="basic", file="f", realm='say "hi"', algorithms="RS256", banana=1),
        section("auth:nothing"),
        section("auth:typo", kind="jvt"),
        section("auth:two", kind="jwt", algorithms="none", key_file="k", token_from="header:x, kookie:y"),
        section("auth:three", kind="jwt", algorithms="RS256", key_file="k", jwks_file="k"),
        section("auth:four", kind="http", url="http://user:secret@auth.example/"),
        section("auth:five", kind="basic"),
        section("auth:six", kind="basic", file=""),
        section("auth:bad name", kind="basic"),
    )
    assert found == [
        "x: [auth:bad name]: expected [auth:NAME], with a name of up to 64 letters, digits, _ . and -",
        "x: [auth:staff] algorithms: key of the kind jwt; the kind here is basic",
        f"x: [auth:staff] banana: unknown key; the keys here are {KEYS}",
        'x: [auth:staff] realm = say "hi": expected up to 100 printable ASCII characters without " and \\',
        "x: [auth:nothing] kind: missing key; expected basic, jwt, tls, http or ticket",
        "x: [auth:typo] kind = jvt: expected basic, jwt, tls, http or ticket; did you mean jwt?",
        "x: [auth:two] algorithms = none: expected HS256, RS256 or ES256",
        f"x: [auth:two] token_from = header:x, kookie:y: expected {SOURCE}; the header is always Authorization",
        "x: [auth:three] key_file = k: expected either key_file or jwks_file",
        f"x: [auth:four] url = http://(hidden)@auth.example/: expected {URL}",
        "x: [auth:five] file: missing key; expected the path of a file",
        "x: [auth:six] file = (empty): expected the path of a file",
        "x: [mount:/] auth = staf: no [auth:staf] section; did you mean staff?",
    ]


def test_an_unknown_name_in_defaults() -> None:
    assert problems(mount(), section("defaults", auth="ticket")) == ["x: [defaults] auth = ticket: no [auth:ticket] section"]


def test_a_key_of_auth_elsewhere() -> None:
    assert problems(mount(jwks_file="x")) == ["x: [mount:/] jwks_file: unknown key; expected it in [auth:NAME]"]


def test_tokens_in_subprotocols_need_a_subprotocol_to_choose() -> None:
    way = section("auth:way", kind="jwt", algorithms="RS256", key_file="k", token_from=[TokenSource("subprotocol", "bearer.")])
    (warning,) = build([LISTENER, mount(auth="way"), way], "x").warnings
    assert warning.startswith("[mount:/] has no subprotocols, and [auth:way] reads tokens from one")
    assert not build([LISTENER, mount(auth="way", subprotocols="chat"), way], "x").warnings


def test_certificates_of_clients_that_nobody_asks_for() -> None:
    way = section("auth:way", kind="tls")
    (warning,) = build([LISTENER, mount(auth="way"), way], "x").warnings
    assert warning.startswith("[auth:way] needs client certificates, and no listener asks for them")
    asking = section("listener:a", address="tcp:0", tls_certificate="c", tls_key="k", client_ca="ca", client_certificate="optional")
    assert not build([asking, mount(auth="way"), way], "x").warnings


def test_the_reference_has_a_section_of_each_kind_that_loads() -> None:
    for name, settings_class in AUTH_KINDS.items():
        found = re.search(rf"(?m)^# \[auth:my-{name}\]\n(^#.*\n)+", reference())
        assert found is not None
        text = re.sub(r"(?m)^# ?", "", found[0])
        words = re.sub(r"\n# ", " ", text)
        for key in keys_of(settings_class).values():
            assert re.search(rf"(?m)^#?{key.name} =", text)
            assert key.help in words
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "ws.ini"
            path.write_text(
                f"[listener:a]\naddress = tcp:0\n[mount:/]\napp = echo\nauth = my-{name}\n{text.replace('#key_file =', 'key_file = k')}"
            )
            assert load(path).auths[0].kind == name
