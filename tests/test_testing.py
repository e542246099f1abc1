"""What others test with."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, Response, g, session
from flask.testing import EnvironBuilder
from flask_login import LoginManager, UserMixin, current_user

from flask_holdfast import CSRFProtect, Holdfast
from flask_holdfast.testing import BASE_URL, HoldfastClient, unprotected


@pytest.fixture
def client(tmp_path: Path) -> HoldfastClient:
    app = Flask("app", instance_path=str(tmp_path))
    app.config.update(
        SECRET_KEY="a test's own secret key, long enough", SESSION_STORE_URL="memory://"
    )
    Holdfast(app)
    app.test_client_class = HoldfastClient

    @app.post("/notes")
    def notes() -> dict[str, int]:
        session["count"] = session.get("count", 0) + 1
        return {"count": session["count"]}

    client = app.test_client()
    assert isinstance(client, HoldfastClient)
    return client


def test_it_sends_a_real_token_and_keeps_its_session(client: HoldfastClient) -> None:
    assert client.post("/notes").json == {"count": 1}
    assert client.post("/notes", json={}).json == {"count": 2}


def test_without_a_token_the_protection_is_seen(client: HoldfastClient) -> None:
    assert client.post("/notes", csrf=False).status_code == 400


def test_a_token_of_the_tests_own_is_sent_as_it_is(client: HoldfastClient) -> None:
    assert client.post("/notes", headers={"X-CSRFToken": "made up"}).status_code == 400


def test_a_token_is_fetched_from_where_the_request_goes(client: HoldfastClient) -> None:
    assert client.post("https://other.example/notes").json == {"count": 1}
    assert client.post("/notes", base_url="https://other.example").json == {"count": 2}
    assert client.post("/notes").json == {"count": 1}, "another host, another cookie"


def test_a_request_that_was_built_elsewhere_gets_its_token(client: HoldfastClient) -> None:
    builder = EnvironBuilder(client.application, "/notes", base_url=BASE_URL, method="POST")

    assert client.open(builder).json == {"count": 1}
    assert client.open(builder.get_environ()).json == {"count": 2}, "the token came along"


def test_a_made_request_without_a_token_is_not_helped(client: HoldfastClient) -> None:
    builder = EnvironBuilder(client.application, "/notes", base_url=BASE_URL, method="POST")

    assert client.open(builder.get_environ()).status_code == 400


def test_the_protection_without_sessions_of_ours_has_tokens_too() -> None:
    app = Flask("app")
    app.config["SECRET_KEY"] = "a test's own secret key, long enough"
    CSRFProtect(app)
    app.post("/write")(lambda: "written")
    client = HoldfastClient(app, app.response_class, use_cookies=True)

    assert client.post("/write").text == "written"
    assert client.post("/write", csrf=False).status_code == 400


@pytest.mark.parametrize(
    ("config", "where"),
    [
        pytest.param({"APPLICATION_ROOT": "/app"}, {}, id="below a path"),
        pytest.param({"SERVER_NAME": "shop.example"}, {}, id="on a host of its own"),
        pytest.param({"SERVER_NAME": "shop.example"}, {"subdomain": "api"}, id="on a subdomain"),
    ],
)
def test_an_app_is_asked_where_it_says_it_is(
    config: dict[str, str], where: dict[str, Any], tmp_path: Path
) -> None:
    app = Flask("app", instance_path=str(tmp_path), subdomain_matching=True)
    app.config.update(
        SECRET_KEY="a test's own secret key, long enough", SESSION_STORE_URL="memory://", **config
    )
    Holdfast(app)

    def notes() -> dict[str, int]:
        session["count"] = session.get("count", 0) + 1
        return {"count": session["count"]}

    app.add_url_rule("/notes", view_func=notes, methods=["POST"], **where)
    client = HoldfastClient(app, app.response_class, use_cookies=True)

    assert client.post("/notes", **where).json == {"count": 1}
    if not where:  # each host has its own cookie
        with client.session_transaction() as kept:
            kept["count"] = 10
        client.sign_in("ada")
    assert client.post("/notes", **where).json == {"count": 2 if where else 11}


# -- signing in ------------------------------------------------------------------------


class User(UserMixin):
    def __init__(self, name: str, *, active: bool = True) -> None:
        self.id = name
        self.active = active

    @property
    def is_active(self) -> bool:
        return self.active


@pytest.fixture
def with_users(client: HoldfastClient) -> HoldfastClient:
    LoginManager(client.application).user_loader(User)
    client.application.get("/me")(lambda: str(current_user.get_id()))
    return client


def sids(client: HoldfastClient, user: str) -> list[str]:
    return list(client.application.extensions["holdfast"].sessions.get_active_sessions(user))


@pytest.mark.parametrize("user", [User("ada"), "ada"], ids=["Flask-Login's user", "a plain id"])
def test_signing_in_is_a_login_that_rotates(with_users: HoldfastClient, user: object) -> None:
    client = with_users
    client.post("/notes")
    before, old_token = client.get_cookie("__Host-session"), client.csrf_token()

    client.sign_in(user)

    assert client.get("/me").text == "ada"
    assert client.get_cookie("__Host-session") != before
    assert len(sids(client, "ada")) == 1
    assert client.post("/notes", headers={"X-CSRFToken": old_token}).status_code == 400
    assert client.post("/notes").json == {"count": 2}, "what the visitor had is kept"


def test_signing_in_as_somebody_else_ends_what_was(with_users: HoldfastClient) -> None:
    with_users.sign_in(User("ada"))
    with_users.post("/notes")

    with_users.sign_in(User("bob"))

    assert with_users.get("/me").text == "bob"
    assert with_users.post("/notes").json == {"count": 1}
    assert sids(with_users, "ada") == []


def test_without_flask_login_an_id_is_enough(client: HoldfastClient) -> None:
    client.sign_in(7)

    assert len(sids(client, "7")) == 1
    assert client.post("/notes").json == {"count": 1}


def test_two_clients_are_two_people(with_users: HoldfastClient) -> None:
    other = with_users.application.test_client()
    assert isinstance(other, HoldfastClient)
    with_users.sign_in(User("ada"))
    other.sign_in(User("bob"))

    assert (with_users.get("/me").text, other.get("/me").text) == ("ada", "bob")


def test_a_remembered_user_comes_back(with_users: HoldfastClient) -> None:
    with_users.sign_in(User("ada"), remember=True)
    with_users.delete_cookie("__Host-session")

    assert with_users.get("/me").text == "ada"


def test_signing_in_runs_none_of_the_apps_hooks(with_users: HoldfastClient) -> None:
    """A hook that ends what another one began would fail: no request was begun."""
    app = with_users.application

    @app.before_request
    def begin() -> None:
        g.began = True

    @app.after_request
    def end(response: Response) -> Response:
        assert g.began
        return response

    with_users.sign_in(User("ada"), remember=True)

    assert with_users.get("/me").text == "ada"
    assert with_users.get_cookie("__Host-remember_token") is not None


def test_who_may_not_sign_in_does_not(with_users: HoldfastClient) -> None:
    with pytest.raises(ValueError, match="is_active"):
        with_users.sign_in(User("ada", active=False))
    with pytest.raises(ValueError, match="remembered"):
        with_users.sign_in("ada", remember=True)

    assert with_users.get("/me").text == "None"
    assert sids(with_users, "ada") == []


# -- without the protection ------------------------------------------------------------


def test_the_protection_is_back_after_a_failure(client: HoldfastClient) -> None:
    def fail() -> None:
        with unprotected(client.application):
            assert client.post("/notes", csrf=False).status_code == 200
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert client.post("/notes", csrf=False).status_code == 400


def test_an_app_that_was_never_protected_stays_so(client: HoldfastClient) -> None:
    client.application.config["WTF_CSRF_ENABLED"] = False
    with unprotected(client.application):
        pass

    assert client.post("/notes", csrf=False).status_code == 200


def test_the_examples_of_the_documents_run(tmp_path: Path) -> None:
    page = (Path(__file__).parents[1] / "docs" / "testing.md").read_text()
    examples = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    (tmp_path / "test_examples.py").write_text("\n\n".join(examples))

    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"]
    run = subprocess.run(
        [*command, "--rootdir", str(tmp_path), str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )

    assert run.returncode == 0, run.stdout + run.stderr
    assert f"{''.join(examples).count('def test_')} passed" in run.stdout
