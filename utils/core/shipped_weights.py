"""The trained networks that come with the project, in `weights/`, each beside its model card."""

from __future__ import annotations

from pathlib import Path

from datasets.errors import UserError
from utils.core.weights_file import SUFFIX

FOLDER = Path(__file__).parents[2] / "weights"
PREFERRED = ("sdss-ugriz", "mock-ugriz", "mock-rgb")  # the first that fits cutouts is taken


def shipped_weights() -> dict[str, Path]:
    """Names and files, the preferred ones first."""
    found = {path.stem: path for path in sorted(FOLDER.glob(f"*{SUFFIX}"))}
    return {name: found[name] for name in (*PREFERRED, *found) if name in found}


def weights_path(name: str) -> Path:
    """The file of shipped weights, or the file called `name`.

    Raises:
        UserError: there is neither.
    """
    shipped = shipped_weights()
    if name in shipped:
        return shipped[name]
    if Path(name).is_file():
        return Path(name)
    raise UserError(
        f"{name}: neither a file nor weights that come with the project: "
        f"{', '.join(shipped) or f'there are none in {FOLDER}'}"
    )
