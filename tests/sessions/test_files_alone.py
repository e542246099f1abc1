"""Media players and download managers ask with the browser's cookie and a User-Agent of their own:
they get the film, and whoever pretends to be one gets no page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Response, abort, jsonify, redirect, request, session, stream_with_context
from flask_login import current_user, login_fresh, logout_user

from flask_holdfast import signals
from tests.sessions.site import BASE, Answer, Site, Tab, ours

IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like "
    "Gecko) Version/18.5 Mobile/15E148 Safari/604.1"
)
IPAD_AS_MAC = (
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/18.5 Safari/605.1.15"
)
PLAYER = "AppleCoreMedia/1.0.0.22F76 (iPhone; U; CPU OS 18_5 like Mac OS X; en_us)"
CURL = "curl/8.5.0"
SECRET = "ada's own page"

ACTIONS = ["challenge", "revoke"]


@pytest.fixture(params=ACTIONS)
def any_action(request: pytest.FixtureRequest, make_site: Callable[..., Site]) -> Site:
    return make_site(SESSION_BINDING_ACTION=request.param)


def signed_in(site: Site, agent: str = IPHONE) -> Tab:
    tab = site.tab(agent=agent)
    tab.log_in()
    return tab


def copy_of(tab: Tab, agent: str) -> Tab:
    """Whoever has the cookie of `tab`, with another program."""
    other = tab.site.tab(agent=agent)
    other.cookie = tab.cookie
    return other


def film() -> Response:
    if not current_user.is_authenticated:
        abort(401)
    return Response(b"film", mimetype="video/mp4")


def get(tab: Tab, act: Callable[[], Any], **sent: str) -> Answer:
    return tab.run(act, method="GET", headers=sent)


# -- the honest ones -------------------------------------------------------------------


@pytest.mark.parametrize("browser", [IPHONE, IPAD_AS_MAC], ids=["iPhone", "iPad"])
def test_the_player_of_the_platform_plays_a_film_behind_a_login(
    any_action: Site, browser: str
) -> None:
    tab = signed_in(any_action, browser)
    told: list[dict[str, Any]] = []
    with signals.client_changed.connected_to(lambda *args, **said: told.append(said)):
        for _ in range(2):
            answer = get(copy_of(tab, PLAYER), film, Range="bytes=0-1")
            assert (answer.response.status_code, answer.response.data) == (200, b"film")
            assert "Cookie" in answer.response.headers["Vary"]

    assert [(said["change"], said["action"]) for said in told] == [("file", "file")]
    assert tab.who() == "ada", "nobody is signed out"


def test_a_download_manager_gets_the_download(any_action: Site) -> None:
    android = "Mozilla/5.0 (Linux; Android 10; K) Chrome/137.0.0.0 Mobile Safari/537.36"
    tab = signed_in(any_action, android)
    manager = copy_of(tab, "AndroidDownloadManager/14 (Linux; U; Android 14; Pixel 8)")

    def report() -> Response:
        attached = {"Content-Disposition": "attachment; filename=report.pdf"}
        return Response(current_user.get_id(), mimetype="application/pdf", headers=attached)

    assert get(manager, report).response.text == "ada"
    assert tab.who() == "ada"


@pytest.mark.parametrize("method", ["HEAD", "POST"])
def test_office_looks_around_and_signs_nobody_out(any_action: Site, method: str) -> None:
    tab = signed_in(any_action, "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/137.0 Edg/137.0")
    office = copy_of(tab, "Microsoft Office Existence Discovery")
    seen: list[str | None] = []
    office.run(lambda: seen.append(current_user.get_id()), method=method)

    assert seen == ["ada" if method == "HEAD" else None]
    assert tab.who() == "ada"


def test_desktop_site_is_the_same_browser(any_action: Site) -> None:
    tab = signed_in(any_action)

    assert copy_of(tab, IPAD_AS_MAC).who() == "ada"


def test_a_player_proves_nothing_for_views_that_want_fresh_proof(any_action: Site) -> None:
    tab = signed_in(any_action)
    seen: list[bool] = []
    get(copy_of(tab, PLAYER), lambda: seen.append(login_fresh()))

    assert seen == [False]


# -- those who pretend -----------------------------------------------------------------


def page() -> str:
    return f"{SECRET} {current_user.get_id()}"


def error_page() -> Response:
    return Response(f"{SECRET} {current_user.get_id()}", 404)


def api() -> Response:
    return jsonify(secret=SECRET, user=current_user.get_id())


def elsewhere() -> Response:
    answer = redirect(f"https://elsewhere.example/?code={current_user.get_id()}-{SECRET}")
    assert isinstance(answer, Response)
    return answer


def with_a_cookie() -> Response:
    answer = Response(SECRET, headers={"X-Secret": SECRET})
    answer.set_cookie("jwt", str(current_user.get_id()))
    return answer


def unchanged() -> Any:
    """Whoever asks with `If-None-Match: *` has seen each page already."""
    answer = Response(SECRET, headers={"X-Secret": f"{SECRET} {current_user.get_id()}"})
    answer.add_etag()
    return answer.make_conditional({**request.environ, "HTTP_IF_NONE_MATCH": "*"})


def failing() -> str:
    raise ZeroDivisionError(SECRET)


def events() -> Response:
    def later() -> Iterator[str]:
        yield f"data: {SECRET} {session.get('_user_id')}\n\n"

    current_user.get_id()
    return Response(stream_with_context(later()), mimetype="text/event-stream")


PAGES: dict[str, tuple[Callable[[], Any], int]] = {
    "a page": (page, 403),
    "an error page": (error_page, 404),
    "an API": (api, 403),
    "a redirect": (elsewhere, 403),
    "a page with a cookie": (with_a_cookie, 403),
    "a stream of events": (events, 403),
    "a page that has not changed": (unchanged, 403),
}


@pytest.mark.parametrize("act", PAGES)
@pytest.mark.parametrize(
    ("agent", "sent"),
    [
        pytest.param(PLAYER, {}, id="a player's agent"),
        pytest.param(
            "curl/8.5.0 (iPhone)", {"Sec-Fetch-Dest": "video"}, id="the destination of a video"
        ),
    ],
)
def test_whoever_pretends_to_be_a_media_element_gets_no_page(
    any_action: Site, act: str, agent: str, sent: dict[str, str]
) -> None:
    tab, (view, status) = signed_in(any_action), PAGES[act]

    def shown() -> Response:
        answer = view()
        if isinstance(answer, Response):
            return answer
        return Response(answer)

    answer = get(copy_of(tab, agent), shown, **sent).response

    assert answer.status_code == status
    assert answer.mimetype == "text/plain"
    assert answer.headers["Cache-Control"] == "no-store"
    assert "ada" not in f"{answer.headers}{answer.text}"
    assert SECRET not in f"{answer.headers}{answer.text}"
    assert answer.headers.getlist("Set-Cookie") == []
    assert tab.who() == "ada"


def test_an_application_s_error_page_shows_nothing_either(make_site: Callable[..., Site]) -> None:
    site = make_site(TESTING=False, PROPAGATE_EXCEPTIONS=False)
    site.app.register_error_handler(500, lambda error: (f"{SECRET} {current_user.get_id()}", 500))
    tab = signed_in(site)

    answer = get(copy_of(tab, PLAYER), failing).response

    assert answer.status_code == 500
    assert SECRET not in answer.text


@pytest.mark.parametrize("path", ["csrf-token", "status"])
def test_our_own_endpoints_are_pages(make_site: Callable[..., Site], path: str) -> None:
    tab = signed_in(make_site())
    client = copy_of(tab, PLAYER).client
    answer = client.get(f"/session/{path}", base_url=BASE, headers={"Sec-Fetch-Dest": "video"})

    assert answer.status_code == 403
    assert answer.mimetype == "text/plain"


def test_what_is_streamed_asks_the_session_too_late(make_site: Callable[..., Site]) -> None:
    """The view looks at the session only when its response was looked at already."""
    tab = signed_in(make_site())

    def late() -> Response:
        def pieces() -> Iterator[str]:
            yield f"user: {session.get('_user_id')}"

        return Response(stream_with_context(pieces()))

    assert get(copy_of(tab, PLAYER), late).response.text == "user: None"
    assert get(tab, late).response.text == "user: ada"


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param({"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, id="a document"),
        pytest.param({"Sec-Fetch-Dest": "iframe"}, id="a frame"),
        pytest.param({"Upgrade": "websocket"}, id="a WebSocket"),
    ],
)
def test_a_player_that_does_what_players_do_not_is_another_client(
    any_action: Site, sent: dict[str, str]
) -> None:
    tab = signed_in(any_action)

    assert get(copy_of(tab, PLAYER), film, **sent).response.status_code == 401


def test_a_page_that_asks_only_whether_its_session_stands_is_a_page(any_action: Site) -> None:
    tab = signed_in(any_action)

    def gated() -> Response:
        return Response(SECRET if ours().still_valid() else "")

    assert SECRET not in get(copy_of(tab, PLAYER), gated).response.text
    assert get(tab, gated).response.text == SECRET


def test_a_player_sends_no_form(any_action: Site) -> None:
    tab = signed_in(any_action)

    assert copy_of(tab, PLAYER).who() is None  # by POST


@pytest.mark.parametrize("agent", ["stagefright/1.2 (Linux;Android 9)", CURL, ""])
def test_who_does_not_name_the_platform_is_another_client(any_action: Site, agent: str) -> None:
    stranger = copy_of(signed_in(any_action), agent)

    answer = get(stranger, film, **{"Sec-Fetch-Dest": "video"})
    assert answer.response.status_code == 401


def test_a_context_without_a_response_shows_nothing(make_site: Callable[..., Site]) -> None:
    """As the events of Socket.IO have: what they send is no response that could be looked at."""
    tab = signed_in(make_site())
    thief = copy_of(tab, PLAYER)
    sent = {**thief.client.environ_base, "HTTP_COOKIE": f"__Host-session={tab.cookie}"}

    with tab.site.app.test_request_context(base_url=BASE, environ_base=sent):
        assert current_user.get_id() is None


def test_nothing_that_a_player_s_request_writes_is_kept(any_action: Site) -> None:
    tab = signed_in(any_action)
    tab.set(kept=1)
    cookie = tab.cookie

    def writes() -> Response:
        session["more"] = 2
        ours().rotate()
        film = Response(b"film", mimetype="video/mp4")
        film.set_cookie("jwt", "ada")
        return film

    def signs_out() -> Response:
        logout_user()
        session.clear()
        return Response(b"", mimetype="video/mp4")

    for act in (writes, signs_out):
        answer = get(copy_of(tab, PLAYER), act)
        assert answer.response.headers.getlist("Set-Cookie") == []
    assert tab.data() == {"kept": 1}
    assert (tab.who(), tab.cookie) == ("ada", cookie)


def test_a_player_prolongs_nothing(make_site: Callable[..., Site]) -> None:
    site = make_site()
    clock = site.stop_time()
    tab = signed_in(site)
    clock.advance(20 * 60)
    assert get(copy_of(tab, PLAYER), film).response.status_code == 200
    clock.advance(11 * 60)

    assert tab.who() is None


def test_with_the_interface_alone_nobody_is_believed(make_site: Callable[..., Site]) -> None:
    """Without `Holdfast` nothing says that the response will be looked at."""
    site = make_site()
    site.interface.is_dispatched = type(site.interface)(site.interface.store).is_dispatched
    tab = signed_in(site)

    assert get(copy_of(tab, PLAYER), film).response.status_code == 401
