"""A WebSocket client that runs for ever: WebSocketClient, and its errors."""

from __future__ import annotations

from .client import WebSocketClient as WebSocketClient
from .errors import BadHandshake as BadHandshake
from .errors import BadRedirect as BadRedirect
from .errors import CertificateRejected as CertificateRejected
from .errors import ClientClosed as ClientClosed
from .errors import ClientError as ClientError
from .errors import ConnectFailed as ConnectFailed
from .errors import OpeningRefused as OpeningRefused
from .errors import QueueFull as QueueFull
from .life import ClientState as ClientState
from .rooms.room import ClientRoom as ClientRoom
from .rooms.rooms import ClientRooms as ClientRooms
from .rooms.subscription import RoomSubscription as RoomSubscription
from .rooms.values import Acknowledged as Acknowledged
from .rooms.values import Past as Past
from .rooms.values import Present as Present
from .rooms.values import RoomError as RoomError
from .rooms.values import RoomGap as RoomGap
from .rooms.values import RoomMember as RoomMember
from .rooms.values import RoomMessage as RoomMessage
from .rooms.values import Uncertain as Uncertain
