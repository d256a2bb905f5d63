"""HDF5 files that survive a full disk.

When a write fails, the HDF5 library cannot close its file any more, and the process crashes. The
files here pass through Python, which keeps the first error, takes further writes for done, so that
the library closes the file in peace, and then raises the error.
"""

from __future__ import annotations

import fcntl
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from datasets.errors import UserError


class GuardedFile(io.FileIO):
    """A file to write and read back, whose first failing write is kept in `error`.

    Args:
        path: Of the file, made new.

    Raises:
        UserError: another process is writing it.
    """

    def __init__(self, path: str | Path):
        super().__init__(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666), "r+")
        try:
            fcntl.flock(self, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.close()
            raise UserError(f"{path}: another process is writing this file") from error
        except OSError:
            pass  # a network file system without locks
        super().truncate(0)
        self.path, self.error = str(path), None

    def write(self, data: bytes | memoryview) -> int:
        """All of `data`, in one or several pieces; nothing after the first error."""
        view = memoryview(data)
        try:
            done = 0
            while not self.error and done < len(view):
                done += super().write(view[done:])
        except OSError as error:
            self._keep(error)
        return len(view)

    def readinto(self, buffer: memoryview) -> int:
        """Read back; what was not written is zero."""
        count = super().readinto(buffer)
        if self.error:
            buffer[count:] = bytes(len(buffer) - count)
            return len(buffer)
        return count

    def truncate(self, size: int | None = None) -> int:
        """As that of any file."""
        try:
            return super().truncate(size)
        except OSError as error:
            self._keep(error)
            return size or 0

    def _keep(self, error: OSError) -> None:
        self.error = self.error or OSError(error.errno, error.strerror, self.path)

    def check(self) -> None:
        """Raise the first error, if there was one."""
        if self.error:
            raise self.error


@contextmanager
def new_hdf5(path: str | Path, **options: object) -> Iterator[h5py.File]:
    """A new HDF5 file; `options` are h5py's.

    Raises:
        OSError: not everything could be written, at the end of the block.
    """
    guarded = GuardedFile(path)
    with guarded:
        try:
            with h5py.File(guarded, "w", **options) as file:
                yield file
        finally:
            guarded.check()
