"""daemon/memory_files.py: content of any length in a memory file."""

from __future__ import annotations

import os

import pytest

from wsdaemon.daemon.memory_files import read_memory, write_memory


@pytest.mark.parametrize("content", [b"", b"x", b"0123456789" * 300_000])
def test_content_is_read_as_it_was_written(content: bytes) -> None:
    descriptor = write_memory(content)
    try:
        assert read_memory(descriptor) == content == read_memory(descriptor)
        assert not os.get_inheritable(descriptor)
    finally:
        os.close(descriptor)
