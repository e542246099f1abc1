"""An attacker's origin against SERVER, in real Chromium: whatever a page sends, nothing changes.

Each attack runs from each of the attacker's places against SERVER as it is run; the sample takes
some of these by a seed. That an attack is refused says something only if it would have worked:
so each one that can do harm has to do it where nothing protects.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import random
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import unquote

import pytest
from playwright.sync_api import Error as PlaywrightError
from playwright.sync_api import expect

from flask_holdfast.csrf.reasons import Reason
from tests import services
from tests.attacks.attacks import ATTACKS, Attack, End, Scene, document, start_of
from tests.attacks.world import Kind, Place, World
from tests.server.visitor import PASSWORD, Visitor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, Page

    from tests.attacks.conftest import Worlds
    from tests.attacks.front import Arrival, Front

SEED = 4
PROTECTED: list[Kind] = [kind for kind in Kind if kind is not Kind.UNPROTECTED]

AT_THE_GATE = {Reason.CROSS_ORIGIN, Reason.ORIGIN_NULL}
AT_THE_TOKEN = {
    Reason.TOKEN_MISSING,
    Reason.TOKEN_MALFORMED,
    Reason.TOKEN_MISMATCH,
    Reason.SESSION_MISSING,
    Reason.SESSION_EXPIRED,
}

_marks = itertools.count(1)

EVERYWHERE: list[tuple[Kind, Place]] = [
    (kind, place)
    for kind in PROTECTED
    for place in Place
    if kind.is_https or place is not Place.IN_THE_MIDDLE
]


def chosen(full: bool, of: str) -> list[tuple[Kind, Place]]:
    """Which kinds of world and places: all, or one that another seed would choose otherwise."""
    return EVERYWHERE if full else [random.Random(f"{SEED} {of}").choice(EVERYWHERE)]


def strike(world: World, place: Place, attack: Attack, scene: Scene) -> list[str]:
    """Lead the visitor to the attack, and wait for its end. What the attacker was told."""
    world.front.forget()
    world.evil.forget()
    world.refusals.clear()
    front = world.front if attack.starts_at_home else world.evil
    start = start_of(attack, scene)
    front.pages[start.removeprefix(scene.server).removeprefix(scene.own).partition("?")[0]] = (
        document(attack, scene)
    )
    tab = led_to(start, world, front)
    if attack.click or attack.starts_at_home:
        tab.get_by_role("button").click(no_wait_after=True)
    if attack.starts_at_home and place is Place.IN_THE_MIDDLE:
        send_anyway(tab)
    wait_for_the_end(world, attack, scene.mark)
    return [
        unquote(report.query) for report in world.evil.arrivals(scene.mark) if is_report(report)
    ]


def led_to(url: str, world: World, front: Front) -> Page:
    """The visitor's tab. None is closed: Chromium now and then never closes one that is on its
    way elsewhere, nor lets it be led anywhere else. Then it takes a new one.
    """
    for tab in world.context.pages[-1:]:
        with contextlib.suppress(PlaywrightError):
            tab.goto(url, wait_until="commit")
            if front.arrivals(url.partition("?")[2]):  # else it was elsewhere that it came to
                return tab
    tab = world.context.new_page()
    tab.goto(url, wait_until="commit")
    return tab


def send_anyway(tab: Page) -> None:
    """Chromium warns of a form that leaves https, and for a moment takes no answer."""
    button = tab.locator("#proceed-button")
    button.wait_for()
    with contextlib.suppress(PlaywrightError):  # gone, so it was heard
        while True:
            button.click(no_wait_after=True, timeout=1_000)


def is_report(arrival: Arrival) -> bool:
    return arrival.path == "/report"


def wait_for_the_end(world: World, attack: Attack, mark: str) -> None:
    def reached(arrival: Arrival) -> bool:
        if attack.end is End.REFUSED:
            return mark in arrival.query and arrival.is_unsafe
        asks = attack.end is End.PREFLIGHT
        return mark in arrival.query and (arrival.method == "OPTIONS" or not asks)

    if attack.end is not End.BLOCKED:
        assert world.front.wait(reached), "the attack did not reach SERVER"
    if attack.end in {End.PREFLIGHT, End.BLOCKED, End.UNREADABLE}:
        told = world.evil.wait(lambda arrival: mark in arrival.query and is_report(arrival))
        assert told, "the attacker's script did not come to its end"


def the_end_is_right(world: World, attack: Attack, mark: str, reports: list[str]) -> None:
    arrivals = world.front.arrivals(mark)
    unsafe = [arrival for arrival in arrivals if arrival.is_unsafe]
    seen = "; ".join(map(str, arrivals)) or "nothing arrived"
    assert all(arrival.status < 500 for arrival in arrivals), seen
    if attack.end is End.REFUSED:
        assert {arrival.status for arrival in unsafe} == {400}, seen
        alone = world.kind is Kind.OLD_BROWSER
        assert set(world.refusals) <= (AT_THE_TOKEN if alone else AT_THE_GATE), seen
        assert world.refusals, seen
        return
    assert unsafe == [], seen
    assert world.refusals == []
    if attack.end is End.BLOCKED:
        assert arrivals == [], seen
    if attack.end is End.PREFLIGHT:
        assert {arrival.method for arrival in arrivals} == {"OPTIONS"}, seen
    if attack.end is End.UNREADABLE:
        assert all("csrf" not in report and "<" not in report for report in reports), reports


def scene_of(world: World, place: Place, attack: Attack, fields: dict[str, str]) -> Scene:
    return Scene(
        server=world.url,
        own=world.attackers[place],
        path=attack.path or "/notes",
        fields={**fields, **attack.fields},
        mark=f"attack-{next(_marks)}=",
    )


def changes_nothing(world: World, place: Place, attack: Attack, fields: dict[str, str]) -> None:
    before = world.state()
    scene = scene_of(world, place, attack, fields)

    reports = strike(world, place, attack, scene)

    where = f"{attack.sentence}, from {place}, against {world.kind}"
    assert world.state() == before, where
    the_end_is_right(world, attack, scene.mark, reports)


@pytest.fixture(scope="module")
def bobs_token() -> Callable[[World], str]:
    """A token of somebody else's session, which the attacker has."""
    known: dict[Kind, str] = {}

    def give(world: World) -> str:
        if world.kind not in known:
            known[world.kind] = world.token_of("bob")
        return known[world.kind]

    return give


@pytest.mark.parametrize("attack", [pytest.param(a, id=a.sentence) for a in ATTACKS])
def test_nothing_changes_by(
    attack: Attack,
    worlds: Worlds,
    bobs_token: Callable[[World], str],
    full: bool,
    record_property: Callable[[str, object], None],
) -> None:
    places = chosen(full, attack.sentence)
    for kind, place in places:
        world = worlds(kind)
        fields = {"text": "planted", "csrf_token": bobs_token(world)}
        changes_nothing(world, place, attack, fields)
    record_property("ran", f"from {len(places)} of {len(EVERYWHERE)} places, seed {SEED}")


# What a form may wish for, from whoever is signed in.
WISHES = {
    "a note": ("/notes", {"text": "planted"}),
    "an API token": ("/account/tokens", {"name": "planted", "days": "30"}),
    "the end of her other sessions": ("/account/sessions/end-others", {}),
    "the end of everyone's sessions": ("/admin/sessions/end-all", {}),
    "another password": (
        "/auth/change-password",
        {
            "current_password": PASSWORD,
            "new_password": "mallory knows these words",
            "confirm_password": "mallory knows these words",
        },
    ),
    "an account": (
        "/auth/register",
        {
            "username": "planted",
            "email": "planted@example.com",
            "password": PASSWORD,
            "confirm_password": PASSWORD,
        },
    ),
    "a sign-in as the attacker": ("/auth/login", {"username": "mallory", "password": PASSWORD}),
    "a sign-out": ("/auth/logout", {}),
}
PLAIN_FORM = ATTACKS[0]


@pytest.mark.parametrize("wish", WISHES)
def test_no_form_gets(
    wish: str,
    worlds: Worlds,
    bobs_token: Callable[[World], str],
    full: bool,
    record_property: Callable[[str, object], None],
) -> None:
    path, fields = WISHES[wish]
    attack = replace(PLAIN_FORM, path=path, sentence=f"a form that wants {wish}")
    places = chosen(full, wish)
    for kind, place in places:
        world = worlds(kind)
        changes_nothing(world, place, attack, {**fields, "csrf_token": bobs_token(world)})
    record_property("ran", f"from {len(places)} of {len(EVERYWHERE)} places, seed {SEED}")


def test_every_attack_does_harm_where_nothing_protects(
    worlds: Worlds, full: bool, record_property: Callable[[str, object], None]
) -> None:
    """From a sibling subdomain: a profile of these tests keeps third-party cookies at home."""
    world = worlds(Kind.UNPROTECTED)
    harmful = [attack for attack in ATTACKS if attack.does_harm]
    sample = harmful if full else random.Random(SEED).sample(harmful, 8)

    for attack in sample:
        fields = {"text": attack.sentence, "csrf_token": "x"}
        strike(world, Place.SIBLING, attack, scene_of(world, Place.SIBLING, attack, fields))
        assert world.notes_of("ada")[-1:] == [attack.sentence]

    record_property("ran", f"{len(sample)} of {len(harmful)} attacks, seed {SEED}")


def test_every_wish_comes_true_where_nothing_protects(
    worlds: Worlds, full: bool, record_property: Callable[[str, object], None]
) -> None:
    world = worlds(Kind.UNPROTECTED)
    sample = list(WISHES) if full else random.Random(SEED).sample(list(WISHES), 3)

    for wish in sample:
        path, fields = WISHES[wish]
        attack = replace(PLAIN_FORM, path=path)
        world.sign_in_again()  # the wish before may have ended her session
        before = world.state()
        strike(world, Place.OTHER_SITE, attack, scene_of(world, Place.OTHER_SITE, attack, fields))
        assert world.state() != before, wish

    world.sign_in_again()
    record_property("ran", f"{len(sample)} of {len(WISHES)} wishes, seed {SEED}")


@pytest.mark.parametrize("kind", PROTECTED)
@pytest.mark.parametrize("whose", ["nobody's", "somebody else's", "an anonymous", "her own"])
def test_no_token_helps_a_page_of_another_origin(whose: str, kind: Kind, worlds: Worlds) -> None:
    world = worlds(kind)
    if whose == "her own" and kind is Kind.OLD_BROWSER:
        pytest.skip("whoever knows the token of a session has all that the token can prove")
    tokens: dict[str, Callable[[], str]] = {
        "nobody's": lambda: "",
        "somebody else's": lambda: world.token_of("mallory"),
        "an anonymous": lambda: world.token_of(None),
        "her own": lambda: own_token(world),
    }
    fields = {"text": "planted", "csrf_token": tokens[whose]()}

    changes_nothing(world, Place.SIBLING, replace(PLAIN_FORM, sentence=f"{whose} token"), fields)


def own_token(world: World) -> str:
    with services.tab(world.context) as page:
        page.goto(f"{world.url}/dashboard")
        return page.locator("[name=csrf_token]").first.input_value()


@pytest.mark.parametrize("kind", PROTECTED)
def test_nobody_who_is_signed_out_gets_signed_in_as_the_attacker(
    kind: Kind, worlds: Worlds, chromium: Browser
) -> None:
    """Login CSRF: what she writes from then on would be the attacker's to read."""
    world = worlds(kind)
    path, fields = WISHES["a sign-in as the attacker"]
    attack = replace(PLAIN_FORM, path=path, sentence="login CSRF")
    with services.profile(chromium) as context:
        visitor = replace(world, context=context)
        with services.tab(context) as page:
            page.goto(f"{world.url}/auth/login")

        changes_nothing(
            visitor, Place.SIBLING, attack, {**fields, "csrf_token": world.token_of(None)}
        )

        with services.tab(context) as page:
            page.goto(f"{world.url}/dashboard")
            assert page.url.startswith(f"{world.url}/auth/login")


@pytest.mark.parametrize("kind", PROTECTED)
def test_a_reload_of_what_the_attack_led_to_is_the_attack_again(kind: Kind, worlds: Worlds) -> None:
    """The person presses the key, but it is still the attacker's form."""
    world = worlds(kind)
    before = world.state()
    scene = scene_of(
        world,
        Place.OTHER_SITE,
        PLAIN_FORM,
        {"text": "planted", "csrf_token": world.token_of("bob")},
    )
    world.evil.pages["/win"] = document(PLAIN_FORM, scene)
    with services.tab(world.context) as page:
        page.goto(start_of(PLAIN_FORM, scene))
        page.wait_for_url(scene.url)
        world.front.forget()

        page.reload()

    again = [arrival for arrival in world.front.arrivals(scene.mark) if arrival.is_unsafe]
    assert [arrival.status for arrival in again] == [400]
    assert world.state() == {**before, "sessions": world.state()["sessions"]}
    assert world.notes_of("ada") == []


class TestPlantedCookies:
    """A sibling subdomain may set cookies for the whole site."""

    def test_over_https_the_browser_takes_none_of_our_name(
        self, worlds: Worlds, chromium: Browser
    ) -> None:
        world = worlds(Kind.HTTPS)
        with self.visitor(world, chromium) as visitor:
            self.plant(visitor, "__Host-session", "planted", "; Secure")
            self.plant(visitor, "another", "planted", "; Secure")

            assert [cookie["name"] for cookie in visitor.context.cookies()] == ["another"]

    @pytest.mark.parametrize("byte", ["\xa0", "\x85"], ids=ascii)
    def test_over_https_a_byte_before_our_name_makes_it_another_cookie(
        self, worlds: Worlds, chromium: Browser, byte: str
    ) -> None:
        """To Chromium such a name has no prefix: it takes the cookie, and sends the byte back.
        Python takes the byte for a blank.
        """
        world = worlds(Kind.HTTPS)
        mallory = Visitor(world.app)
        with self.visitor(world, chromium) as visitor, services.tab(visitor.context) as page:
            visitor.sign_in(page, "bob")
            mallory.login("mallory")  # hers is the younger
            [(name, value)] = mallory.cookies().items()
            assert name == "__Host-session"
            world.evil.pages["/plant"] = "planted"
            world.evil.cookies["/plant"] = (
                f"{byte}{name}={value}; Domain=shop.example; Path=/; Secure"
            )
            page.goto(f"{world.attackers[Place.SIBLING]}/plant")
            del world.evil.cookies["/plant"]
            world.front.forget()

            page.goto(f"{world.url}/dashboard")

            expect(page.get_by_role("heading", name="Hello, bob")).to_be_visible()
            [arrival] = [a for a in world.front.arrivals() if a.path == "/dashboard"]
            assert f"{byte}{name}={value}" in (arrival.header("Cookie") or "")
            page.get_by_label("Note", exact=True).fill("mine")
            with page.expect_navigation():
                page.get_by_role("button", name="Add note").click()
            assert world.notes_of("mallory") == []
            assert world.notes_of("bob")[-1:] == ["mine"]

    def test_a_session_that_was_planted_does_not_become_that_of_who_signs_in(
        self, worlds: Worlds, chromium: Browser
    ) -> None:
        """Session fixation: the attacker would be signed in along with her."""
        world = worlds(Kind.PLAIN_HTTP)
        mallory = self.somebody(world)
        [(name, value)] = mallory.cookies().items()
        with self.visitor(world, chromium) as visitor:
            self.plant(visitor, name, value)
            with services.tab(visitor.context) as page:
                self.try_to_sign_in(visitor, page)

        assert not mallory.is_signed_in()

    def test_a_session_that_was_planted_does_not_keep_her_from_signing_in(
        self, worlds: Worlds, chromium: Browser
    ) -> None:
        """It is older, so it is sent before the one of her login, at each request."""
        world = worlds(Kind.PLAIN_HTTP)
        [(name, value)] = self.somebody(world).cookies().items()
        with self.visitor(world, chromium) as visitor:
            self.plant(visitor, name, value)
            with services.tab(visitor.context) as page:
                self.try_to_sign_in(visitor, page)
                page.goto(f"{world.url}/dashboard")
                assert page.url == f"{world.url}/dashboard"

    @pytest.mark.parametrize("planted", ["older", "younger"])
    def test_what_she_writes_never_lands_in_the_account_of_who_planted_a_session(
        self, worlds: Worlds, chromium: Browser, planted: str
    ) -> None:
        """With the longer path it is sent first, at the form's address alone. The younger of
        two is believed, and then her token is not of that session.
        """
        world = worlds(Kind.PLAIN_HTTP)
        mallory = Visitor(world.app)
        if planted == "older":
            mallory.login("mallory")
        with self.visitor(world, chromium) as visitor:
            with services.tab(visitor.context) as page:
                visitor.sign_in(page, "bob")
                if planted == "younger":
                    mallory.login("mallory")
                [(name, value)] = mallory.cookies().items()
                self.plant(visitor, name, value, path="/notes")
                page.get_by_label("Note", exact=True).fill("mine")
                with page.expect_navigation():
                    page.get_by_role("button", name="Add note").click()
                answered = page.url

            assert world.notes_of("mallory") == []
            assert answered == f"{world.url}/{'dashboard' if planted == 'older' else 'notes'}"

    def test_a_garbled_one_does_not_sign_her_out(self, worlds: Worlds, chromium: Browser) -> None:
        world = worlds(Kind.PLAIN_HTTP)
        with self.visitor(world, chromium) as visitor, services.tab(visitor.context) as page:
            visitor.sign_in(page, "bob")
            self.plant(visitor, "session", "garbled", path="/dashboard")
            page.goto(f"{world.url}/dashboard")
            assert page.url == f"{world.url}/dashboard"

    @staticmethod
    def somebody(world: World) -> Visitor:
        """Who has opened SERVER, and has a genuine cookie of nobody's session."""
        mallory = Visitor(world.app)
        mallory.get("/auth/login")
        return mallory

    @staticmethod
    def try_to_sign_in(world: World, page: Page) -> None:
        page.goto(f"{world.url}/auth/login")
        page.get_by_label("Username").fill("bob")
        page.get_by_label("Password").fill(PASSWORD)
        with page.expect_navigation(url=lambda url: not url.endswith("/auth/login")):
            page.get_by_role("button", name="Sign in").click()
        assert any(a.path == "/auth/login" and a.status == 303 for a in world.front.arrivals())

    @staticmethod
    @contextlib.contextmanager
    def visitor(world: World, chromium: Browser) -> Iterator[World]:
        with services.profile(chromium) as context:
            yield replace(world, context=context)

    @staticmethod
    def plant(world: World, name: str, value: str, rest: str = "", path: str = "/") -> None:
        cookie = f"{name}={value}; Domain=shop.example; Path={path}{rest}"
        world.evil.pages["/plant"] = f"<script>document.cookie = {json.dumps(cookie)}</script>"
        with services.tab(world.context) as page:
            page.goto(f"{world.attackers[Place.SIBLING]}/plant")
