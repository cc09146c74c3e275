"""The page as an ASGI application: what it shows, what changes while it is open, and the actions.

Whoever has the token reads everything. Actions are POST requests of the page itself: they need ``allow_actions``, and a
key in a header that no other site can read or send.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from hpo_plugins._text import printable
from hpo_plugins.coordination.opening import Target
from hpo_plugins.errors import HpoError, StorageError, StudyNotFound
from hpo_plugins.page.answers import Answers
from hpo_plugins.page.library import Library
from hpo_plugins.serve.entry import Prefixed, TokenInAddress
from hpo_plugins.serve.guard import Guard
from hpo_plugins.view.words import shortened

logger = logging.getLogger("hpo_plugins")

MAX_BODY = 1 << 17
"""Maximum bytes of an action."""


def create_app(
    storage: Target,
    *,
    token: str,
    allow_actions: bool = False,
    root_path: str = "",
    study: str | None = None,
    hosts: Iterable[str] = (),
    in_frame: bool = False,
    is_ending: Callable[[], bool] = lambda: False,
    acted: Callable[[], Awaitable[None]] | None = None,
) -> Starlette:
    """Return the page of a storage as an ASGI application.

    Args:
        storage: Path of a SQLite file, a URL, or a storage.
        token: What a client must know.
        allow_actions: Whether a person may change studies.
        root_path: The path under which a proxy shows the page.
        study: The study that is shown first; the newest one by default.
        hosts: Further names of this server, such as that of a proxy.
        in_frame: Whether pages of other addresses, such as a notebook, may show it in a frame. The token then stays in
            the address, since browsers send no cookies into such frames.
        is_ending: Whether the server ends, and streams must end with it.
        acted: Called after each action.

    Raises:
        StudyNotFound: There is no such file.
        StorageError: It cannot be opened.
    """
    page = Answers(Library(storage), token, allow_actions, study, in_frame, is_ending, acted)
    reads = {"studies": page.studies, "study": page.study, "insights": page.insights, "trial": page.trial}
    reads |= {"curves": page.curves, "compare": page.compare, "download": page.download, "plotly.js": page.plotly}
    routes = [
        Route("/", page.shell),
        Route("/page/events", page.events),
        Route("/page/act", page.act, methods=["POST"]),
    ]
    routes += [Route(f"/page/{name}", read) for name, read in reads.items()]
    entry = [Middleware(Prefixed, root=root_path)] + ([Middleware(TokenInAddress)] if in_frame else [])
    guard = Middleware(Guard, token=token, hosts=hosts, max_body=MAX_BODY)
    handlers = {HTTPException: _refused, HpoError: _failed, Exception: _defect}
    app = Starlette(routes=routes, middleware=[*entry, guard], exception_handlers=handlers)
    app.state.page = page
    return app


def _failed(request: Request, error: Exception) -> Response:  # noqa: ARG001 - the signature of handlers
    """Answer with an error of this package as its sentence."""
    if isinstance(error, StudyNotFound):
        return _sentence(404, str(error))
    if isinstance(error, StorageError):  # it may be unreachable for now
        return _sentence(503, f"The study cannot be read or written now: {error}")
    return _sentence(400, str(error))


def _defect(request: Request, error: Exception) -> Response:  # noqa: ARG001 - the signature of handlers
    logger.warning("the page could not answer a request: %s: %s", type(error).__name__, error)
    return _sentence(500, "The page could not answer; please report this.")


def _refused(request: Request, error: Exception) -> Response:  # noqa: ARG001 - the signature of handlers
    assert isinstance(error, HTTPException)  # noqa: S101 - it is registered for these
    sentences = {
        404: "There is no such page.",
        405: "Only GET is answered here; actions are POST requests of the page.",
    }
    return _sentence(error.status_code, sentences.get(error.status_code, error.detail))


def _sentence(status: int, text: str) -> Response:
    return PlainTextResponse(shortened(printable(text), 1000) + "\n", status)
