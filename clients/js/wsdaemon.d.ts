/** A WebSocket client that stays connected, for browsers and Node.js. docs/javascript.md explains it. */

/** A number and a unit: `"500ms"`, `"10s"`, `"2m"`, `"1h"`. */
export type Duration = `${number}${"ms" | "s" | "m" | "h"}`;

/** `closing` and `closed` follow close(), and `closed` a final failure, too. */
export type ClientState = "connecting" | "open" | "away" | "closing" | "closed";

/** Text is a string, and binary is bytes. */
export type Message = string | Uint8Array;

export type ErrorName = "ConnectFailed" | "ConnectionClosed" | "ClientClosed" | "QueueFull" | "RoomError" | "Uncertain";

/** A failure. Its fields depend on its name. */
export class ClientError extends Error {
  constructor(name: ErrorName, fields?: object);
  readonly name: ErrorName;
  /** Whether the client does not connect again. */
  readonly final?: boolean;
  /** Of ConnectionClosed the close code, of RoomError the code of the daemon (docs/rooms.md). */
  readonly code?: number | string;
  readonly reason?: string;
  /** Of RoomError: the seconds to wait if the code is `rate_limited`. */
  readonly retryAfter?: number;
  /** Of Uncertain, and of the RoomError of a publication: its key, with which it may be repeated after the code `unavailable`. */
  readonly key?: string;
  /** Of Uncertain: the data of the publication, as it was sent. */
  readonly data?: string;
}

export interface ClientOptions {
  /** After each opening, the first and later ones. */
  onOpen?: (client: WebSocketClient) => void;
  /** Each message, unless the client uses rooms. */
  onMessage?: (client: WebSocketClient, message: Message) => void;
  /** An open connection is over. 1006: without a Close frame. */
  onClose?: (client: WebSocketClient, code: number, reason: string) => void;
  /** Before the client waits `delay` seconds to connect again. */
  onReconnect?: (client: WebSocketClient, attempt: number, delay: number) => void;
  /** A failed attempt; with `error.final`, the end of the client. */
  onError?: (client: WebSocketClient, error: ClientError) => void;
  /** The range of the delays. Default `"1s-60s"`. */
  reconnect?: "off" | `${Duration}-${Duration}`;
  /** The longest time of an attempt, the token function included. Default `"10s"`. */
  connectTimeout?: Duration;
  /** The server's part of the closing handshake. Default `"5s"`. */
  closeTimeout?: Duration;
  /** A text that the server answers with any message: the client sends it every `pingInterval`. With rooms the client has its own. */
  pingMessage?: string;
  /** Default `"25s"`. Longer than `pingTimeout`. */
  pingInterval?: Duration;
  /** How long the server may take to answer `pingMessage`. Default `"10s"`. */
  pingTimeout?: Duration;
  /** When the queue is full, `refuse`, the default, makes `send()` throw QueueFull. */
  queue?: "refuse" | "drop_oldest";
  /** Default 1000. */
  queueMessages?: number;
  /** Default 4 MiB. A character of a text counts as one. `send()` refuses a larger message. */
  queueBytes?: number;
  /** The subprotocols that the client offers. */
  subprotocols?: string | string[];
  /** The token, or a function that is asked for it before each attempt. */
  token?: string | (() => string | undefined | Promise<string | undefined>);
  /** Where the token is sent, as in the key `token_from` of an [auth:...] section. Default `"subprotocol:bearer."`. */
  tokenFrom?: `subprotocol:${string}` | `query:${string}`;
  /** Whether the client connects again while the page is hidden. Default false. */
  whileHidden?: boolean;
  /** A class to use in place of the global WebSocket. */
  WebSocket?: unknown;
}

export interface WebSocketClient extends ClientOptions {}

/** A client that connects at once, and again whenever its connection is lost, until `close()`, or until a failure is final. */
export class WebSocketClient {
  /** A TypeError if the URL or an option has no meaning. A URL may be relative to the page, and its scheme http or https. */
  constructor(url: string | URL, options?: ClientOptions);
  readonly state: ClientState;
  /** The socket of this connection or attempt; null while the client is away. */
  readonly socket: WebSocket | null;
  /** Messages that a full queue has dropped. */
  readonly dropped: number;
  /** Send a message, now or after the next opening. QueueFull, also for a message larger than `queueBytes`; ClientClosed; TypeError for a value without a size. */
  send(message: string | ArrayBuffer | ArrayBufferView | Blob): void;
  /** A room of the daemon's mount; the same object each time. */
  room(name: string): Room;
  /** End the client for good. */
  close(code?: number, reason?: string): void;
}

/** A place in the order of a room. */
export interface Position {
  epoch: string;
  offset: number;
}

export interface Member {
  id: string;
  identity: { name: string; method: string } | null;
}

export interface RoomMessage extends Position {
  room: string;
  /** Seconds since 1970. */
  time: number;
  /** The id of a member; null for the server itself. */
  publisher: string | null;
  data: Message;
}

/** Messages of the room were lost for this subscription, which goes on after `offset` of `epoch`. */
export interface RoomGap extends Position {
  room: string;
}

export interface SubscribeOptions {
  /** The position of the last message that the program knows. */
  since?: Position;
  /** Keep `room.members` up to date. */
  presence?: boolean;
  onGap?: (gap: RoomGap) => void;
  /** With `presence`. */
  onJoined?: (member: Member) => void;
  /** With `presence`. */
  onLeft?: (member: Member) => void;
  /** The room has let the client in, at first and after each loss. */
  onEntered?: (room: Room) => void;
  /** The room refuses for good, or the client has ended. */
  onEnd?: (error: ClientError) => void;
}

/** The answer to a publication. `dropped`: the mount's policy dropped the message, and there is no position. */
export interface Published extends Partial<Position> {
  room: string;
  /** The room had the message already, from an earlier attempt with the same key. */
  duplicate?: boolean;
  dropped?: boolean;
}

export interface Past extends Position {
  /** The offset of the oldest message that the room keeps. */
  first: number;
  messages: RoomMessage[];
  gap?: boolean;
  more?: boolean;
}

export interface Present {
  count: number;
  members: Member[];
}

/** The position is that of the last message: before `subscribe()` and the first entry `""` and 0. */
export interface Room extends Position {
  readonly name: string;
  /** The client's own id, once it is in the room. */
  readonly member?: string;
  readonly members: Map<string, Member>;
  /** Enter the room, and stay in it over all connections: each message comes once, in order, or `onGap` says that some were lost. RoomError, ClientClosed. */
  subscribe(onMessage: (message: RoomMessage) => void, options?: SubscribeOptions): Room;
  unsubscribe(): void;
  /** Publish a message. The promise has the room's answer; RoomError, QueueFull, Uncertain. */
  publish(data: string | ArrayBuffer | Uint8Array, options?: { key?: string; echo?: boolean }): Promise<Published>;
  /** Ask the room: the requests of docs/rooms.md. RoomError, QueueFull. */
  ask(type: "history", fields?: { since?: Position; limit?: number; reverse?: boolean }): Promise<Past>;
  ask(type: "presence", fields?: { limit?: number }): Promise<Present>;
}
