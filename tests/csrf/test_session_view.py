"""The adapter between CSRF protection and sessions, tried on every kind of session."""

from __future__ import annotations

import inspect
import re
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, session
from flask.sessions import NullSession, SessionInterface, SessionMixin
from werkzeug.datastructures import CallbackDict

import flask_holdfast.csrf
from flask_holdfast import CSRFProtect, SessionManager
from flask_holdfast import SessionInterface as OurInterface
from flask_holdfast.csrf import minting, session_view, verifying
from flask_holdfast.csrf.isolation import IsolatedSession
from flask_holdfast.csrf.session_view import Foreign, Ours, Reader, SessionView
from flask_holdfast.csrf.tokens import Scope
from tests.csrf.conftest import KEY, OWN, Browser, browser, token_of


class OfAnotherPackage(CallbackDict[str, Any], SessionMixin):
    """A session as Flask-Session and others make one."""

    def __init__(self, sid: str, values: dict[str, Any]) -> None:
        super().__init__(values)
        self.sid = sid


class PlainDict(dict[str, Any]):
    """A session that is no `SessionMixin`: it says nothing of whether it was read or changed."""

    sid = ""


class ServerSide(SessionInterface):
    """Sessions of another package: in a dictionary on the server, under an id in the cookie."""

    def __init__(self, make: Callable[[str, dict[str, Any]], Any]) -> None:
        self.make = make
        self.kept: dict[str, dict[str, Any]] = {}

    def open_session(self, app: Flask, request: Any) -> Any:
        sid = request.cookies.get(self.get_cookie_name(app), "")
        sid = sid if sid in self.kept else secrets.token_hex(8)
        return self.make(sid, self.kept.get(sid, {}))

    def save_session(self, app: Flask, session: Any, response: Any) -> None:
        self.kept[session.sid] = dict(session)
        response.set_cookie(self.get_cookie_name(app), session.sid)


def plain_dict(sid: str, values: dict[str, Any]) -> PlainDict:
    made = PlainDict(values)
    made.sid = sid
    return made


KINDS: dict[str, Callable[[], SessionInterface | None]] = {
    "this package": lambda: OurInterface.from_url("memory://"),
    "Flask": lambda: None,
    "another package": lambda: ServerSide(OfAnotherPackage),
    "another package, as a plain dict": lambda: ServerSide(plain_dict),
}
FOREIGN = [kind for kind in KINDS if kind != "this package"]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def app(kind: str) -> Iterator[Flask]:
    app = Flask("shop")
    app.config.update(SECRET_KEY=KEY)
    interface = KINDS[kind]()
    if interface is not None:
        app.session_interface = interface
    CSRFProtect(app)
    app.add_url_rule("/token", "token", minting.issue)
    app.add_url_rule("/write", "write", lambda: "written", methods=["POST"])

    @app.get("/sign-in/<name>")
    def sign_in(name: str) -> str:
        session["user_id"] = name
        return name

    yield app
    if isinstance(interface, OurInterface):
        interface.store.close()


@pytest.fixture
def client(app: Flask) -> Browser:
    return browser(app)


def seen(client: Browser, look: Callable[[SessionView], Any]) -> Any:
    """What a view of the session says in a request of this client."""
    found: list[Any] = []
    endpoint = f"look{len(client.application.view_functions)}"

    def view() -> str:
        found.append(look(session_view.current()))
        return ""

    client.application._got_first_request = False
    client.application.add_url_rule(f"/{endpoint}", endpoint, view)
    assert client.get(f"/{endpoint}").status_code == 200
    return found[0]


def test_the_kind_of_session_is_told_in_one_place_of_the_package() -> None:
    """It was eleven places once."""
    folder = Path(inspect.getfile(flask_holdfast.csrf)).parent
    asked = [
        path.name
        for path in sorted(folder.glob("*.py"))
        for _ in re.finditer(r"hasattr\([^)]*csrf_scope", path.read_text("utf-8"))
    ]

    assert asked == ["session_view.py"]


def test_each_kind_gets_its_own_view(client: Browser, kind: str) -> None:
    assert seen(client, type) is (Ours if kind == "this package" else Foreign)


def test_a_token_is_good_in_the_next_request_and_for_nobody_else(
    client: Browser, app: Flask
) -> None:
    token, other = token_of(client), browser(app)
    token_of(other)

    assert client.post("/write", headers=OWN | {"X-CSRFToken": token}).text == "written"
    assert other.post("/write", headers=OWN | {"X-CSRFToken": token}).status_code == 400


def test_a_request_without_a_session_has_nothing_to_check_against(client: Browser) -> None:
    assert seen(client, lambda view: view.checking_scope()) is None
    assert seen(client, lambda view: list(view.other_sids())) == []
    assert seen(client, lambda view: view.sids_in_cookies()) is None


def test_the_scope_that_is_checked_is_the_one_that_was_minted(client: Browser) -> None:
    minted = seen(client, lambda view: view.minting_scope())

    assert seen(client, lambda view: view.checking_scope()) == minted
    assert seen(client, lambda view: view.minting_scope()) == minted


def test_a_login_changes_the_scope_of_ours_and_no_other(client: Browser, kind: str) -> None:
    before = seen(client, lambda view: view.minting_scope())
    client.get("/sign-in/ada")
    after = seen(client, lambda view: view.minting_scope())

    rotates = seen(client, lambda view: view.rotates_at_login)
    assert rotates == (kind == "this package")
    assert (before.sid != after.sid) == rotates
    assert seen(client, lambda view: view.keeps_secret) != rotates


def test_the_user_is_told_noticed_or_not(client: Browser) -> None:
    assert seen(client, lambda view: view.user_id()) is None
    client.get("/sign-in/ada")

    assert seen(client, lambda view: view.user_id()) == "ada"
    assert seen(client, lambda view: view.user_id_unnoticed()) == "ada"


def test_a_look_that_is_not_noticed_leaves_the_session_unread() -> None:
    app = Flask("shop")
    app.config.update(SECRET_KEY=KEY)
    app.session_interface = interface = OurInterface.from_url("memory://")
    CSRFProtect(app)
    client = browser(app)

    def look(view: SessionView) -> tuple[bool, bool]:
        view.user_id_unnoticed()
        unread = session.touched  # type: ignore[attr-defined]
        view.user_id()
        return unread, session.touched  # type: ignore[attr-defined]

    assert seen(client, look) == (False, True)
    interface.store.close()


def test_who_reads_a_page_is_told_only_where_it_costs_nothing(client: Browser, kind: str) -> None:
    def reader(view: SessionView) -> Reader | None:
        return view.reader(view.minting_scope())

    nobody = seen(client, reader)
    client.get("/sign-in/ada")
    unasked = seen(client, reader)
    asked = seen(client, lambda view: (view.user_id(), reader(view))[1])

    if kind == "this package":
        assert (nobody, unasked, asked) == (None, None, Reader("ada"))
    else:
        assert (nobody, unasked, asked) == (Reader(None), Reader("ada"), Reader("ada"))


def test_what_only_our_sessions_know_is_unknown_of_others(client: Browser, kind: str) -> None:
    client.get("/sign-in/ada")

    known = seen(client, lambda view: (view.is_known, view.sid_in_cookie(), view.sids_in_cookies()))
    ends = seen(client, lambda view: view.expires_in())
    former = seen(client, lambda view: (view.former_sid(), view.was_signed_out()))

    assert former == (None, False)
    if kind == "this package":
        is_known, sid, sids = known
        assert (is_known, sids) == (False, (sid,))
        assert ends[0] > 0
    else:
        assert (known, ends) == ((True, None, None), (None, None))


@pytest.mark.parametrize("kind", ["this package"], indirect=True)
def test_a_session_that_ended_is_told_as_signed_out(client: Browser, app: Flask) -> None:
    client.get("/sign-in/ada")
    sid = seen(client, lambda view: view.sid_in_cookie())
    SessionManager(app.session_interface.store).delete_session(sid)  # type: ignore[attr-defined]

    assert seen(client, lambda view: view.was_signed_out())
    assert seen(client, lambda view: view.user_id()) is None


@pytest.mark.parametrize("kind", FOREIGN, indirect=True)
@pytest.mark.parametrize("kept", ["", 7, None, ["x"]])
def test_what_is_no_secret_in_a_foreign_session_is_replaced_and_never_believed(
    app: Flask, kept: object
) -> None:
    client = browser(app)

    @app.get("/plant")
    def plant() -> str:
        session["csrf_token"] = kept
        return "planted"

    client.get("/plant")

    assert seen(client, lambda view: view.checking_scope()) is None
    scope = seen(client, lambda view: view.minting_scope())
    assert re.fullmatch("[0-9a-f]{40}", scope.sid)
    assert seen(client, lambda view: view.checking_scope()) == scope


@pytest.fixture
def bare() -> Flask:
    """An app whose tokens have a key of their own, and whose sessions may have none."""
    app = Flask("bare")
    app.config["WTF_CSRF_SECRET_KEY"] = KEY
    CSRFProtect(app)
    return app


def test_a_null_session_reads_as_empty_and_fails_where_a_secret_has_to_be_kept(bare: Flask) -> None:
    with bare.test_request_context(base_url="https://shop.example"):
        view = session_view.of(NullSession())

        assert isinstance(view, Foreign)
        assert view.checking_scope() is None
        assert view.user_id() is None
        with pytest.raises(RuntimeError, match="secret key"):
            view.minting_scope()


def test_an_isolated_session_keeps_its_secret_for_the_request_alone(bare: Flask) -> None:
    with bare.test_request_context(base_url="https://shop.example"):
        view = session_view.of(IsolatedSession())

        scope = view.minting_scope()

        assert view.checking_scope() == scope
        assert session_view.of(IsolatedSession()).checking_scope() is None


def test_where_the_cookie_may_have_been_withheld_a_foreign_session_is_not_written(
    bare: Flask,
) -> None:
    """A write would set a session cookie over the one that the browser kept back."""
    bare.secret_key = KEY
    cross_site = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "iframe"}
    with bare.test_request_context(base_url="https://shop.example", headers=cross_site):
        scope = session_view.current().minting_scope()

        assert isinstance(scope, Scope)
        assert dict(session) == {}
        assert verifying.has_session() is False
