"""The findings of `doctor`, and the lines that mend them in each program."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field


class Verdict(enum.StrEnum):
    """How a check ended."""

    GOOD = "good"
    NOTE = "note"
    """Nothing is wrong, or the check could not be made."""
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class CheckFinding:
    """One finding. `fix` has the very lines to change, by the file that they belong to."""

    check: str
    verdict: Verdict
    text: str
    fix: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, object] = field(default_factory=dict)
    """Measured values, for JSON."""

    def as_json(self) -> dict[str, object]:
        """The finding as JSON has it."""
        return {
            "check": self.check, "verdict": self.verdict.value, "text": self.text, "fix": dict(self.fix), "values": dict(self.values)
        }  # fmt: skip


UPGRADE_FIX = {
    "nginx": 'proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade";',
    "haproxy": "remove `http-request del-header upgrade` and `option httpclose`; HAProxy passes upgrades by itself",
}

FORWARDED_FIX = {
    "nginx": "proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header Forwarded '';",
    "haproxy": "http-request set-header X-Forwarded-For %[src]",
    "ws.ini": "trusted_proxies = the addresses of your proxies, and no others",
}

SMUGGLED_FIX = {
    "nginx": "ignore_invalid_headers on; and a version of nginx that is not older than 1.21.1",
    "haproxy": "no option accept-invalid-http-request",
}

TUNNEL_FIX = {
    "nginx": 'if ($http_sec_websocket_version !~ "^(13)?$") { return 426; }',
    "haproxy": "http-request deny deny_status 426 if { req.hdr(Upgrade) -m found } !{ req.hdr(Sec-WebSocket-Version) 13 }",
    "varnish": 'if (req.http.Upgrade && req.http.Sec-WebSocket-Version != "13") { return (synth(426)); }',
    "your own proxy": "open the tunnel when the daemon has answered 101, and not before",
}


def idle_fix(seconds: float) -> dict[str, str]:
    """The lines for a proxy that cuts idle connections after `seconds`."""
    wanted = max(1, int(seconds * 0.4))
    return {
        "ws.ini": f"ping_interval = {wanted}s",
        "nginx": "proxy_read_timeout 1h; proxy_send_timeout 1h;",
        "haproxy": "timeout tunnel 1h",
    }


TLS_VERSIONS_FIX = {
    "nginx": "ssl_protocols TLSv1.2 TLSv1.3;",
    "haproxy": "ssl-default-bind-options ssl-min-ver TLSv1.2",
}

CERTIFICATE_FIX = {
    "nginx": "ssl_certificate /path/fullchain.pem;",
    "haproxy": "bind :443 ssl crt /path/fullchain-and-key.pem",
    "ws.ini": "tls_certificate = /path/fullchain.pem",
}

COMPRESSION_FIX = {"ws.ini": "compression = on"}
