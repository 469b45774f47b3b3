"""Programs of any language as apps: `app = process`."""

from .app import ProcessApp as ProcessApp
from .app import ProcessRules as ProcessRules
from .shared import SharedApp as SharedApp
from .shared import SharedRules as SharedRules
