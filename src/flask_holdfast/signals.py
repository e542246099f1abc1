"""What happens to sessions and forms, as blinker signals.

The sender is always the Flask application. Each handler gets the arguments named below
as keywords and should accept `**extra`, so that later versions can add some. No argument
ever carries a credential: a `session_id` is a name, not a key.
"""

from __future__ import annotations

from blinker import Namespace

_signals = Namespace()

#: A session was filed in the store. Arguments: `session_id`, `user_id` (None if anonymous).
session_created = _signals.signal("session-created")

#: A session that a browser knew got a new id; the old one is dead. Arguments: `session_id`,
#: `previous_id`, `user_id`, `reason` ("login", "logout", "rotated").
session_rotated = _signals.signal("session-rotated")

#: A session was ended on purpose. Arguments: `session_id`, `user_id` (None if anonymous, or
#: not known while the store is away), `reason` ("logout": its own person; "revoked": somebody
#: else, or its person from elsewhere; "evicted": a login of the same user beyond
#: SESSION_MAX_PER_USER took its place), `by` (who did it, or None).
#: Where everyone's sessions were ended it is sent once, with `session_id` None.
session_revoked = _signals.signal("session-revoked")

#: A record was found to have outlived its time, at least once for each. Arguments:
#: `session_id`, `reason` ("idle" or "absolute").
session_expired = _signals.signal("session-expired")

#: Another request changed the same session first; the changes were merged.
#: Arguments: `session_id`, `attempts`, and tuples of top-level keys: `keys` (what this request
#: wrote), `overwritten` (of these, what the other had changed too, and lost),
#: `recomputed` (updated by `session.change`, worked out again on what the other left).
session_conflict = _signals.signal("session-conflict")

#: A request wanted to write to a session that had ended; the write was dropped.
#: Arguments: `session_id`, `reason`: why it had ended ("logout", "revoked", "rotated",
#: "evicted", "idle", "absolute", or "expired" where that is all that is known), "unavailable"
#: while the store is away, "refused" for a login whose user's sessions were all ended
#: meanwhile (see `LoginRefused`), "full" for a login beyond SESSION_MAX_PER_USER.
session_gone = _signals.signal("session-gone")

#: A secret came back that had been renewed, after its end: an old copy of the cookie. Told once
#: for each client by each process. Arguments: `session_id`, `user_id` (None if anonymous).
secret_replayed = _signals.signal("secret-replayed")

#: The genuine cookies of two sessions came under one `__Host-` name: one was planted, or
#: SESSION_COOKIE_PARTITIONED was switched on or off. Or several remember cookies in one request are
#: good. Told once for each client by each process. Arguments: `session_id` (the session that
#: counts, None if none does), `session_ids` (all of them).
duplicate_cookies = _signals.signal("duplicate-cookies")

#: A signed-in session came from another client than the one it is bound to; told once for
#: each client by each process. Arguments: `session_id`, `user_id`, `change` ("network", "client",
#: or "file" for a player or download manager of the same platform), `action` ("log", "challenge",
#: "revoke", or "file": it is given files alone). Sent too where a remember cookie came from
#: another client: `session_id` is then the cookie's former session, and `action` is "refused", or
#: "replaced" where the cookie began another session in its place.
client_changed = _signals.signal("client-changed")

#: The breaker before the store changed. Arguments: `state` ("closed": all is well, "open": the
#: store is away and left alone, "half-open": one request asks it), `previous`, `available` (whether
#: it is closed now), `trouble` (one word for why it opened: "refused", "timeout", ...). Sent by
#: each process for itself. `SessionInterface` alone has no breaker: it sends "open" with the first
#: request that could not ask the store, and "closed" with the first that could again.
store_changed = _signals.signal("store-changed")

#: A request was refused by CSRF protection. Arguments: `reason`, `endpoint`, `method`,
#: `report_only` (True with CSRF_REPORT_ONLY: it was let through). For the handshake of a
#: WebSocket `endpoint` is None and `method` "WEBSOCKET".
csrf_refused = _signals.signal("csrf-refused")
