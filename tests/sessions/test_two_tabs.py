"""A token refresh of one tab meets a login or logout in another: who is signed in stays so.

The refresh is the extension's own endpoint. It is held in the middle while the other tab
finishes, so its answer is the last that the browser gets; in the other order the refresh is
answered first and the login's answer comes last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.sessions.site import BASE, Answer, Site, Tab

if TYPE_CHECKING:
    from collections.abc import Callable


def refresh(tab: Tab, *, meanwhile: Callable[[], object] | None = None) -> Answer:
    """One background refresh; `meanwhile` happens after it has read the session."""
    view = tab.site.app.view_functions["holdfast.csrf_token"]

    def slow() -> Any:
        answer = view()
        if meanwhile is not None:
            meanwhile()
        return answer

    tab.site.app.view_functions["holdfast.csrf_token"] = slow
    try:
        response = tab.client.get("/session/csrf-token", base_url=BASE)
    finally:
        tab.site.app.view_functions["holdfast.csrf_token"] = view
    assert response.status_code == 200
    return Answer(response, None)


def before_login_page_was_seen(tab: Tab) -> None:
    """The browser knows nothing of the site but a page with a form."""
    refresh(tab)


def with_something_in_the_cart(tab: Tab) -> None:
    tab.set(cart=1)


def signed_in_as_somebody_else(tab: Tab) -> None:
    tab.log_in("bob")


def after_the_session_was_revoked(tab: Tab) -> None:
    tab.log_in("bob")
    tab.site.manager.delete_user_sessions("bob")


STARTS = [
    before_login_page_was_seen,
    with_something_in_the_cart,
    signed_in_as_somebody_else,
    after_the_session_was_revoked,
]


@pytest.mark.parametrize("start", STARTS)
def test_a_refresh_answered_after_a_login_leaves_it_alone(
    site: Site, start: Callable[[Tab], None]
) -> None:
    tab = site.tab()
    start(tab)

    answer = refresh(tab, meanwhile=lambda: tab.log_in("ada"))

    assert answer.leaves_the_cookie_alone
    assert tab.who() == "ada"


@pytest.mark.parametrize("start", STARTS)
def test_a_refresh_answered_before_a_login_leaves_it_alone(
    site: Site, start: Callable[[Tab], None]
) -> None:
    tab = site.tab()
    start(tab)

    def log_in_while_refreshing() -> None:
        from flask_login import login_user

        from tests.sessions.site import User

        refresh(tab)
        login_user(User("ada"))

    tab.run(log_in_while_refreshing)

    assert tab.who() == "ada"


def test_a_refresh_answered_after_a_logout_signs_nobody_in(site: Site) -> None:
    tab = site.tab()
    tab.log_in("ada")
    old = tab.cookie

    answer = refresh(tab, meanwhile=tab.log_out)

    assert answer.leaves_the_cookie_alone
    assert tab.cookie is None
    tab.cookie = old
    assert tab.who() is None


def test_a_refresh_answered_before_a_logout_keeps_nobody_in(site: Site) -> None:
    tab = site.tab()
    tab.log_in("ada")

    def log_out_while_refreshing() -> None:
        from tests.sessions.site import sign_out

        refresh(tab)
        sign_out()

    tab.run(log_out_while_refreshing)

    assert tab.cookie is None
    assert tab.who() is None
