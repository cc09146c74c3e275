"""The command that serves a storage over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hpo_plugins.cli.common import STORAGE, say
from hpo_plugins.errors import MissingDependency
from hpo_plugins.serve.wire import MAX_RATE

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

    from hpo_plugins.serve.app import Acted
    from hpo_plugins.storage import Storage

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(epilog="Example: hpo-plugins serve tuning.db --host 0.0.0.0 --port 7777")
@STORAGE
@click.option("--host", default="127.0.0.1", show_default=True, help="0.0.0.0 for every address of this machine.")
@click.option("--port", type=click.IntRange(0, 65535), default=7777, show_default=True, help="0 for any free port.")
@click.option("--certfile", type=FILE, help="A certificate (PEM), for https.")
@click.option("--keyfile", type=FILE, help="Its key, if the certificate's file does not contain it.")
@click.option("--token-file", type=click.Path(dir_okay=False, path_type=Path), help="The file that keeps the token.")
@click.option("--root-path", default="", help="The path under which a proxy shows the server, such as /tuning.")
@click.option("--allowed-host", "hosts", multiple=True, help="Another name of this server. Repeat it for each.")
@click.option(
    "--max-rate", type=click.FloatRange(1), default=MAX_RATE, show_default=True, help="Requests a second of an address."
)
@click.option("--allow-actions", is_flag=True, help="Let people who open the page change studies.")
def serve(
    storage: str,
    host: str,
    port: int,
    certfile: Path | None,
    keyfile: Path | None,
    token_file: Path | None,
    root_path: str,
    hosts: tuple[str, ...],
    max_rate: float,
    *,
    allow_actions: bool,
) -> None:
    """Serve the studies of a SQLite file or a database to workers on other machines, until Ctrl-C.

    Workers connect with Tuner(storage="http://HOST:PORT") and the token, which is read from the environment variable
    HPO_PLUGINS_TOKEN, or from a file that is made when the first server is started. In a browser, the same address
    shows the page of hpo-plugins dashboard.
    """
    try:
        from starlette.routing import Mount

        from hpo_plugins.page.app import create_app
        from hpo_plugins.serve.main import Options, main
    except ModuleNotFoundError as error:
        raise MissingDependency.of(error, (error.name or "").partition(".")[0], "serve") from error

    def page(served: Storage, token: str, is_ending: Callable[[], bool], acted: Acted) -> list[BaseRoute]:
        app = create_app(
            served,
            token=token,
            allow_actions=allow_actions,
            root_path=root_path,
            hosts=hosts,
            is_ending=is_ending,
            acted=acted,
        )
        return [Mount("/", app)]

    main(storage, Options(host, port, certfile, keyfile, token_file, root_path, hosts, max_rate), say, page)
