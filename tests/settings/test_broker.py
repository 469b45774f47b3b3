from __future__ import annotations

from pathlib import Path

import pytest

from wsdaemon.settings.broker import BrokerKind, RedisLayout, RedisUrl, RedisUrlForm
from wsdaemon.settings.ini import load
from wsdaemon.settings.problems import BadValue, SettingsError
from wsdaemon.settings.reference import effective

GOOD = [
    ("redis://host", RedisUrl(servers=(("host", 6379),))),
    ("redis://host:7000/3", RedisUrl(servers=(("host", 7000),), database=3)),
    ("redis://[::1]:7000", RedisUrl(servers=(("::1", 7000),))),
    ("rediss://ada@host", RedisUrl(tls=True, user="ada", servers=(("host", 6379),))),
    ("unix:///run/redis.sock", RedisUrl(servers=(), path="/run/redis.sock")),
    ("unix://ada@/run/redis.sock?db=2", RedisUrl(user="ada", servers=(), path="/run/redis.sock", database=2)),
    (
        "redis+sentinel://a,b:1,c/main",
        RedisUrl(RedisLayout.SENTINEL, servers=(("a", 26379), ("b", 1), ("c", 26379)), master="main"),
    ),
    ("rediss+sentinel://a/main/2", RedisUrl(RedisLayout.SENTINEL, tls=True, servers=(("a", 26379),), master="main", database=2)),
    ("redis+cluster://a,b:7001", RedisUrl(RedisLayout.CLUSTER, servers=(("a", 6379), ("b", 7001)))),
]


@pytest.mark.parametrize(("text", "expected"), GOOD, ids=lambda value: value if isinstance(value, str) else "")
def test_a_url(text: str, expected: RedisUrl) -> None:
    form = RedisUrlForm()
    assert form.parse(text) == expected
    assert form.parse(str(expected)) == expected
    assert form.convert(expected) == expected


@pytest.mark.parametrize(
    "text",
    [
        "", "host", "host:6379", "http://host", "redis://", "redis://a,b", "redis://host/x", "redis://host/1/2", "redis://host:0",
        "redis://host:99999", "redis+cluster://a/1", "redis+sentinel://a", "redis+sentinel://a/main/x", "redis+other://a", "unix://relative",
        "unix:///a?x=1", "redis://@host", "redis://host?db=1", "unix+cluster:///a", "redis://ho st",
    ],
)  # fmt: skip
def test_what_is_no_url(text: str) -> None:
    with pytest.raises(BadValue):
        RedisUrlForm().parse(text)


@pytest.mark.parametrize("text", ["redis://:secret@host", "redis://ada:secret@host", "unix://a:secret@/run/x"])
def test_a_url_has_no_password(text: str) -> None:
    with pytest.raises(BadValue, match="password_file") as caught:
        RedisUrlForm().parse(text)
    assert "secret" not in str(caught.value)


INI = "[listener:web]\naddress = tcp:0\n[mount:/r]\napp = rooms\n[broker]\n"


def write(folder: Path, text: str) -> Path:
    (folder / "ws.ini").write_text(INI + text)
    (folder / "pw").write_text("hunter2\n")
    return folder / "ws.ini"


def test_one_line_is_enough(tmp_path: Path) -> None:
    settings = load(write(tmp_path, ""))
    assert settings.broker is not None
    assert settings.broker.kind is BrokerKind.REDIS
    assert str(settings.broker.url) == "redis://127.0.0.1:6379"


def test_the_effective_settings_have_no_password(tmp_path: Path) -> None:
    path = write(tmp_path, "url = rediss://ada@host/1\npassword_file = pw\nacknowledge = replica\nprefix = a:b\n")
    settings = load(path)
    assert settings.broker is not None
    assert settings.broker.password_file is not None
    assert settings.broker.password_file.reveal() == "hunter2"
    text = effective(settings)
    assert "hunter2" not in text
    assert "hunter2" not in repr(settings)
    path.write_text(text)
    assert load(path) == settings


def test_a_password_in_the_url_is_not_repeated_in_the_problem(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load(write(tmp_path, "url = redis://ada:hunter2@host\n"))
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("url = redis://ada@host", "expected password_file too"),
        ("tls_certificate = pw\nurl = rediss://host", "expected tls_key too"),
        ("tls_key = pw\nurl = rediss://host", "expected tls_certificate too"),
        ("tls_ca = pw", "expected a url that begins with rediss"),
        ("tls_certificate = pw\ntls_key = pw", "expected a url that begins with rediss"),
        ("sentinel_password_file = pw", "redis+sentinel"),
        ("prefix = a{b}", "up to 64 letters"),
        ("when_lost = kepe", "did you mean keep"),
        ("timeout = 0", "a duration"),
        ("timeout = 61s", "timeout = 61s: expected 60s at most"),
    ],
)
def test_problems(tmp_path: Path, lines: str, expected: str) -> None:
    with pytest.raises(SettingsError, match=expected.replace("+", r"\+")):
        load(write(tmp_path, lines + "\n"))
