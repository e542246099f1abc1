"""The application under each server and behind each proxy: it works, or says what is wrong.

Everything is real: the servers as their documentation starts them, Debian's nginx with TLS in
front, and Redis behind. What is not right here is the set-up, never the person: nobody sees a 500,
and nothing passes that would not pass elsewhere.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from tests.setups import serving
from tests.setups.person import Browser, Person

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.services import TLS, RedisServer
    from tests.setups.serving import Served

    NewPerson = Callable[..., Person]

UWSGI = "uWSGI behind nginx"
ALONE = (*serving.SERVERS, UWSGI)
KNOWN = [name for name, proxy in serving.PROXIES.items() if proxy.outward]
HIDDEN = [name for name, proxy in serving.PROXIES.items() if not proxy.outward]


@pytest.fixture(scope="module")
def served(
    redis_server: RedisServer, tls: TLS, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Served]]:
    """Starts a set-up when a test first asks for it."""
    running: dict[str, Served] = {}
    with contextlib.ExitStack() as stack:

        def start(name: str) -> Served:
            if name not in running:
                folder = tmp_path_factory.mktemp("setup")
                if name in serving.PROXIES:
                    running.update(
                        stack.enter_context(serving.proxies(redis_server.url, tls, folder))
                    )
                elif name == UWSGI:
                    running[name] = stack.enter_context(
                        serving.uwsgi(redis_server.url, tls, folder)
                    )
                else:
                    running[name] = stack.enter_context(
                        serving.server(name, redis_server.url, folder)
                    )
            return running[name]

        yield start


@pytest.fixture
def new_person(
    served: Callable[[str], Served], setup: str, browser: Browser, tls: TLS
) -> Iterator[NewPerson]:
    with contextlib.ExitStack() as stack:
        yield lambda: stack.enter_context(Person(served(setup), browser, tls.certificate))


@pytest.fixture
def person(new_person: NewPerson) -> Person:
    return new_person()


def table(*rows: tuple[str, Browser]) -> pytest.MarkDecorator:
    """Run a test for each of these rows."""
    return pytest.mark.parametrize(
        ("setup", "browser"),
        [pytest.param(*row, id=f"{row[0]}, {row[1].value}") for row in rows],
    )


#: An old browser says no more than Origin and Referer, which the application must know as its own.
WORKING = [
    *((name, browser) for name in (*ALONE, *KNOWN) for browser in Browser),
    *((name, Browser.CURRENT) for name in HIDDEN),
]
EVERYWHERE = [(name, Browser.CURRENT) for name in (*ALONE, *serving.PROXIES)]


@table(*WORKING)
def test_a_person_signs_in(person: Person) -> None:
    assert person.notes() is None

    answer = person.sign_in()

    assert answer.status_code == 200
    assert person.notes() == []


@table(*WORKING)
def test_a_form_is_saved(person: Person) -> None:
    person.sign_in()
    for number in range(3):
        answer = person.submit("/", "/", f"note {number}")
        assert answer.status_code == 200

    assert person.notes() == ["note 0", "note 1", "note 2"]


@table(*WORKING)
def test_a_fetch_is_saved_and_answered(person: Person) -> None:
    person.sign_in()
    for number in range(3):
        answer = person.fetch("/", "/api/notes", f"note {number}")
        assert answer.status_code == 200

    assert answer.json() == {"notes": ["note 0", "note 1", "note 2"]}


@table(*WORKING)
def test_a_fetch_is_sent_back_to_the_page_that_it_came_from(person: Person) -> None:
    """Often written, `redirect(request.referrer)`. Once it was a 500 after the view had saved."""
    person.sign_in()

    answer = person.fetch("/", "/api/notes/and-back", "a note")

    assert answer.status_code == 200
    assert [each.status_code for each in answer.history] == [302]
    assert "a note" in answer.text


@table(*WORKING)
def test_a_person_signs_out_and_a_copied_cookie_is_worth_nothing(person: Person) -> None:
    person.sign_in()
    copied = person.cookies().copy()

    answer = person.sign_out()

    assert answer.status_code == 200
    assert person.notes() is None
    person.cookies().update(copied)
    assert person.notes() is None


@table(*((name, Browser.OLD) for name in HIDDEN))
def test_an_old_browser_is_refused_where_the_proxy_hides_the_address_and_the_log_says_why(
    person: Person, served: Callable[[str], Served], setup: str
) -> None:
    written = len(served(setup).said())

    page = person.sign_in()
    script = person.fetch("/login", "/login", "ada")

    assert page.status_code == script.status_code == 400
    assert script.json()["reason"] == "cross_origin"
    assert "X-Forwarded" in served(setup).said()[written:]
    assert "ProxyFix" in served(setup).said()[written:]


EVIL = "https://evil.example"
OF_ANOTHER_SITE = {
    "a form of another site": {"Origin": EVIL, "Sec-Fetch-Site": "cross-site"},
    "a form of a sibling domain": {"Origin": "https://a.localhost", "Sec-Fetch-Site": "same-site"},
    "a form of another site, in an old browser": {"Origin": EVIL},
    "a frame that hides where it is from": {"Origin": "null"},
    "a page that sends Referer alone": {"Referer": f"{EVIL}/page"},
    "a page that names another host": {"Origin": EVIL, "X-Forwarded-Host": "evil.example"},
}


@table(*EVERYWHERE)
def test_no_forged_request_is_accepted_whatever_the_application_believes(
    new_person: NewPerson, setup: str
) -> None:
    person, attacker = new_person(), new_person()
    person.sign_in()
    attacker.sign_in("eve")
    # Where nobody tells the application of TLS, it takes this for its own address.
    plain = {"Origin": person.served.url.replace("https:", "http:")}
    tokens = {"none": "", "the attacker's": attacker.token_of("/"), "made up": "made.up"}
    forged = [
        *((way, name) for way in (*OF_ANOTHER_SITE.values(), plain, {}) for name in tokens),
        *((way, "stolen") for way in OF_ANOTHER_SITE.values()),
    ]
    tokens["stolen"] = person.token_of("/")

    accepted = []
    for headers, token in forged:
        fields = {"text": f"{token}: {headers}", "csrf_token": tokens[token]}
        answer = person.send("POST", "/", data=fields, headers=headers, allow_redirects=False)
        if answer.status_code != 400:
            accepted.append((answer.status_code, token, headers))

    assert accepted == []
    assert person.notes() == []


@table(*((name, Browser.CURRENT) for name in serving.PROXIES))
def test_the_session_cookie_goes_over_tls_alone_whatever_the_application_believes(
    person: Person,
) -> None:
    person.sign_in()

    assert [(cookie.name, cookie.secure) for cookie in person.cookies()] == [
        ("__Host-session", True)
    ]
