"""The page that shows the studies of a storage as they are now, and on which a person can act on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hpo_plugins.errors import MissingDependency

if TYPE_CHECKING:
    from hpo_plugins.page.server import PageServer

_NEEDED = ("starlette", "uvicorn", "anyio", "h11", "filelock")


def page_server(storage: Any, **arguments: Any) -> PageServer:
    """Return a server of the page that listens; see ``PageServer``.

    Raises:
        MissingDependency: The packages of the extra ``dashboard`` are not installed.
    """
    try:
        from hpo_plugins.page.server import PageServer
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        raise MissingDependency.of(error, missing if missing in _NEEDED else "starlette", "dashboard") from error
    return PageServer(storage, **arguments)
