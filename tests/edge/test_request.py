"""edge/request.py: the strict request head. The refused requests matter as much as the good ones."""

from __future__ import annotations

import pytest

from tests.support.requests import BROWSER, outcome, read, request
from wsdaemon.edge.request import MAX_HEAD, MAX_HEADERS, MAX_LINE, BadRequest, HeadReader, find_end, parse_head, read_head


def refused(data: bytes, max_body: int = 0) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        HeadReader(max_body).feed(data)
    return caught.value


# -- what is read


def test_a_browsers_head() -> None:
    head = read(BROWSER)
    assert (head.method, head.target, head.version) == ("GET", "/chat/room-1?token=abc&x=1", "1.1")
    assert (head.path, head.raw_path, head.query_string) == ("/chat/room-1", b"/chat/room-1", b"token=abc&x=1")
    assert head.headers["user-agent"].startswith("Mozilla")
    assert head.headers.raw[0] == (b"host", b"ws.example.com:8080")
    assert head.raw == BROWSER
    assert head.content_length == 0


def test_bytes_after_the_head_are_kept() -> None:
    reader = HeadReader()
    head = reader.feed(BROWSER + b"\x81\x80abcd" + b"x" * 100_000)
    assert head is not None
    assert reader.rest == b"\x81\x80abcd" + b"x" * 100_000
    assert head.raw == BROWSER


def test_order_and_duplicates_are_kept() -> None:
    head = read(request(b"X-B: 1", b"X-A: 2", b"x-b: 3"))
    assert head.headers.raw == ((b"host", b"a.example"), (b"x-b", b"1"), (b"x-a", b"2"), (b"x-b", b"3"))


def test_white_space_around_a_value_goes_and_inside_stays() -> None:
    head = read(request(b"A:\t  b \t c  \t", b"Empty:", b"Blank:  "))
    assert (head.headers["a"], head.headers["empty"], head.headers["blank"]) == ("b \t c", "", "")


def test_one_empty_line_before_the_request_is_ignored() -> None:
    head = read(b"\r\n" + BROWSER)
    assert head.raw == BROWSER
    assert refused(b"\r\n\r\n" + BROWSER).reason == "request_line"


def test_find_end() -> None:
    assert find_end(BROWSER) == len(BROWSER)
    assert find_end(BROWSER[:-1]) == -1
    assert find_end(b"x\r\n\r\ny") == 5
    assert find_end(b"\r\n\r\n", 1) == -1


def test_parse_head_is_the_reader_without_cuts() -> None:
    assert parse_head(BROWSER) == read(BROWSER)


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/", "/", b""),
        (b"/a%20b/%C3%A5", "/a b/å", b""),
        (b"/a?b?c", "/a", b"b?c"),
        (b"/a?", "/a", b""),
        (b"/a^b|[c]?d", "/a^b|[c]", b"d"),
        (b'/a?x=100%&y={1}|[2]^`\\"<>', "/a", b'x=100%&y={1}|[2]^`\\"<>'),
        (b"/a/../b", "/a/../b", b""),
        (b"/a/%2e%2e/b", "/a/../b", b""),
        (b"//other.example/x", "//other.example/x", b""),
        (b"/a;b=c,d:e@f!$&'()*+|[]~", "/a;b=c,d:e@f!$&'()*+|[]~", b""),
        (b"http://a.example/x?y", "/x", b"y"),
        (b"WS://A.EXAMPLE/x", "/x", b""),
        (b"http://a.example", "/", b""),
        (b"http://a.example?y", "/", b"y"),
    ],
)
def test_targets(target: bytes, path: str, query: bytes) -> None:
    head = read(request(line=b"GET " + target + b" HTTP/1.1"))
    assert (head.path, head.query_string, head.target) == (path, query, target.decode())


def test_asterisk_is_for_options() -> None:
    assert read(request(line=b"OPTIONS * HTTP/1.1")).path == "*"
    assert refused(request(line=b"GET * HTTP/1.1")).reason == "target"


@pytest.mark.parametrize("host", [b"a", b"a.b:80", b"127.0.0.1:8080", b"[::1]:8080", b"[2001:db8::1]", b"a_b.example:", b"a.example."])
def test_hosts(host: bytes) -> None:
    assert read(request(host=b"Host: " + host)).headers["host"] == host.decode()


# -- what is refused


@pytest.mark.parametrize("character", ["\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\r", "\n", "\0", "\x7f", "\x01"])
def test_no_control_character_begins_a_new_header(character: str) -> None:
    """Autobahn's `splitlines()` makes a header of what follows each of these."""
    assert refused(request(b"X: a" + character.encode() + b"Origin: https://evil.example")).reason == "bytes"
    assert refused(request(b"X" + character.encode() + b"Origin: a")).status == 400


@pytest.mark.parametrize("separator", [b"\x85", b"\xc2\x85", b"\xe5\x85"])
def test_next_line_begins_no_new_header(separator: bytes) -> None:
    """Byte 0x85 is a line end to `splitlines()` in ISO-8859-1, U+0085 in any encoding."""
    assert refused(request(b"X: a" + separator + b"Origin: https://evil.example")).reason == "bytes"


def test_byte_0x85_inside_a_character_of_utf_8_is_fine() -> None:
    assert read(request("X: Å".encode())).headers["x"].encode("latin-1") == "Å".encode()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"X-Forwarded-For : 10.0.0.1", "header"),
        (b"X-Forwarded-For\t: 10.0.0.1", "header"),
        (b" folded", "obs_fold"),
        (b"\tfolded", "obs_fold"),
        (b"no colon", "header"),
        (b": no name", "header"),
        (b"a b: c", "header"),
        (b"a(b): c", "header"),
        ("å: c".encode(), "header"),
        (b'"a": c', "header"),
    ],
)
def test_a_line_that_is_no_header(line: bytes, reason: str) -> None:
    error = refused(request(b"A: b", line, b"C: d"))
    assert (error.status, error.reason) == (400, reason)
    assert refused(b"GET / HTTP/1.1\r\n" + line + b"\r\nHost: a\r\n\r\n").reason == reason


@pytest.mark.parametrize(
    "line",
    [
        b"GET /",
        b"GET  / HTTP/1.1",
        b"GET / HTTP/1.1 ",
        b" GET / HTTP/1.1",
        b"GET\t/ HTTP/1.1",
        b"GET / http/1.1",
        b"GET / HTTP/1",
        b"GET / HTTP/11.1",
        b"G(T / HTTP/1.1",
        b"GET / x HTTP/1.1",
        b"/ HTTP/1.1",
        b"GET /\xc3\xa5 HTTP/1.1",
        b"",
        b"GET / HTTP/1.1\x0b",
        b"GET / FTP/1.1",
    ],
)
def test_a_line_that_is_no_request_line(line: bytes) -> None:
    assert refused(request(line=line)).status == 400


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        (b"/a#b", "target"),
        (b"a", "target"),
        (b"a.example:80", "target"),
        (b"ftp://a.example/", "target"),
        (b"http:///x", "target"),
        (b"http://other.example/x", "target"),
        (b"http://a.example:81/x", "target"),
        (b"http://user@a.example/x", "target"),
        (b"/%", "path"),
        (b"/%4", "path"),
        (b"/%gg", "path"),
        (b"/%ff", "path"),
        (b"/%c3", "path"),
        (b"/%c0%af", "path"),
        (b"/%00", "path"),
        (b"/%0d%0aSet-Cookie:x", "path"),
        (b"/%c2%85", "path"),
        (b"/a\\b", "path"),
        (b"/<a>", "path"),
        (b'/"', "path"),
        (b"/{a}", "path"),
    ],
)
def test_a_target_that_is_refused(target: bytes, reason: str) -> None:
    error = refused(request(line=b"GET " + target + b" HTTP/1.1"))
    assert (error.status, error.reason) == (400, reason)


@pytest.mark.parametrize(
    "host",
    [
        b"Host:",
        b"Host: a b",
        b"Host: a/b",
        b"Host: a,b",
        b"Host: user@a",
        b"Host: a:b",
        b"Host: a:99999",
        b"Host: [::1",
        b"Host: [a]b",
        b"Host: a%00",
        b"Host: a\r\nHost: a",
        b"Host: a\r\nhost: b",
        None,
    ],
)
def test_host_is_there_once_and_well_formed(host: bytes | None) -> None:
    error = refused(request(host=host))
    assert (error.status, error.reason) == (400, "host")


@pytest.mark.parametrize("version", [b"1.0", b"0.9", b"1.2", b"2.0", b"3.0"])
def test_other_versions_get_505(version: bytes) -> None:
    error = refused(request(line=b"GET / HTTP/" + version))
    assert (error.status, error.reason) == (505, "version")


def test_other_protocols_are_named() -> None:
    assert "TLS" in refused(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").detail
    assert "HTTP/2" in refused(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").detail
    assert "PROXY" in refused(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n").detail
    assert "PROXY" in refused(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" + BROWSER).detail
    assert "PROXY" in refused(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c").detail
    assert refused(b"SSH-2.0-OpenSSH_9.6\r\n\r\n").status == 400


@pytest.mark.parametrize(
    "lines",
    [
        [b"Transfer-Encoding: chunked"],
        [b"Transfer-Encoding: identity"],
        [b"Transfer-Encoding:"],
        [b"transfer-encoding: x"],
        [b"Content-Length: 1"],
        [b"Content-Length: 0", b"Content-Length: 0"],
        [b"Content-Length: 0, 0"],
        [b"Content-Length: +0"],
        [b"Content-Length: -1"],
        [b"Content-Length:"],
        [b"Content-Length: 0x0"],
        [b"Content-Length: \xb2"],
        [b"Content-Length: 0", b"Transfer-Encoding: chunked"],
        [b"Content-Length: " + b"9" * 5000],
    ],
)
def test_no_body(lines: list[bytes]) -> None:
    error = refused(request(*lines))
    assert (error.status, error.reason) == (400, "body")


def test_an_empty_body_is_none() -> None:
    assert read(request(b"Content-Length: 0")).content_length == 0


def test_a_body_where_the_caller_takes_one() -> None:
    post = b"POST /publish HTTP/1.1"
    assert read(request(b"Content-Length: 100", line=post), 100).content_length == 100
    assert refused(request(b"Content-Length: 101", line=post), 100).status == 413
    assert refused(request(b"Transfer-Encoding: chunked", line=post), 100).status == 400


# -- sizes


def test_a_request_line_may_have_8_kib() -> None:
    line = b"GET /" + b"a" * (MAX_LINE - 14) + b" HTTP/1.1"
    assert len(line) == MAX_LINE
    assert read(request(line=line)).path.endswith("a")
    longer = line.replace(b"/a", b"/aa")
    assert refused(request(line=longer)).status == 414
    assert refused(longer + b"\r").status == 414
    assert refused(longer).status == 414


def test_a_line_without_end_is_refused_at_the_cap_and_not_later() -> None:
    reader = HeadReader()
    for _ in range(MAX_LINE // 64):
        assert reader.feed(b"G" * 64) is None
    assert reader.feed(b"\r") is None
    with pytest.raises(BadRequest) as caught:
        reader.feed(b"G")
    assert caught.value.status in (400, 414)


def test_a_head_may_have_16_kib() -> None:
    spare = MAX_HEAD - len(request(b"X: "))
    whole = request(b"X: " + b"a" * spare)
    assert len(whole) == MAX_HEAD
    assert read(whole).headers["x"] == "a" * spare
    assert read(b"\r\n" + whole).raw == whole
    assert refused(request(b"X: " + b"a" * (spare + 1))).status == 431
    assert refused(b"\r\n" + request(b"X: " + b"a" * (spare + 1))).status == 431


def test_a_head_without_end_is_refused_at_the_cap_and_not_later() -> None:
    reader = HeadReader()
    reader.feed(b"GET / HTTP/1.1\r\n")
    line = b"X: " + b"a" * 59 + b"\r\n"
    for _ in range((MAX_HEAD - 16) // len(line)):
        assert reader.feed(line) is None
    with pytest.raises(BadRequest) as caught:
        reader.feed(line)
    assert caught.value.status == 431
    assert refused(b"GET / HTTP/1.1\r\nX: " + b"a" * 1_000_000).status == 431


def test_a_head_may_have_100_headers() -> None:
    assert len(read(request(*[b"X: 1"] * (MAX_HEADERS - 1))).headers.raw) == MAX_HEADERS
    error = refused(request(*[b"X: 1"] * MAX_HEADERS))
    assert (error.status, error.reason) == (431, "header_count")


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\nHost: a\n\n", b"GET / HTTP/1.1\r\nHost: a\n", b"GET /\0", b"\x80\x01\x03\x01\0", b"GET / HTTP/1.1\rX"]
)
def test_what_cannot_be_mended_is_refused_before_the_end(data: bytes) -> None:
    assert refused(data).status == 400
    assert outcome([data[i : i + 1] for i in range(len(data))]) == 400


def test_a_refusal_repeats_nothing_of_the_request() -> None:
    for data in (request(b"secret stuff"), request(line=b"secret"), request(line=b"GET secret HTTP/1.1"), request(host=b"Host: /secret")):
        assert "secret" not in str(refused(data))


def test_chunks_are_taken_only_by_a_reader_that_says_so() -> None:
    head = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n"
    with pytest.raises(BadRequest):
        read_head(head, 1000)
    read = read_head(head + b"rest", 1000, True)
    assert read is not None and read[0].chunked and read[0].has_body and read[1] == b"rest"
    reader = HeadReader(1000, True)
    assert reader.feed(head[:20]) is None
    later = reader.feed(head[20:])
    assert later is not None and later.chunked
