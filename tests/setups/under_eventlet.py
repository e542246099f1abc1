"""The application under eventlet's own server: `python -m tests.setups.under_eventlet PORT`.

gunicorn 27 has no worker for eventlet any more; Flask-SocketIO's documentation still names it.
"""

from __future__ import annotations

import eventlet

eventlet.monkey_patch()

import sys  # noqa: E402 - whatever is imported before is not patched

import eventlet.wsgi  # noqa: E402

from tests.setups.site import create_app  # noqa: E402

if __name__ == "__main__":
    app = create_app()
    listening = eventlet.listen(("127.0.0.1", int(sys.argv[1])))
    eventlet.wsgi.server(listening, app, log_output=False)
