"""What the page answers: studies, what changes, files, and a person's actions."""

from __future__ import annotations

import functools
import gzip
import hmac
import html
import importlib.resources
import json
import math
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable

import anyio
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from hpo_plugins._text import printable
from hpo_plugins.errors import InvalidArgument, MissingDependency, StorageError, StudyNotFound
from hpo_plugins.page import data
from hpo_plugins.page.acts import act
from hpo_plugins.page.compare import comparison
from hpo_plugins.page.library import Library, OpenStudy
from hpo_plugins.study.confirmation import is_confirmation
from hpo_plugins.view import StudyView
from hpo_plugins.view.report import as_json, report
from hpo_plugins.view.tables import as_csv, curve_rows, trial_rows
from hpo_plugins.view.words import shortened

POLL_SECONDS = 1.0
"""Seconds between two looks at a study whose page is open."""
QUIET_SECONDS = 15.0
"""After this long without a change, a comment shows that the stream still lives."""
MAX_COMPARED = 12
"""Studies in one picture."""
INSIGHT_SHARE = 0.05
"""The surrogate is fitted again for the page after this share of further trials, or when the search is over."""
KEY_HEADER = "x-hpo-plugins-key"


class Answers:
    """The answers of the page to its requests.

    Args:
        library: The studies.
        token: What a client must know; the key of actions is derived from it.
        allow_actions: Whether a person may change studies.
        study: The study that is shown first.
        in_frame: Whether other pages may show it in a frame.
        is_ending: Whether the server ends.
        acted: Called after each action.
    """

    def __init__(
        self,
        library: Library,
        token: str,
        allow_actions: bool,
        study: str | None,
        in_frame: bool,
        is_ending: Callable[[], bool],
        acted: Callable[[], Awaitable[None]] | None,
    ) -> None:
        """Answer nothing yet."""
        self._library = library
        self._key = hmac.new(token.encode(), b"the actions of the page", "sha256").hexdigest()
        self._allow_actions = allow_actions
        self._first = study
        self._in_frame = in_frame
        self._is_ending = is_ending
        self._acted = acted

    def warm(self) -> None:
        """Make what is asked for first."""
        if (name := self._shown(self._first)) is not None:
            self._study(name)

    def _shown(self, wanted: str | None) -> str | None:
        """Return the name of the study that is shown: the one that is wanted, or else the newest one."""
        names = self._library.names()
        searches = [name for name in names if not is_confirmation(name, names)]
        return wanted if wanted in names else searches[-1] if searches else None

    def _read(self, name: str) -> tuple[OpenStudy, str, StudyView]:
        """Return a study with its state and view as it is now."""
        found = self._library.study(name)
        try:
            return found, *found.view()
        except StudyNotFound:  # there may be another study of its name
            self._library.forget(name)
            raise

    # What it shows.

    def shell(self, request: Request) -> Response:
        """Return the page without a study."""
        shown = self._shown(request.query_params.get("study", self._first))
        nonce = secrets.token_urlsafe(16)
        config = {"allowActions": self._allow_actions, "canRename": self._library.can_rename}
        parts = {
            "TITLE": html.escape(printable(shown or "hpo-plugins")),
            "CONFIG": data.with_raw(as_json(config | {"key": self._key if self._allow_actions else ""}), study=shown),
            "NONCE": nonce,
            "CSS": _asset("page.css"),
            "JS": _asset("page.js"),
        }
        text = re.sub(r"\{\{([A-Z]+)\}\}", lambda found: parts[found[1]], _asset("page.html"))
        return Response(text, media_type="text/html", headers={"Content-Security-Policy": self._policy(nonce)})

    def _policy(self, nonce: str) -> str:
        policy = (
            f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'unsafe-inline'; img-src data: blob:; "
            f"connect-src 'self'; base-uri 'none'; form-action 'none'"
        )
        return policy if self._in_frame else f"{policy}; frame-ancestors 'none'"

    def studies(self, request: Request) -> Response:  # noqa: ARG002
        """Return the names of the studies, and how many trials are in each state."""
        library = self._library
        found = [{"name": n, "label": printable(n), "counts": library.counts(n)} for n in library.names()]
        return _json(json.dumps(found))

    def study(self, request: Request) -> Response:
        """Return what is shown of a study first."""
        return _json(self._study(_name(request)))

    def _study(self, name: str) -> str:
        found, state, view = self._read(name)
        actions = found.session.store.actions
        return found.made("study", state, lambda: data.study_json(view, state, actions()))

    def insights(self, request: Request) -> Response:
        """Return what takes a fit of the surrogate; it is fitted again when enough trials have ended."""
        found, _, view = self._read(_name(request))
        share = math.log1p(view.n_ended) // math.log1p(INSIGHT_SHARE)
        version = (view.n_ended if view.is_done else share, view.is_done, len(view.confirmation))
        return _json(found.made("insights", version, lambda: data.insights_json(view)))

    def trial(self, request: Request) -> Response:
        """Return everything about one trial."""
        _, _, view = self._read(_name(request))
        numbers = _numbers(request, "trial")
        if len(numbers) != 1 or numbers[0] >= len(view.trials):
            raise InvalidArgument(f"trial must be one of the {len(view.trials)} trials, but got trial={numbers}.")
        return _json(data.trial_json(view, numbers[0]))

    def curves(self, request: Request) -> Response:
        """Return the learning curves of some trials."""
        _, _, view = self._read(_name(request))
        return _json(data.curves_json(view, _numbers(request, "trial")))

    def compare(self, request: Request) -> Response:
        """Return the progress of several studies."""
        names = request.query_params.getlist("name")[:MAX_COMPARED]
        if not names:
            raise InvalidArgument("name must name at least one study.")
        return _json(as_json(comparison([self._read(name)[2] for name in names])))

    def download(self, request: Request) -> Response:
        """Return a file."""
        found, _, view = self._read(_name(request))
        what = request.query_params.get("what", "")
        makers: dict[str, tuple[str, Callable[[], str]]] = {
            "report": ("html", lambda: report(view)),
            "trials": ("csv", lambda: as_csv(trial_rows(view))),
            "curves": ("csv", lambda: as_csv(curve_rows(view))),
            "actions": ("csv", lambda: as_csv(data.action_rows(found.session.store.actions()))),
        }
        if what not in makers:
            raise InvalidArgument(f"what must be one of {', '.join(makers)}, but got what={what!r}.")
        suffix, make = makers[what]
        headers = {"Content-Disposition": f'attachment; filename="{what}.{suffix}"'}
        return Response(make() + "\n", media_type=f"text/{suffix}", headers=headers)

    def plotly(self, request: Request) -> Response:
        """Return plotly's script."""
        headers = {"Cache-Control": "private, max-age=86400", "Vary": "Accept-Encoding"}
        packed = plotly_packed()
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(packed, media_type="text/javascript", headers=headers | {"Content-Encoding": "gzip"})
        return Response(gzip.decompress(packed), media_type="text/javascript", headers=headers)

    # What changes.

    async def events(self, request: Request) -> Response:
        """Return a stream of the study's states (server-sent events)."""
        study = await run_in_threadpool(self._library.study, _name(request))
        known = request.query_params.get("state", "")
        return StreamingResponse(self._stream(study.name, known), media_type="text/event-stream")

    async def _stream(self, name: str, known: str) -> AsyncIterator[str]:
        """Yield the study's states as events, until it is deleted or the server ends."""
        quiet = 0.0
        while not self._is_ending():
            kind, text = await run_in_threadpool(self._look, name)
            quiet = quiet + POLL_SECONDS if text == known else 0.0
            if text != known:
                yield f"event: {kind}\ndata: {text}\n\n"
                known = text
            elif quiet >= QUIET_SECONDS:
                quiet = 0.0
                yield ": no change\n\n"
            if kind == "gone":
                return
            await anyio.sleep(POLL_SECONDS)

    def _look(self, name: str) -> tuple[str, str]:
        """Return the kind of an event and its text: the study's state, or why it cannot be read."""
        try:
            return "state", self._library.study(name).state()
        except StudyNotFound:
            self._library.forget(name)
            return "gone", "The study was deleted or renamed."
        except StorageError as error:
            return "trouble", shortened(printable(error), 500)

    # What a person does.

    async def act(self, request: Request) -> Response:
        """Carry out an action."""
        self._check_act(request)
        message = await run_in_threadpool(act, self._library, _name(request), await request.body())
        if self._acted is not None:
            await self._acted()
        return _json(json.dumps({"message": printable(message)}))

    def _check_act(self, request: Request) -> None:
        """Raise HTTPException unless the page itself has sent an action that is allowed."""
        if not self._allow_actions:
            raise HTTPException(403, "This page can only be read. Start it with --allow-actions to act on studies.")
        if not hmac.compare_digest(request.headers.get(KEY_HEADER, "").encode(errors="replace"), self._key.encode()):
            raise HTTPException(403, f"Actions need the key of the page in the header {KEY_HEADER}; reload the page.")
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            raise HTTPException(415, "An action must be application/json.")


def _json(text: str) -> Response:
    return Response(text, media_type="application/json")


def _name(request: Request) -> str:
    """Return the study that a request names."""
    name = request.query_params.get("name")
    if name is None:
        raise InvalidArgument("name must name a study.")
    return name


def _numbers(request: Request, key: str) -> list[int]:
    text = request.query_params.get(key, "")
    parts = [part for part in text.split(",") if part][: data.MAX_SELECTED]
    if not all(part.isascii() and part.isdecimal() and len(part) < 10 for part in parts):
        raise InvalidArgument(f"{key} must be numbers of trials, such as 3,7, but got {key}={shortened(text, 60)!r}.")
    return [int(part) for part in parts]


@functools.cache
def _asset(name: str) -> str:
    return importlib.resources.files("hpo_plugins.page").joinpath(f"assets/{name}").read_text(encoding="utf-8")


@functools.cache
def plotly_packed() -> bytes:
    """Return plotly's script, compressed.

    Raises:
        MissingDependency: plotly is not installed.
    """
    try:
        from plotly.offline import get_plotlyjs
    except ModuleNotFoundError as error:
        raise MissingDependency.of(error, "plotly", "plot") from error
    return gzip.compress(get_plotlyjs().encode(), 6)
