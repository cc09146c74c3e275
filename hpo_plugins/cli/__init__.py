"""The command line, ``hpo-plugins``: stored studies, while workers write to them."""

import sys


def start() -> None:
    """Run the command, or say what it needs."""
    try:
        from hpo_plugins.cli.main import main
    except ModuleNotFoundError as error:
        if error.name not in ("click", "rich"):
            raise
        sys.exit(f"The command line needs {error.name}. Install it with: pip install 'hpo-plugins[cli]'")
    main()
