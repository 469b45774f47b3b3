"""faye-websocket, the npm package: its client compresses with the extension permessage-deflate of its own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.daemon import SECONDS, Daemon, environment, program

pytestmark = pytest.mark.live

INI = """\
[listener:web]
address = tcp:0:interface=127.0.0.1

[mount:/echo]
app = echo

[mount:/small]
app = echo
compression_window_bits = 9

[mount:/full]
app = echo
compression_window_bits = 15
"""

EXCHANGE = """\
const WebSocket = require('faye-websocket'), deflate = require('permessage-deflate');
const OFFERS = [[deflate], [deflate.configure({noContextTakeover: true})], [deflate.configure({maxWindowBits: 9})], []];
async function exchange(url, extensions) {
  const ws = new WebSocket.Client(url, [], {extensions}), got = [];
  let wake = () => {}, closed = null;
  ws.on('message', event => { got.push(event.data); wake(); });
  ws.on('close', event => { closed = event.code; wake(); });
  ws.on('open', () => wake());
  const until = async what => { while (!what() && closed === null) await new Promise(ok => wake = ok); };
  await until(() => ws.readyState === 1);
  for (let number = 0; number < 5 && closed === null; number++) {
    for (const size of [0, 1, 100, 5000, 70000]) {
      const message = `message ${number} `.repeat(size).slice(0, size);
      ws.send(message);
      await until(() => got.length);
      if (got.shift() !== message) throw new Error(`${url}: message ${number} of ${size} characters; closed: ${closed}`);
    }
  }
  ws.close(1000);
  await until(() => false);
  console.log(`${new URL(url).pathname} ${ws.headers['sec-websocket-extensions'] ? 'compressed' : 'plain'} ${closed}`);
}
(async () => {
  for (const path of ['echo', 'small', 'full']) for (const offer of OFFERS) await exchange(process.argv[1] + path, offer);
})().catch(error => { console.error(error); process.exit(1); });
"""


def test_faye_exchanges_many_messages_with_every_offer_of_compression(tmp_path: Path) -> None:
    packages = os.environ.get("WSDAEMON_FAYE", "")
    if not Path(packages, "permessage-deflate").is_dir():
        pytest.skip("faye-websocket is missing (npm packages faye-websocket and permessage-deflate; WSDAEMON_FAYE is their node_modules)")
    node = program("node", "Debian: nodejs")
    with Daemon(tmp_path, INI) as daemon:
        done = subprocess.run(
            [node, "-e", EXCHANGE, daemon.url("/")], env={**environment(tmp_path), "NODE_PATH": packages},
            capture_output=True, text=True, timeout=2 * SECONDS, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n") == [
        f"/{path} {how} 1000" for path in ("echo", "small", "full") for how in ("compressed",) * 3 + ("plain",)
    ] + [""]
