"""A folder that one run at a time writes into."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from datasets.errors import UserError
from utils.core.run_log import LOGGER


@contextmanager
def lock_folder(folder: Path, shared: bool = False) -> Iterator[None]:
    """Keep other runs out of `folder` within the block, or until this process is killed.

    Args:
        folder: Made if necessary; gets an empty file `.lock`.
        shared: Let further processes of the same run in, which ask for the same.

    Raises:
        UserError: another run has locked the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as file:
        try:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"{folder}: another run is writing here; wait for its end, or name another folder"
            ) from error
        except OSError as error:  # some network file systems have no locks
            LOGGER.warning("%s cannot be locked (%s): start only one run in it", folder, error)
        yield
