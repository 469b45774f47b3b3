"""A proxy in front of WebSocket servers: `app = proxy`."""

from .app import ProxyApp as ProxyApp
from .app import ProxyRules as ProxyRules
from .balancer import Balancer as Balancer
from .contract import Answered as Answered
from .contract import TargetFailed as TargetFailed
from .contract import TargetRefused as TargetRefused
from .contract import Upstream as Upstream
from .contract import UpstreamSession as UpstreamSession
