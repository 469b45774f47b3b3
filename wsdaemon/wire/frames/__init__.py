"""The frame reader and the makers of frames: the C module `_frames`, its twin in Python, and the choice between them."""

from .choice import COMPRESSED as COMPRESSED
from .choice import RSV1 as RSV1
from .choice import TEXT as TEXT
from .choice import Frames as Frames
from .choice import FramesUnavailable as FramesUnavailable
from .choice import Partial as Partial
from .choice import PlainHead as PlainHead
from .choice import load as load
from .choice import load_client as load_client
from .choice import longest_compressed as longest_compressed
