"""x"""
from typing import Any
SUBPROTOCOL = "rooms.v1.json"
class Rooms:
    def __init__(self, c:Any)->None: ...
