"""What galaxies get, files, pictures and rows of the catalogue, made while the networks compute the
next ones.

Nothing here needs torch, whose import takes a process longer than a dozen pictures.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from importlib import import_module
from multiprocessing import resource_tracker
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from datasets.cutouts.reader import Cutout
from datasets.errors import UserError
from datasets.file_names import as_text, file_stem
from datasets.photometry import NANOMAGGY, aperture_nanomaggies, image_colours
from datasets.process_pool import end_with_parent
from datasets.processors import one_thread_each, usable_cores
from datasets.spectra import candidate_sigma
from datasets.survey_description import SurveyDescription
from datasets.synthetic_photometry import scale_to_photometry
from utils.core.interruption import SIGNALS
from utils.core.run_log import shielded
from utils.generation.candidates import Candidates
from utils.generation.generated_spectrum import BLOCK, GeneratedSpectrum, Provenance

if TYPE_CHECKING:
    from utils.plotting.spectrum_panel import Panel

SHEET_GALAXIES = 16  # on one page of the contact sheet
SHEET_PAGES = 20  # at most: of more galaxies the first
MOST_WORKERS = 16  # processes that make products
EARLY_WORKERS = 4  # of these, started before there is work
WAITING = 2  # blocks per process, computed but not yet written: bounds the memory
NICENESS = 19  # of other processes, the largest: the threads of a network wait for each other
NEEDED = (  # by `Products.make`, and slow to import
    "utils.generation.catalogue_output", "utils.generation.fits_output",
    "utils.generation.gallery_output", "utils.plotting.plots",
    "matplotlib.backends.backend_agg", "matplotlib.font_manager",
)  # fmt: skip
Item = TypeVar("Item")


class Generated(NamedTuple):
    """A galaxy whose products are to be made.

    Args:
        cutout: Its image.
        candidates: Its candidates (B = 1), or None where its spectrum has been written before.
        picture: Whether it gets a picture.
        shown: Whether it is on the page of the run.
    """

    cutout: Cutout
    candidates: Candidates | None
    picture: bool
    shown: bool = False


class Made(NamedTuple):
    """What was made of some galaxies besides their files: their rows of the catalogue, its columns
    (galaxies,), and what the page of the run holds of those that are shown."""

    rows: dict[str, np.ndarray]
    entries: list[dict[str, Any]]


@dataclass(frozen=True)
class Products:
    """Makes and writes the files of galaxies; the same for all galaxies of a run.

    Args:
        folder: Of the run, with `spectra/` and, for pictures, `pictures/`.
        survey: That the network was trained on.
        provenance: How the spectra are made, for the header of every file.
        kept: Candidates that are written, of the `provenance.sampled`.
        pictures: How many galaxies, the first ones of the run, get a picture too.
        measured: Measure the spectra for the catalogue.
    """

    folder: Path
    survey: SurveyDescription
    provenance: Provenance
    kept: int
    pictures: int = sys.maxsize
    measured: bool = True

    def spectrum_path(self, name: str) -> Path:
        """Where the spectrum of the galaxy called `name` is."""
        return self.folder / "spectra" / f"{file_stem(name)}.fits"

    def picture_path(self, name: str) -> Path:
        """Where the picture of the galaxy called `name` is, if it has one."""
        return self.folder / "pictures" / f"{file_stem(name)}.png"

    def make(self, galaxies: Sequence[Generated], threads: int = 1) -> Made:
        """Write the files of galaxies that have none yet, and measure all.

        Args:
            galaxies: Measured together; the last bits of what is measured depend on all of them.
            threads: That measure.
        """
        # astropy and matplotlib are slow to import, and `generate.py --dry-run` needs neither
        from utils.generation.catalogue_output import catalogue_columns

        spectra = [self._make(galaxy) for galaxy in galaxies]
        files = [f"spectra/{self.spectrum_path(g.cutout.name).name}" for g in galaxies]
        rows = catalogue_columns(zip(spectra, files, strict=True), self.measured, threads)
        if not any(galaxy.shown for galaxy in galaxies):
            return Made(rows, [])
        from utils.generation.gallery_output import entries

        shown = [
            (galaxy.cutout.image, spectrum, self._links(galaxy.cutout.name))
            for galaxy, spectrum in zip(galaxies, spectra, strict=True)
            if galaxy.shown
        ]
        made = []
        with shielded("the page"):
            made = list(entries(shown, rows, self.survey.bands, self.measured))
        return Made(rows, made)

    def _links(self, name: str) -> list[tuple[str, Path]]:
        """Labels and paths of a galaxy's files, as its page shows them."""
        path, picture = self.spectrum_path(name), self.picture_path(name)
        links = [("spectrum (FITS)", path)] + [("picture", picture)] * picture.exists()
        return [(label, file.relative_to(self.folder)) for label, file in links]

    def _make(self, galaxy: Generated) -> GeneratedSpectrum:
        from utils.generation.fits_output import read_spectrum, write_spectrum

        cutout = galaxy.cutout
        path = self.spectrum_path(cutout.name)
        before = path.exists()
        spectrum = read_spectrum(path) if before else self.spectrum(cutout, galaxy.candidates)
        # a picture without a spectrum may be that of a run with other settings
        if galaxy.picture and not (before and self.picture_path(cutout.name).exists()):
            with shielded(f"the picture of {cutout.name}"):
                self._plot(cutout, spectrum)
        if not before:  # last: a galaxy is done when its spectrum is there
            write_spectrum(path, spectrum)
        return spectrum

    def spectrum(self, cutout: Cutout, candidates: Candidates) -> GeneratedSpectrum:
        """The best candidates of a galaxy, with everything that its file states."""
        flux, kept, pdf = candidates.flux[0], slice(self.kept), candidates.redshift_pdf
        colours = image_colours(cutout.image, self.survey)
        return GeneratedSpectrum(
            name=cutout.name,
            wavelength_angstrom=candidates.wavelength_angstrom,
            candidates=flux[kept],
            numbers=candidates.numbers[0, kept],
            scores=candidates.scores[0, kept],
            redshifts=candidates.redshift[0, kept],
            snrs=candidates.snr[0, kept],
            mean=flux[: self.provenance.averaged].mean(0),
            sigma=candidate_sigma(flux),
            provenance=self.provenance,
            scale=self._scale(cutout.image, candidates),
            source=as_text(cutout.path.name),
            assumptions=cutout.assumptions,
            ra=cutout.ra,
            dec=cutout.dec,
            identifier=cutout.identifier,
            redshift=cutout.redshift,
            redshift_pdf=None if pdf is None else (candidates.redshift_edges, pdf[0]),
            image_p_value=float(candidates.image_p_value[0]),
            image_flag=bool(candidates.image_flag[0]),
            image_colours=tuple(float(colour) for colour in colours),
        )

    def _scale(self, image: np.ndarray, candidates: Candidates) -> float | None:
        """1e-17 erg/s/cm²/Å per normalised unit, from the image's own photometry."""
        if self.survey.image_unit != NANOMAGGY:
            return None
        measured = aperture_nanomaggies(image, self.survey.pixel_scale_arcsec)
        by_band = dict(zip(self.survey.bands, measured, strict=True))
        return scale_to_photometry(candidates.wavelength_angstrom, candidates.flux[0, 0], by_band)

    def _plot(self, cutout: Cutout, spectrum: GeneratedSpectrum) -> None:
        from utils.plotting.plots import plot_generated, save_figure

        figure = plot_generated(self.panel(cutout, spectrum))
        save_figure(figure, self.picture_path(cutout.name))

    def draw_sheet(self, number: int, cutouts: Sequence[Cutout]) -> None:
        """Draw page `number` of the contact sheet, of galaxies whose spectra are written."""
        with shielded("the contact sheets"):
            from utils.generation.fits_output import read_spectrum
            from utils.plotting.plots import contact_sheets, save_figure

            paths = ((cutout, self.spectrum_path(cutout.name)) for cutout in cutouts)
            panels = (self.panel(cutout, read_spectrum(path)) for cutout, path in paths)
            normalised = [replace(panel, scale=None) for panel in panels]
            (figure,) = contact_sheets(normalised, rows=SHEET_GALAXIES // 2)
            save_figure(figure, self.folder / f"contact_sheet_{number:03d}.png")

    def panel(self, cutout: Cutout, spectrum: GeneratedSpectrum) -> Panel:
        """The image and the spectra of one galaxy, to be plotted."""
        from utils.plotting.spectrum_panel import Panel

        return Panel(
            image=cutout.image,
            bands=self.survey.bands,
            wavelength_angstrom=spectrum.wavelength_angstrom,
            candidates=spectrum.candidates,
            mean=spectrum.mean,
            sigma=spectrum.sigma,
            redshift=spectrum.redshift if np.isfinite(spectrum.redshift) else None,
            scale=spectrum.scale,
            title=spectrum.name,
            pixel_scale_arcsec=self.survey.pixel_scale_arcsec,
        )


class Workers(ProcessPoolExecutor):
    """Up to `count` processes that make products. The first begin at once with the imports for it:
    beside those of this process, which take as long. Others start when all are busy."""

    def __init__(self, count: int):
        # Spawned, not forked: safe beside threads and the same on every platform.
        super().__init__(count, multiprocessing.get_context("spawn"), _follow_the_parent)
        self.count = count
        self.imports = [self.submit(_import_all) for _ in range(min(count, EARLY_WORKERS))]

    def submit(self, task: Callable[..., Any], /, *arguments: Any) -> Future:
        """As `Executor.submit`, which may start a process."""
        with one_thread_each(), _signals_held():
            return super().submit(task, *arguments)

    def __exit__(self, kind: type | None, *error: Any) -> bool | None:
        """Wait for the processes; after an error not for their imports, nor, where one has died,
        for the others, which ignore the executor's SIGTERM."""
        importing = not all(future.done() for future in self.imports)
        if kind is not None and (importing or self._broken):
            for process in list(self._processes.values()):
                process.kill()
        return super().__exit__(kind, *error)


def start_workers(count: int | None = None) -> AbstractContextManager[Workers | None]:
    """Up to `count` processes, by default as many as cores, until the end of the block; None for
    0."""
    count = min(usable_cores(), MOST_WORKERS) if count is None else count
    return Workers(count) if count else nullcontext()


class Finisher:
    """Makes the products of galaxies, and the contact sheets of those with pictures, in other
    processes; a context manager that waits for them.

    Args:
        products: Of the run.
        workers: The processes; None: this one makes them.
        done: Called for every block of galaxies, in their order, when their files are written.
    """

    def __init__(self, products: Products, workers: Workers | None, done: Callable[[Made], object]):
        self.products, self.workers, self.done = products, workers, done
        self.waiting: deque[tuple[Future, list[Cutout]]] = deque()  # and those for the sheets
        self.next_sheet: list[Cutout] = []
        self.sheets: list[Future] = []

    def finish(self, galaxies: Sequence[Generated]) -> None:
        """Make the products of galaxies, now or soon.

        Raises:
            UserError: a process was killed.
            Exception: what went wrong with one of these galaxies or an earlier one.
        """
        for start in range(0, len(galaxies), BLOCK):
            block = galaxies[start : start + BLOCK]
            pictured = [galaxy.cutout for galaxy in block if galaxy.picture]
            made = self._submit(self.products.make, block, 1 if self.workers else usable_cores())
            self.waiting.append((made, pictured))
            self._collect(WAITING * self.workers.count if self.workers else 0)

    def _collect(self, left: int) -> None:
        """Wait until at most `left` blocks are waiting."""
        while len(self.waiting) > left or (self.waiting and self.waiting[0][0].done()):
            future, pictured = self.waiting.popleft()
            with _deaths_reported():
                made = future.result()
            self.done(made)
            for cutout in pictured:
                self.next_sheet.append(cutout)
                if len(self.next_sheet) == SHEET_GALAXIES:
                    self._draw_sheet()

    def _draw_sheet(self) -> None:
        if len(self.sheets) < SHEET_PAGES:
            number = len(self.sheets) + 1
            self.sheets.append(self._submit(self.products.draw_sheet, number, self.next_sheet))
        self.next_sheet = []

    def _submit(self, task: Callable[..., Any], *arguments: Any) -> Future:
        """The result of a task, done by another process or, without any, by this one at once."""
        if self.workers is None:
            result: Future = Future()
            result.set_result(task(*arguments))
            return result
        with _deaths_reported():
            return self.workers.submit(task, *arguments)

    def __enter__(self) -> Finisher:
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        try:
            if kind is None:
                self._collect(0)
                if self.next_sheet:
                    self._draw_sheet()
                for sheet in self.sheets:
                    with _deaths_reported():
                        sheet.result()
        finally:
            left = [*(future for future, _ in self.waiting), *self.sheets]
            wait([future for future in left if not future.cancel()])  # they may be writing


@contextmanager
def _deaths_reported() -> Iterator[None]:
    try:
        yield
    except BrokenProcessPool as error:
        raise UserError(
            "a process that draws, measures and writes was killed, perhaps for lack of memory: go "
            "on with --resume, and fewer --workers"
        ) from error


@contextmanager
def _signals_held() -> Iterator[None]:
    """Signals that would end a process wait for the end of the block, and processes that start in
    it never get them: only their parent ends them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # else started with the first process, which releases them
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, *SIGNALS))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _import_all() -> None:
    for module in NEEDED:
        import_module(module)


def _follow_the_parent() -> None:
    """Leave signals to the process that started this one, let it go first, and end with it."""
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    for number in (signal.SIGINT, *SIGNALS):
        signal.signal(number, signal.SIG_IGN)
    end_with_parent()


def read_ahead(items: Iterable[Item], count: int) -> Iterator[Item]:
    """The same items, of which up to `count` are read by a thread before they are needed.

    Raises:
        Exception: what reading them raises, in its place.
    """
    ready: queue.Queue[tuple[Item | None, BaseException | None]] = queue.Queue(count)
    stopped = threading.Event()

    def put(item: Item | None, error: BaseException | None) -> None:
        while not stopped.is_set():
            try:
                return ready.put((item, error), timeout=0.1)
            except queue.Full:
                continue

    def read() -> None:
        end: BaseException = StopIteration()
        try:
            for item in items:
                if stopped.is_set():
                    return
                put(item, None)
        except BaseException as error:
            end = error
        put(None, end)

    threading.Thread(target=read, daemon=True).start()
    try:
        while True:
            item, error = ready.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item
    finally:
        stopped.set()
