// ws on Node.js: PORT [--deflate] [--cert FILE --key FILE]; echo at every path but two, fan-out from /pub to /sub.
'use strict';
const { readFileSync } = require('fs');
const { WebSocketServer } = require('ws');

const BACKLOG = 4096;
const MAX_MESSAGE = 16 << 20;

const [port, ...words] = process.argv.slice(2);
const file = (option) => readFileSync(words[words.indexOf(option) + 1]);
const tls = words.includes('--cert');
const server = tls
  ? require('https').createServer({ cert: file('--cert'), key: file('--key') })
  : require('http').createServer();
const deflate = words.includes('--deflate') && { threshold: 0 };
const accepted = new WebSocketServer({ server, perMessageDeflate: deflate, maxPayload: MAX_MESSAGE });
const subscribers = new Set();

accepted.on('connection', (connection, request) => {
  connection.on('error', () => {}); // the load generator reports it
  if (request.url === '/sub') {
    subscribers.add(connection);
    connection.on('close', () => subscribers.delete(connection));
  } else if (request.url === '/pub') {
    connection.on('message', (data, binary) => subscribers.forEach((each) => each.send(data, { binary })));
  } else {
    connection.on('message', (data, binary) => connection.send(data, { binary }));
  }
});
server.listen({ port: Number(port), host: '127.0.0.1', backlog: BACKLOG });
