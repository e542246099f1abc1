"""Sessions that hold, and CSRF protection that stays out of the way, for Flask."""

from __future__ import annotations

from .csrf import CSRFError, CSRFProtect
from .exceptions import (
    HoldfastError,
    LoginRefused,
    SessionLimitReached,
    SessionTooLarge,
    SessionValueError,
    SettingError,
    StoreUnavailable,
)
from .extension import Holdfast, require_durable_session, session_passive
from .sessions.interface import SessionInterface
from .sessions.manager import SessionInfo, SessionManager, SessionPage
from .sessions.session import Session

__all__ = [
    "CSRFError",
    "CSRFProtect",
    "Holdfast",
    "HoldfastError",
    "LoginRefused",
    "Session",
    "SessionInfo",
    "SessionInterface",
    "SessionLimitReached",
    "SessionManager",
    "SessionPage",
    "SessionTooLarge",
    "SessionValueError",
    "SettingError",
    "StoreUnavailable",
    "__version__",
    "require_durable_session",
    "session_passive",
]

__version__ = "0.1.0"
