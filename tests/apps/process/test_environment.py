"""apps/process/environment.py: the variables of CGI, and no header that takes the place of one."""

from __future__ import annotations

from typing import Any

from wsdaemon.apps.process.environment import base_environment, client_environment
from wsdaemon.core.handshake import Handshake, Headers, Peer
from wsdaemon.core.identity import Identity


def handshake(*headers: tuple[bytes, bytes], **values: Any) -> Handshake:
    chosen = {
        "target": "/app/x%20y?a=1&b", "path": "/app/x y", "raw_path": b"/app/x%20y", "query_string": b"a=1&b", "mount": "/app/{name}",
        "params": {"name": "x y"}, "peer": Peer("192.0.2.7", 50123), "local": Peer("192.0.2.1", 8080), **values,
    }  # fmt: skip
    return Handshake(headers=Headers([(b"host", b"www.example.org:8080"), *headers]), **chosen)


def environment(*headers: tuple[bytes, bytes], **values: Any) -> dict[str, str]:
    made = client_environment(handshake(*headers, **values), "id-1", "wsdaemon/1")
    return {name.decode(): value.decode("latin-1") for name, value in made.items()}


def test_all_variables_of_cgi() -> None:
    assert environment() == {
        "SERVER_SOFTWARE": "wsdaemon/1", "SERVER_NAME": "www.example.org", "SERVER_PORT": "8080", "SERVER_PROTOCOL": "HTTP/1.1",
        "GATEWAY_INTERFACE": "CGI/1.1", "REMOTE_ADDR": "192.0.2.7", "REMOTE_HOST": "192.0.2.7", "REMOTE_PORT": "50123",
        "REQUEST_METHOD": "GET", "REQUEST_URI": "/app/x%20y?a=1&b", "QUERY_STRING": "a=1&b", "SCRIPT_NAME": "/app/x y", "PATH_INFO": "",
        "PATH_TRANSLATED": "/app/x y", "UNIQUE_ID": "id-1", "AUTH_TYPE": "", "CONTENT_LENGTH": "", "CONTENT_TYPE": "", "REMOTE_IDENT": "",
        "REMOTE_USER": "", "PARAM_NAME": "x y", "HTTP_HOST": "www.example.org:8080",
    }  # fmt: skip


def test_https() -> None:
    assert "HTTPS" not in environment()
    assert environment(secure=True)["HTTPS"] == "on"


def test_a_mount_with_a_rest() -> None:
    made = environment(mount="/app/{rest...}", path="/app/a/b", params={"rest": "a/b"})
    assert (made["SCRIPT_NAME"], made["PATH_INFO"]) == ("/app", "/a/b")
    made = environment(mount="/app/{rest...}", path="/app", params={"rest": ""})
    assert (made["SCRIPT_NAME"], made["PATH_INFO"]) == ("/app", "")


def test_headers() -> None:
    made = environment((b"x-one", b"1"), (b"X-One", b"2"), (b"user-agent", b"\xe4"))
    assert made["HTTP_X_ONE"] == "1, 2"
    assert made["HTTP_USER_AGENT"] == "\xe4"


def test_the_header_proxy_is_left_out_because_programs_take_it_for_their_own_setting() -> None:
    assert "HTTP_PROXY" not in environment((b"proxy", b"http://evil.example"))


def test_a_header_cannot_take_the_place_of_another() -> None:
    made = environment((b"x-forwarded-for", b"192.0.2.1"), (b"x_forwarded_for", b"203.0.113.9"), (b"x.y", b"1"))
    assert made["HTTP_X_FORWARDED_FOR"] == "192.0.2.1"
    assert not [name for name in made if "." in name]


def test_the_user_and_no_credentials_that_the_daemon_has_checked() -> None:
    made = environment((b"authorization", b"Basic eA=="), identity=Identity("ada", "basic:staff"))
    assert (made["REMOTE_USER"], made["AUTH_TYPE"]) == ("ada", "basic")
    assert "HTTP_AUTHORIZATION" not in made
    assert environment((b"authorization", b"Basic eA=="))["HTTP_AUTHORIZATION"] == "Basic eA=="


def test_no_value_has_a_newline() -> None:
    assert environment(path="/app/a\nb", params={"name": "a\nb"})["PARAM_NAME"] == "a b"


def test_the_server_s_name() -> None:
    def name(host: bytes, **values: Any) -> tuple[str, str]:
        made = client_environment(Handshake(target="/", path="/", raw_path=b"/", headers=Headers([(b"host", host)]), **values), "", "")
        return made[b"SERVER_NAME"].decode(), made[b"SERVER_PORT"].decode()

    assert name(b"example.org") == ("example.org", "80")
    assert name(b"example.org", secure=True) == ("example.org", "443")
    assert name(b"[::1]:81") == ("[::1]", "81")
    assert name(b"[::1]") == ("[::1]", "80")
    assert name(b"x", local=Peer("unix")) == ("x", "")


def test_of_the_daemon_s_own_environment_path_alone() -> None:
    own = {"PATH": "/bin", "SECRET": "x", "LANG": "de"}
    assert base_environment({}, own) == {b"PATH": b"/bin"}
    assert base_environment({"LANG": None, "MISSING": None, "MODE": "1"}, own) == {b"PATH": b"/bin", b"LANG": b"de", b"MODE": b"1"}
    assert base_environment({"PATH": "/usr/bin"}, own) == {b"PATH": b"/usr/bin"}
