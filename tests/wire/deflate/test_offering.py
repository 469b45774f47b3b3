"""The client's side of the negotiation: each offer is one that our own server understands, and each answer is checked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsdaemon.wire.deflate.compressor import DeflateBudget
from wsdaemon.wire.deflate.negotiation import DeflateOptions, negotiate
from wsdaemon.wire.deflate.offering import NO_THRESHOLD, BadAnswer, agreed, offer
from wsdaemon.wire.deflate.streams import Deflate

bits = st.integers(9, 15)
options = st.builds(
    DeflateOptions, window_bits=bits, memory_level=st.integers(1, 9), threshold=st.integers(0, 100),
    server_context_takeover=st.booleans(), client_context_takeover=st.booleans(),
)  # fmt: skip


@given(options, options, st.lists(st.binary(max_size=3000), min_size=1, max_size=4))
def test_both_sides_agree_and_understand_each_other(ours: DeflateOptions, theirs: DeflateOptions, messages: list[bytes]) -> None:
    found = negotiate(offer(ours), theirs)
    assert found is not None
    at_server, answer = found
    at_client = agreed(answer, ours)
    assert at_client is not None
    server, client = Deflate.server(at_server, DeflateBudget()), Deflate.client(at_client, DeflateBudget())
    for message in messages * 2:
        assert client.inflate(server.deflate(message)) == message
        assert server.inflate(client.deflate(message)) == message


def test_no_answer_is_no_compression() -> None:
    assert agreed("", DeflateOptions()) is None


@pytest.mark.parametrize(
    "answer",
    [
        "permessage-bzip2", "permessage-deflate, permessage-deflate", "permessage-deflate; unknown",
        "permessage-deflate; server_max_window_bits", "permessage-deflate; client_max_window_bits",
        "permessage-deflate; server_max_window_bits=16", "permessage-deflate; server_max_window_bits=7",
        "permessage-deflate; server_max_window_bits=09", "permessage-deflate; server_no_context_takeover=1",
        "permessage-deflate; client_no_context_takeover; client_no_context_takeover", "permessage deflate", "x-webkit-deflate-frame",
    ],
)  # fmt: skip
def test_answers_to_no_offer_of_ours(answer: str) -> None:
    with pytest.raises(BadAnswer):
        agreed(answer, DeflateOptions())


def test_a_window_of_eight_bits_means_that_we_do_not_compress() -> None:
    found = agreed("permessage-deflate; client_max_window_bits=8; server_max_window_bits=8", DeflateOptions(threshold=1))
    assert found is not None
    assert found.threshold == NO_THRESHOLD
