"""Checkpoints at any URL that fsspec opens, such as s3://bucket/folder."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from hpo_plugins.errors import InvalidArgument, MissingDependency
from hpo_plugins.storage.redact import redacted

_SUFFIX = ".zip"


class ObjectFiles:
    """Packages below a URL.

    Args:
        url: The URL of the study's folder.

    Attributes:
        url: This URL.

    Raises:
        InvalidArgument: fsspec does not know this kind of URL.
        MissingDependency: fsspec, or the package that it needs for this kind, is not installed.
    """

    def __init__(self, url: str) -> None:
        """Open the file system; no file is touched."""
        try:
            import fsspec
        except ModuleNotFoundError as error:
            raise MissingDependency.of(error, "fsspec", "fsspec") from error
        self.url = url
        try:
            found: tuple[Any, str] = fsspec.core.url_to_fs(url)
        except ImportError as error:
            raise MissingDependency(f"checkpoint_dir={redacted(url)!r} needs another package: {error}") from error
        except ValueError as error:
            raise InvalidArgument(
                f"checkpoint_dir must be a path, or a URL that fsspec knows, but got {redacted(url)!r}: {error}."
            ) from error
        self._system, self._root = found

    def put(self, name: str, package: Path) -> None:
        """Send a package: under another name first where a file is there before it is complete."""
        path, part = self._path(name), self._path(name.replace("epoch-", "part-"))
        self._system.makedirs(path.rpartition("/")[0], exist_ok=True)
        if self._is_atomic():
            self._system.put_file(str(package), path)
            return
        self._system.put_file(str(package), part)
        self._system.mv(part, path)

    def get(self, name: str, package: Path) -> bool:
        """Fetch a package, and return whether it was there."""
        try:
            self._system.get_file(self._path(name), str(package))
        except FileNotFoundError:
            return False
        return True

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder."""
        self._system.invalidate_cache()  # other machines write
        try:
            found = self._system.ls(f"{self._root}/{folder}", detail=False)
        except FileNotFoundError:
            return []
        names = [str(path).rstrip("/").rpartition("/")[2] for path in found]
        return [name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX)]

    def remove(self, name: str) -> None:
        """Remove a package, if it is there."""
        try:
            self._system.rm_file(self._path(name))
        except FileNotFoundError:
            return

    def keep(self, folder: str, names: Collection[str]) -> None:
        """Remove the packages of a folder, except those of these names."""
        for name in self.names(folder):
            if f"{folder}/{name}" not in names:
                self.remove(f"{folder}/{name}")

    def clear(self) -> None:
        """Remove what an earlier study of the same name has left."""
        if self._system.exists(self._root):
            self._system.rm(self._root, recursive=True)

    def _is_atomic(self) -> bool:
        """Whether an object is there only when it is complete, as in stores of objects."""
        protocol = self._system.protocol
        return not {"file", "local", "sftp", "ssh", "smb", "hdfs"} & {protocol, *protocol}

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}{_SUFFIX}"

    def __reduce__(self) -> tuple[Any, ...]:
        """Open the same URL in the process that unpickles it."""
        return ObjectFiles, (self.url,)
