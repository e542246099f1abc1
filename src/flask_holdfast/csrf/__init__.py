"""Protection against cross-site request forgery. `protect` holds what an app installs."""

from __future__ import annotations

from .protect import CSRFError, CSRFProtect
from .reasons import Reason

__all__ = ["CSRFError", "CSRFProtect", "Reason"]
