"""settings/target_tls.py: bridge and proxy have the same keys, at the end, and refuse half of a client certificate."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsdaemon.settings.bridge import BridgeOptions
from wsdaemon.settings.proxy import ProxyOptions
from wsdaemon.settings.schema import keys_of
from wsdaemon.settings.target_tls import TargetTlsOptions

both = pytest.mark.parametrize("options", [BridgeOptions, ProxyOptions])


@both
def test_the_keys_stand_behind_those_of_the_app(options: type[TargetTlsOptions]) -> None:
    names = list(keys_of(TargetTlsOptions))
    assert names == ["target_ca", "target_name", "target_certificate", "target_key"]
    assert list(keys_of(options))[-4:] == names and next(iter(keys_of(options))) == "target"


@both
@pytest.mark.parametrize("given", ["target_certificate", "target_key"])
def test_half_of_a_client_certificate_is_a_conflict(options: type[TargetTlsOptions], given: str) -> None:
    keys = ("target_certificate", "target_key")
    assert keys in [where for where, _ in options(**{given: Path("x")}).conflicts()]  # type: ignore[arg-type]
    assert keys not in [where for where, _ in options(target_certificate=Path("x"), target_key=Path("y")).conflicts()]
