"""The same views in Django, as its `startproject` sets it up, without accounts and database.

Imported by a process that measures it: settings belong to a whole process there. Django
renews a session's life only where it is written, and the token's cookie where a token is
rendered.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import django  # type: ignore[import-not-found]  # see peers, as for all of Django
from django.conf import settings  # type: ignore[import-not-found]
from django.core.wsgi import get_wsgi_application  # type: ignore[import-not-found]
from django.http import HttpResponse  # type: ignore[import-not-found]
from django.middleware.csrf import rotate_token  # type: ignore[import-not-found]
from django.shortcuts import render  # type: ignore[import-not-found]
from django.urls import path  # type: ignore[import-not-found]

from .contenders import CART, PAGE, ROLES, SECRET_KEY

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

FORM = """<!doctype html><title>Bench</title>
<form method="post" action="/write">
{% csrf_token %}
<textarea name="text"></textarea><button>Send</button></form>
"""

_numbers = itertools.count(100_000)


def untouched(_request: Any) -> Any:
    return HttpResponse(PAGE.format("nothing of yours"))


def read(request: Any) -> Any:
    session = request.session
    total = sum(line["count"] * line["price"] for line in session["cart"])
    page = PAGE.format(f"{session['user_id']} ({', '.join(session['roles'])}): {total}")
    return HttpResponse(page)


def write(request: Any) -> Any:
    request.session["note"] = f"{request.POST['text']} {next(_numbers)}"
    return HttpResponse(PAGE.format("written"))


def form(request: Any) -> Any:
    return render(request, "form.html")


def login(request: Any) -> Any:
    # What the login of django.contrib.auth does to both.
    request.session.cycle_key()
    request.session.update({"user_id": request.POST["user"], "roles": ROLES, "cart": CART})
    rotate_token(request)
    return HttpResponse(PAGE.format("signed in"))


urlpatterns = [
    path("untouched", untouched),
    path("read", read),
    path("write", write),
    path("form", form),
    path("login", login),
]


def build(redis_url: str, host: str) -> WSGIApplication:
    """The application; once for each process."""
    loader = ("django.template.loaders.locmem.Loader", {"form.html": FORM})
    settings.configure(
        SECRET_KEY=SECRET_KEY,
        ALLOWED_HOSTS=[host],
        ROOT_URLCONF=__name__,
        MIDDLEWARE=[
            "django.middleware.security.SecurityMiddleware",
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.middleware.common.CommonMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
            "django.middleware.clickjacking.XFrameOptionsMiddleware",
        ],
        SESSION_ENGINE="django.contrib.sessions.backends.cache",
        CACHES={
            "default": {
                "BACKEND": "django.core.cache.backends.redis.RedisCache",
                "LOCATION": redis_url,
            }
        },
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                # As for templates in files where DEBUG is off.
                "OPTIONS": {"loaders": [("django.template.loaders.cached.Loader", [loader])]},
            }
        ],
    )
    django.setup()
    application: WSGIApplication = get_wsgi_application()
    return application
