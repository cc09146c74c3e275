"""The page in a notebook: a frame that shows a server of this process."""

from __future__ import annotations

import weakref
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hpo_plugins.page.server import PageServer


class Dashboard:
    """A page that this process serves in a thread; a notebook shows it in a frame.

    It ends with ``close()``, with its tuner, or with the process.

    Args:
        server: The server; it is started.
        address: Where a browser reaches it, None for its own address. ``{port}`` stands for its port.
        height: The height of the frame, in pixels.

    Attributes:
        url: The address of the page, with its token.
    """

    def __init__(self, server: PageServer, address: str | None, height: int) -> None:
        """Start the server."""
        port, query = server.address[1], f"?token={server.token}"
        self.url = server.url if address is None else address.replace("{port}", str(port)).rstrip("/") + "/" + query
        self._height = height
        server.start()
        self._end = weakref.finalize(self, server.end)

    def close(self) -> None:
        """End the server."""
        self._end()

    def _repr_html_(self) -> str:
        url = escape(self.url)
        return (
            f'<iframe src="{url}" title="The study as it is now" width="100%" height="{self._height}" '
            f'style="border: 0"></iframe><p>If there is no page above, open <a href="{url}">{url}</a>. If this '
            "notebook runs on another machine, see <code>help(tuner.dashboard)</code>.</p>"
        )

    def __repr__(self) -> str:
        """Return the address."""
        return f"Dashboard at {self.url}" if self._end.alive else "Dashboard, closed"
