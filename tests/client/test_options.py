"""The typed options are the settings' keys."""

from __future__ import annotations

from tests.test_options import python_type
from wsdaemon.client.options import ClientOptions
from wsdaemon.settings.client import ClientSettings, ReconnectForm
from wsdaemon.settings.schema import keys_of


def test_an_editor_completes_every_option_of_a_client() -> None:
    keys = keys_of(ClientSettings)
    assert list(ClientOptions.__annotations__) == list(keys)
    for name, key in keys.items():
        written = ClientOptions.__annotations__[name].__forward_arg__
        if not isinstance(key.form, ReconnectForm):
            assert written.replace("'", '"') == python_type(key.form), name
