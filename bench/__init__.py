"""Measures what sessions, CSRF protection and headers cost; run by `make bench`."""

from __future__ import annotations
