"""daemon/bridges.py: from settings to a bridge, and the faults that --check finds."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
from trustme import CA

from wsdaemon.apps.bridge import BridgeApp
from wsdaemon.apps.loading import LoadError
from wsdaemon.daemon.apps import load_app
from wsdaemon.daemon.bridges import client_context
from wsdaemon.settings.build import build, section


def load(folder: Path, path: str = "/b", **options: Any) -> BridgeApp:
    settings = build([section("listener:a", address="tcp:0"), section(f"mount:{path}", app="bridge", **options)], "test", folder)
    made = load_app(settings.mounts[0], lambda connection, doing, error: None).app
    assert isinstance(made, BridgeApp)
    return made


def test_bridges(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text("a: h:1\n")
    assert load(tmp_path, target="tcp:h:1")._rules.dialing.context is None
    assert load(tmp_path, target="tls:h:1")._rules.dialing.context is not None
    assert load(tmp_path, tokens="tokens")._rules.tokens is not None
    assert load(tmp_path, "/b/{host}", target="tcp:{host}:1", allow_targets="*:1", send_proxy="v2")._rules.proxy_version == 2


@pytest.mark.parametrize(
    ("options", "key", "message"),
    [
        ({"target": "tcp:{host}:1", "allow_targets": "*:1"}, "target", "no parameter {host}"),
        ({"target": "tcp:h:1", "slow_client": "drop_oldest"}, "slow_client", "a stream may lose no bytes; expected close or wait"),
        ({"target": "tcp:h:1", "slow_client": "latest"}, "slow_client", "may lose no bytes"),
        ({"tokens": "nowhere"}, "tokens", "No such file"),
        ({"tokens": "bad"}, "tokens", "line 1"),
        ({"target": "tls:h:1", "target_ca": "nowhere"}, "target_ca", "cannot be read: No such file"),
        ({"target": "tls:h:1", "target_ca": "bad"}, "target_ca", "it cannot be used"),
        ({"target": "tls:h:1", "target_certificate": "bad", "target_key": "bad"}, "target_certificate", "it cannot be used"),
    ],
)
def test_files_and_parameters_that_are_not_there(tmp_path: Path, options: dict[str, str], key: str, message: str) -> None:
    (tmp_path / "bad").write_text("x\n")
    with pytest.raises(LoadError, match=message) as caught:
        load(tmp_path, **options)
    assert caught.value.key == key


def test_a_target_s_certificate_and_name_are_verified(tmp_path: Path) -> None:
    CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    context = client_context(tmp_path / "ca.pem", None, None)
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert len(context.get_ca_certs()) == 1
