"""A refused form, filled again in the answer, so that nobody loses what they wrote.

A session ends while somebody writes. The form that they send then is refused, and comes back
with their text in it; they sign in in another tab and send it from there.

The danger: an attacker makes a victim's browser send the attacker's form. The answer would be a
page of ours, filled by the attacker, that the victim only has to confirm. So it takes two proofs.
The browser itself must say that the form came from our own origin (Sec-Fetch-Site or Origin; a
Referer is not enough). And something in the form must be authentic: the token, for the session that
the cookie names; or the author tag in the token, for the person who is signed in now; or the ticket
that an earlier answer of this kind put there.

A ticket says for whom the text was written. If somebody else is signed in when the form is sent,
they must confirm it before the view runs: what one person wrote is never sent in the name of
another unnoticed.

What was sent is in that one answer and nowhere else. Passwords, codes and files stay out of
it (`CSRF_REFILL_SKIP`), as does everything sent to a view under `@csrf.no_refill`.

Not protected: a script in our own origin, which could fill any form by itself.
"""

from __future__ import annotations

import hashlib
import re
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from typing import Any, TypeVar, cast
from weakref import WeakKeyDictionary

from flask import current_app, request
from itsdangerous import BadData

from .. import settings
from ..fetch_metadata import Proof
from . import minting, session_view, subject, token_settings, tokens, verifying
from .exemptions import Named
from .reasons import Reason

#: The fields that a filled form has beside the sender's own and the token.
TICKET = "csrf_refill"
CONFIRM = "csrf_refill_confirm"

#: The most that is shown again: bytes of text, and fields.
MAX_BYTES = 65_536
MAX_FIELDS = 500
#: Seconds for which a filled form may be left open, say over a weekend.
TICKET_LIFE = 7 * 86_400
#: Seconds for which a page may have been open when its form is refused because its session ended.
#: It is longer than a session may live: a shorter one would cost people what they typed.
TAG_LIFE = TICKET_LIFE
_MAX_TICKET = 1024

_FORMS = frozenset({"application/x-www-form-urlencoded", "multipart/form-data"})
#: The refusals after which the form may come back: its token, or something else in it, may be
#: genuine. A refusal at the gate is none of them.
_REFILLED = frozenset(
    {
        Reason.SESSION_EXPIRED,
        Reason.SESSION_MISSING,
        Reason.SUBJECT_CHANGED,
        Reason.TOKEN_EXPIRED,
        Reason.TOKEN_MISMATCH,
    }
)

_View = TypeVar("_View")
_kept_out: WeakKeyDictionary[Any, Named] = WeakKeyDictionary()


class FieldKind(Enum):
    LINE = "line"
    TEXT = "text"
    #: Not shown again, to be typed again.
    AGAIN = "again"
    FILE = "file"
    FILES = "files"


class NextStep(Enum):
    """What the person has to do before the form can be sent."""

    SIGN_IN = "sign in"
    CONFIRM = "confirm"
    SEND = "send"


@dataclass(frozen=True, slots=True)
class Field:
    name: str
    value: str
    kind: FieldKind


@dataclass(frozen=True, slots=True)
class Author:
    """The person for whom a text was written, as codes: nobody can read a name from them."""

    #: The author tag, for `subject.is_author`.
    tag: bytes
    #: The fingerprint of the session that it was written in, empty where unknown.
    session: str


@dataclass(frozen=True, slots=True)
class Refill:
    """A form for the same address: what the templates show."""

    fields: list[Field]
    enctype: str
    step: NextStep
    #: Of the author's session, see `Author`.
    session: str
    token: str
    token_field: str
    ticket: str
    ticket_field: str = TICKET
    confirm_field: str = CONFIRM


@dataclass(frozen=True, slots=True)
class _Ticket:
    author: Author
    #: The fingerprint of the user who was asked to confirm, empty where nobody was.
    asked: str


def keep_out(protection: object, view: _View) -> _View:
    """Never show again what was sent to `view` in an app under this protection.

    It is given as for `CSRFProtect.exempt`: itself, by its name, or a whole blueprint.
    """
    _kept_out.setdefault(protection, Named(set(), set())).add(view)
    return view


def offer(reason: Reason, proof: Proof | None) -> Refill | None:
    """The current request's form, filled again, or None. Asks the store."""
    if reason not in _REFILLED or proof is None or not proof.is_same_origin:
        return None
    if not _is_form() or _is_kept_out():
        return None
    subject.sign_in_remembered()
    author = _author(reason)
    if author is None:
        return None
    # One more than the limit shows that there are too many: a body may hold 250,000.
    fields = list(islice(_fields(), MAX_FIELDS + 1))
    if not _is_small(fields):
        return None
    user = subject.user_id()
    same = subject.is_author(author.tag)
    step = NextStep.SEND if same else NextStep.SIGN_IN if user is None else NextStep.CONFIRM
    return Refill(
        fields,
        request.mimetype,
        step,
        author.session,
        minting.issue(),
        token_settings.field_name(),
        _sealed(_Ticket(author, subject.fingerprint() if step is NextStep.CONFIRM else "")),
    )


def offer_unasked(proof: Proof | None) -> Refill | None:
    """The current request's form, filled again, while the session cannot be asked.

    Its token has to be authentic for the session that the cookie names. Whether that still
    stands, and whose it is, is found out when the form is sent once more.
    """
    if proof is None or not proof.is_same_origin or not _is_form() or _is_kept_out():
        return None
    sent = _ticket()
    token = verifying.form_token() or ""
    kind = verifying.kind_of(token)
    if kind is None and sent is None:
        return None
    fields = list(islice(_fields(), MAX_FIELDS + 1))
    if not _is_small(fields):
        return None
    ticket = sent
    if ticket is None and kind is tokens.PageKind.SIGNED_IN:
        ticket = _Ticket(Author(tokens.author_tag_in(token), ""), "")
    return Refill(
        fields,
        request.mimetype,
        NextStep.SEND,
        "",
        minting.issue(unasked=True),
        token_settings.field_name(),
        # A token that was minted without asking names no author. It is good for one session alone,
        # and a session of this package has only one user.
        _sealed(ticket) if ticket is not None else "",
    )


def objection() -> Reason | None:
    """Why a form that came back filled must not run its view yet, though its token is good.

    None for every other request. To be asked after a token in the form was found good, and before
    the view.
    """
    if TICKET not in request.form or not _may_be_by_page():  # most forms have none
        return None
    ticket = _ticket()
    if ticket is not None and subject.is_author(ticket.author.tag):
        return None
    if subject.user_id() is None:
        return Reason.SESSION_EXPIRED
    # A confirmation is bound to the user who was asked: a third person is asked again.
    asked = ticket is not None and ticket.asked == subject.fingerprint()
    return None if asked and request.form.get(CONFIRM) else Reason.SUBJECT_CHANGED


def is_form_of_ended_login() -> bool:
    """Whether this request is the form of a page whose person has been signed out meanwhile.

    Its token may be good all the same, if the page did not ask who was signed in.
    """
    return _is_form() and verifying.was_signed_out(verifying.form_token() or "")


def _is_form() -> bool:
    """Whether this is the form of a page, with its token in it."""
    names = token_settings.header_names()
    return _may_be_by_page() and not any(request.headers.get(name) for name in names)


def _may_be_by_page() -> bool:
    """Whether this is what a page can send without a script: nothing else (HTML, form submission)."""
    return request.method == "POST" and request.mimetype in _FORMS


def _is_kept_out() -> bool:
    app = current_app
    kept_out = _kept_out.get(app.extensions["csrf"])
    return kept_out is not None and kept_out.covers(
        request.endpoint, app.view_functions, app.blueprints
    )


def _author(reason: Reason) -> Author | None:
    """For whom the form was written, None unless something in it is authentic."""
    if (ticket := _ticket()) is not None:
        return ticket.author
    token = verifying.form_token() or ""
    if reason is Reason.SESSION_EXPIRED:
        return Author(tokens.author_tag_in(token), verifying.session_fingerprint(token))
    if reason is Reason.TOKEN_EXPIRED:
        # The session is the same, but perhaps not its user. A session that rotates at each login
        # has the same user. Otherwise the author tag tells it; a token of Flask-WTF's has none.
        same = session_view.current().rotates_at_login or len(token) != tokens.LENGTH
        return Author(
            subject.author_tag() if same else tokens.author_tag_in(token),
            verifying.session_fingerprint(token),
        )
    if reason is Reason.SUBJECT_CHANGED:
        # The token is good and the ticket is not: the author is unknown.
        return Author(tokens.author_tag_in(""), "")
    # The person has signed in again, under another session. Only this application can make an
    # author tag for them. (A tag for nobody proves nothing: an attacker can get any number of those.)
    # The rest of the token can no longer be checked, so the tag has an age of its own: a token that
    # leaked is not good forever.
    tag = tokens.author_tag_in(token)
    if subject.is_author(tag, within=TAG_LIFE) and subject.user_id() is not None:
        return Author(tag, "")
    return None


# -- what comes back ---------------------------------------------------------------------


def _fields() -> Iterator[Field]:
    sent_fields = cast("Iterator[tuple[str | None, str]]", request.form.items(multi=True))
    for name, value in sent_fields:
        if name is None or name in {TICKET, CONFIRM} or token_settings.is_token_field(name):
            continue  # without a name it came from no page of ours
        if _is_secret(name):
            yield Field(name, "", FieldKind.AGAIN)
        else:
            yield Field(name, value, FieldKind.TEXT if _is_long(value) else FieldKind.LINE)
    for name, sent in request.files.lists():
        if name is not None:
            yield Field(name, "", FieldKind.FILE if len(sent) == 1 else FieldKind.FILES)


def _is_long(value: str) -> bool:
    return len(value) > 80 or not value.isprintable()


def _is_small(fields: list[Field]) -> bool:
    size = sum(len((field.name + field.value).encode(errors="replace")) for field in fields)
    return size <= MAX_BYTES and len(fields) <= MAX_FIELDS


def _is_secret(name: str) -> bool:
    words = settings.get(current_app.config, "CSRF_REFILL_SKIP")
    affixes = tuple(word.lower() for word in words)
    # "userPin2" is "user" and "pin"; "shipping" and "opinion" hold no secret.
    parts = re.findall(r"[^\W\d_]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", name))
    return any(part.lower().startswith(affixes) or part.lower().endswith(affixes) for part in parts)


# -- the ticket --------------------------------------------------------------------------


def _sealed(ticket: _Ticket) -> str:
    tag = urlsafe_b64encode(ticket.author.tag).decode()
    sealed: str | bytes = _signer().dumps([tag, ticket.author.session, ticket.asked, _target()])
    return sealed if isinstance(sealed, str) else sealed.decode()


def _ticket() -> _Ticket | None:
    """The ticket in this request's form, None unless it is ours, young, and for this address."""
    sent = request.form.get(TICKET, "")
    if not sent or len(sent) > _MAX_TICKET or not sent.isascii():
        return None
    try:
        content, sealed_at = _signer().loads(sent, return_timestamp=True)
    except BadData:
        return None
    tag, session, asked, target = content
    # The clock of the host that sealed the ticket may be ahead of this one. itsdangerous with
    # `max_age` refuses a ticket from a second ahead.
    if abs(time.time() - sealed_at.timestamp()) > TICKET_LIFE or target != _target():
        return None
    return _Ticket(Author(urlsafe_b64decode(tag), session), asked)


def _signer() -> Any:
    return token_settings.serializer("flask-holdfast csrf refill", digest_method=hashlib.sha256)


def _target() -> str:
    """The address that this request was sent to, short."""
    return hashlib.sha256(request.full_path.encode(errors="replace")).hexdigest()[:16]
