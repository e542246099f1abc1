"""Registering, signing in and out, changing the password."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

import pytest
from argon2 import PasswordHasher

from server import models, passwords
from server.login import safe_target
from server.routes import auth
from tests.server.visitor import ORIGIN, PASSWORD, Visitor, token_in

if TYPE_CHECKING:
    from flask import Flask

    from tests.server.conftest import NewApp

ELSEWHERE = [
    "https://elsewhere.example/",
    "//elsewhere.example/",
    "///elsewhere.example/",
    r"/\elsewhere.example/",
    r"\/elsewhere.example/",
    "/\t/elsewhere.example/",
    "\t//elsewhere.example/",
    "/\n/elsewhere.example/",
    " //elsewhere.example/",
    "https:elsewhere.example",
    "javascript:alert(1)",
    "elsewhere.example",
    "/dashboard\r\nLocation: https://elsewhere.example/",
    "//[",
    "/" + "x" * 3000,
    "",
]


def test_the_sign_in_page_answers_a_signed_in_head_as_it_does_a_get(bob: Visitor) -> None:
    answer = bob.client.head("/auth/login", base_url=ORIGIN, headers={"User-Agent": bob.user_agent})

    assert (answer.status_code, answer.location) == (302, bob.get("/auth/login").location)


def test_who_registers_is_signed_in(anyone: Visitor) -> None:
    answer = anyone.register("carol")

    assert (answer.status_code, answer.location) == (303, "/dashboard")
    assert "Hello, carol" in anyone.get("/dashboard").text


def test_the_session_cookie_is_a_host_cookie(anyone: Visitor) -> None:
    cookies = [
        value
        for value in anyone.register("carol").headers.getlist("Set-Cookie")
        if value.startswith("__Host-session=")
    ]

    assert len(cookies) == 1
    attributes = set(cookies[0].split("; ")[1:])
    assert {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"} <= attributes
    assert not any(attribute.startswith("Domain") for attribute in attributes)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        pytest.param({"username": "ab"}, "3 to 32 characters", id="a username too short"),
        pytest.param({"username": "x" * 33}, "3 to 32 characters", id="a username too long"),
        pytest.param({"username": "bob<script>"}, "Use letters", id="a username with markup"),
        pytest.param({"username": "bob\nroot"}, "Use letters", id="a username of two lines"),
        pytest.param({"username": "\u0440\u043e\u043e\u0442"}, "Use letters", id="look-alikes"),
        pytest.param({"username": "Root-Ada"}, "taken", id="a name that differs only in case"),
        pytest.param({"email": "nobody"}, "not an e-mail address", id="no e-mail address"),
        pytest.param({"password": "short12"}, "8 to 256 characters", id="a password too short"),
        pytest.param({"password": "x1" * 129}, "8 to 256", id="a password too long"),
        pytest.param({"password": "Password123"}, "first that anybody", id="a common password"),
        pytest.param({"password": "zzzzzzzzzz"}, "first that anybody", id="one character repeated"),
        pytest.param(
            {"username": "margaret", "password": "margaret1"},
            "easy to guess",
            id="username and a number",
        ),
        pytest.param({"confirm_password": "something else"}, "differ", id="two passwords"),
    ],
)
def test_what_cannot_be_registered_is_refused_with_the_reason(
    anyone: Visitor, fields: dict[str, str], said: str
) -> None:
    if "password" in fields:
        fields = {"confirm_password": fields["password"], **fields}

    answer = anyone.register(**{"username": "carol", **fields})

    assert answer.status_code == 400
    assert said in answer.text
    assert not anyone.is_signed_in()


def test_a_refused_form_keeps_what_was_typed_but_no_password(anyone: Visitor) -> None:
    answer = anyone.register("carol", email="nobody", password=PASSWORD)

    assert 'value="carol"' in answer.text
    assert PASSWORD not in answer.text


@pytest.mark.parametrize(
    "password", ["x" * 7 + "y", "a b " * 64, "\u00e9t\u00e9 \U0001f600 \u2126 Stra\u00dfe"]
)
def test_any_password_of_8_to_256_characters_works(anyone: Visitor, password: str) -> None:
    assert anyone.register("carol", password).status_code == 303
    anyone.logout()

    assert anyone.login("carol", password).status_code == 303


def test_two_keyboards_that_compose_a_letter_differently_type_one_password(
    anyone: Visitor,
) -> None:
    anyone.register("carol", "caf\u00e9 au lait")
    anyone.logout()

    assert anyone.login("carol", "cafe\u0301 au lait").status_code == 303


def test_the_username_is_known_in_any_case(bob: Visitor, anyone: Visitor) -> None:
    assert anyone.login("BOB").status_code == 303


def test_a_wrong_password_and_an_unknown_name_get_one_answer(bob: Visitor, anyone: Visitor) -> None:
    def answer(username: str) -> tuple[int, str]:
        page = anyone.login(username, "not the password")
        text = page.text.replace(token_in(page.text), "").replace(f'value="{username}"', "")
        return page.status_code, text[text.index("<main") :]

    status, text = answer("bob")

    assert status == 401
    assert "Username or password is not right." in text
    assert (status, text) == answer("nobody-here")


def test_an_unknown_name_takes_as_long_as_a_wrong_password(
    real_passwords: None, bob: Visitor, app: Flask
) -> None:
    def seconds(username: str) -> float:
        with app.app_context():
            started = time.perf_counter()
            assert models.authenticate(username, "not the password") is None
            return time.perf_counter() - started

    known, unknown = (
        statistics.median(seconds(name) for _ in range(3)) for name in ("bob", "nobody-here")
    )

    # An answer without hashing would be a hundred times faster.
    assert unknown > known / 3


@pytest.mark.parametrize("odd", ["", "\0", "x" * 5000, "' OR 1=1 --", "\ud7ff\uffff"])
def test_an_odd_name_or_password_is_only_a_refusal(anyone: Visitor, odd: str) -> None:
    assert anyone.login(odd, PASSWORD).status_code in {400, 401}
    assert anyone.login("root-ada", odd).status_code in {400, 401}
    assert not anyone.is_signed_in()


def test_a_page_that_asks_for_a_login_is_reached_after_it(bob: Visitor, anyone: Visitor) -> None:
    asked = anyone.get("/account/sessions?cursor=2")
    assert asked.status_code == 303
    page = anyone.get(asked.location)

    answer = anyone.post(
        asked.location, csrf_token=token_in(page.text), username="bob", password=PASSWORD
    )

    assert answer.location == "/account/sessions?cursor=2"


@pytest.mark.parametrize("target", ELSEWHERE)
def test_a_login_never_leads_to_another_site(target: str) -> None:
    assert safe_target(target) is None


def test_a_login_with_a_foreign_target_leads_to_the_dashboard(
    bob: Visitor, anyone: Visitor
) -> None:
    page = anyone.get("/auth/login?next=//elsewhere.example/")
    assert "elsewhere" not in page.text

    answer = anyone.submit(
        "/auth/login?next=//elsewhere.example/", username="bob", password=PASSWORD
    )

    assert answer.location == "/dashboard"


def test_a_visitor_who_only_looks_leaves_nothing_in_the_store(
    anyone: Visitor, admin: Visitor
) -> None:
    for path in ("/", "/welcome", "/auth/login", "/auth/register", "/dashboard", "/nothing-here"):
        anyone.get(path)

    assert "<dt>Anonymous</dt><dd>0</dd>" in admin.get("/admin/sessions").text


def test_logging_in_changes_the_session_and_kills_the_one_before(
    bob: Visitor, anyone: Visitor, app: Flask
) -> None:
    anyone.get("/auth/login")
    before = anyone.cookies()

    anyone.login("bob")

    assert anyone.cookies() != before
    assert not Visitor(app).bring(before).is_signed_in()


def test_a_cookie_copied_before_logout_opens_nothing_after_it(bob: Visitor, app: Flask) -> None:
    copied = bob.cookies()
    assert Visitor(app, bob.user_agent).bring(copied).is_signed_in()

    answer = bob.logout()

    assert (answer.status_code, answer.location) == (303, "/welcome")
    assert answer.headers["Clear-Site-Data"] == '"cache"'
    thief = Visitor(app, bob.user_agent).bring(copied)
    assert not thief.is_signed_in()
    assert thief.get("/api/notes").status_code == 401


def test_a_link_or_an_image_logs_nobody_out(bob: Visitor) -> None:
    assert bob.get("/auth/logout").status_code == 405
    assert bob.is_signed_in()


def test_a_logout_without_token_is_refused(bob: Visitor) -> None:
    assert bob.post("/auth/logout").status_code == 400
    assert bob.is_signed_in()


def test_remember_me_signs_in_again_until_the_logout(bob: Visitor, app: Flask) -> None:
    bob.logout()
    bob.login("bob", remember="y")
    kept = {name: value for name, value in bob.cookies().items() if "session" not in name}
    assert kept, "the login left a cookie that outlives the session"

    returned = Visitor(app, bob.user_agent).bring(kept)
    assert returned.is_signed_in()
    returned.logout()

    assert not Visitor(app, bob.user_agent).bring(kept).is_signed_in()


def test_a_new_password_ends_every_other_session(bob: Visitor, app: Flask) -> None:
    phone = Visitor(app)
    phone.login("bob", remember="y")
    copied = bob.cookies()

    answer = bob.submit(
        "/auth/change-password",
        current_password=PASSWORD,
        new_password="five other words for it",
        confirm_password="five other words for it",
    )

    assert (answer.status_code, answer.location) == (303, "/account/sessions")
    assert bob.is_signed_in()
    assert not phone.is_signed_in()
    assert not Visitor(app, bob.user_agent).bring(copied).is_signed_in(), "the session got a new id"
    assert Visitor(app).login("bob").status_code == 401
    assert Visitor(app).login("bob", "five other words for it").status_code == 303


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        pytest.param({"current_password": "wrong"}, "not your current", id="the old one is wrong"),
        pytest.param({"new_password": "short"}, "8 to 256", id="the new one is too short"),
        pytest.param({"confirm_password": "differs"}, "differ", id="the repetition differs"),
    ],
)
def test_a_password_change_that_is_refused_changes_nothing(
    bob: Visitor, app: Flask, fields: dict[str, str], said: str
) -> None:
    new = "five other words for it"
    given = {"current_password": PASSWORD, "new_password": new, "confirm_password": new}

    answer = bob.submit("/auth/change-password", **{**given, **fields})

    assert answer.status_code == 400
    assert said in answer.text
    assert Visitor(app).login("bob").status_code == 303


def test_a_sign_in_does_not_bring_the_old_password_back(
    bob: Visitor, app: Flask, new_app: NewApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An old hash is made anew with the password that was typed: of a sign-in that had begun
    before the password was changed, that was the old one, which worked again for good.
    """
    new, desk = "five other words for it", Visitor(new_app())
    desk.login("bob")

    def changed_meanwhile(stored: str) -> bool:
        given = {"current_password": PASSWORD, "new_password": new, "confirm_password": new}
        assert desk.submit("/auth/change-password", **given).status_code == 303
        return True

    with monkeypatch.context() as patch:
        patch.setattr(passwords, "is_outdated", changed_meanwhile)
        Visitor(app).login("bob")

    with app.app_context():
        assert models.authenticate("bob", PASSWORD) is None
        assert models.authenticate("bob", new) is not None


def test_of_two_who_change_one_password_at_once_one_is_refused(
    bob: Visitor, app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thief's change, made while the owner's was under way, was overwritten by it, or it
    overwrote the owner's: both were told that theirs is the password now.
    """
    thief = Visitor(app)
    thief.login("bob")
    theirs, set_password = "a password of the thief", models.set_password

    def change(visitor: Visitor, password: str) -> int:
        given = {"current_password": PASSWORD, "new_password": password}
        answer = visitor.submit("/auth/change-password", **given, confirm_password=password)
        return answer.status_code

    def slowly(user: models.User, password: str) -> bool:
        monkeypatch.setattr(auth, "set_password", set_password)
        with app.app_context():
            found = models.find_user("bob")
            assert found is not None
            models.set_password(found, theirs)
        return set_password(user, password)

    monkeypatch.setattr(auth, "set_password", slowly)

    assert change(bob, "five other words for it") == 400
    with app.app_context():
        assert models.authenticate("bob", theirs) is not None
    assert not thief.is_signed_in()


def test_a_password_hashed_with_yesterdays_parameters_is_hashed_anew_at_login(
    bob: Visitor, app: Flask
) -> None:
    with app.app_context():
        user = models.find_user("bob")
        assert user
        user.password_hash = weak = PasswordHasher(time_cost=1, memory_cost=8192).hash(PASSWORD)
        models.database().commit()

    assert Visitor(app).login("bob").status_code == 303

    with app.app_context():
        user = models.find_user("bob")
        assert user
        assert user.password_hash != weak


def test_the_terminal_makes_an_administrator(app: Flask) -> None:
    command = ["users", "add", "eve", "eve@example.com", "--admin"]

    result = app.test_cli_runner().invoke(args=command, input=f"{PASSWORD}\n{PASSWORD}\n")

    assert result.exit_code == 0, result.output
    eve = Visitor(app)
    eve.login("eve")
    assert eve.get("/admin/sessions").status_code == 200


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["bob", "b@example.com"], "There is an account 'bob'"),
        (["x", "x@example.com"], "3 to 32 characters"),
        (["carol", "nowhere"], "not an e-mail address"),
    ],
)
def test_the_terminal_accepts_what_the_page_accepts(
    bob: Visitor, app: Flask, arguments: list[str], said: str
) -> None:
    command = ["users", "add", *arguments, "--password", PASSWORD]

    result = app.test_cli_runner().invoke(args=command)

    assert result.exit_code == 1
    assert said in result.output
