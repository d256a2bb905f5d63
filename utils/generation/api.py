"""Generation from Python: see `utils.generation.load`."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from datasets.cutouts.formats import CutoutError, RawCutout
from datasets.cutouts.reader import Cutout, CutoutReader, Rejected
from datasets.errors import UserError
from utils.core.shipped_weights import shipped_weights
from utils.generation.from_options import (
    build_pipeline,
    cutout_format,
    load_pipeline,
    make_run,
)
from utils.generation.generated_spectrum import GeneratedSpectrum
from utils.generation.options import generation_parser

DEFAULTS = ["-", "--output", "-", "--no-pictures", "--no-measure", "--workers", "0"]
OPTIONS = (  # of a call
    "bands", "pixel_scale", "unit", "zero_point", "redshift", "snr", "candidates", "keep", "steps",
    "sampler", "guidance", "rank", "seed", "mean_of_best", "batch_size",
)  # fmt: skip


class Generator:
    """Trained networks that make spectra of cutouts; call it.

    Args:
        weights: Names of weights that come with the project, or files.
        device: `auto`, `cpu`, `cuda`, …
        precision: `float32`, `bfloat16` or `auto`.

    Raises:
        UserError: the weights cannot be used.
    """

    def __init__(self, weights: Sequence[str], device: str, precision: str):
        shipped = shipped_weights()
        self._checkpoints = [str(shipped.get(name, name)) for name in weights]
        self._computing = {"device": device, "precision": precision}
        self.pipeline, _ = load_pipeline(self._options())

    @property
    def bands(self) -> tuple[str, ...]:
        """The bands that the networks take, in their order."""
        return self.pipeline.last.contrastive.survey.bands

    @property
    def wavelength_angstrom(self) -> np.ndarray:
        """(pixels,) of the spectra, vacuum, observed frame."""
        return self.pipeline.wavelength_angstrom

    def __call__(
        self,
        cutouts: np.ndarray | str | Path | Sequence[str | Path],
        *,
        bands: Sequence[str] | None = None,
        pixel_scale: float | None = None,
        unit: str | None = None,
        redshift: float | np.ndarray | None = None,
        snr: float | None = None,
        names: Sequence[str] | None = None,
        **options: Any,
    ) -> list[GeneratedSpectrum]:
        """Generate.

        Args:
            cutouts: An array (bands, height, width) or (N, bands, height, width); or files, globs
                or folders, as for `generate.py`.
            bands: Of the cutouts, in their order (as the networks take them).
            pixel_scale: Of the cutouts, arcsec (as the networks take them).
            unit: Of the cutouts, e.g. `nanomaggy` (the default) or `nJy`.
            redshift: Of all galaxies, or (N,) of each of an array; None samples it.
            snr: Signal-to-noise ratio per pixel; infinite for spectra without noise; None samples
                it.
            names: Of the galaxies of an array (`0`, `1`, …); with the seed they give the noise.
            options: `candidates`, `keep`, `steps`, `sampler`, `guidance`, `rank`, `seed`,
                `mean_of_best`, `batch_size`, `zero_point`: as the options of `generate.py`.

        Returns:
            A spectrum for each cutout that can be used, with its name; a warning names the others.

        Raises:
            UserError: an option or an array that cannot be used.
        """
        each = redshift is not None and np.ndim(redshift) == 1
        given = self._options(
            bands=",".join(bands) if bands else None,
            pixel_scale=pixel_scale,
            unit=unit,
            redshift="given" if each else redshift,
            snr=snr,
            **options,
        )
        pipeline, sampling = build_pipeline(self.pipeline.stages, given)
        target = cutout_format(pipeline.last.contrastive.survey, given)
        run = make_run(pipeline, sampling, None, given)
        if isinstance(cutouts, np.ma.MaskedArray):
            cutouts = cutouts.astype(float).filled(np.nan)
        if isinstance(cutouts, np.ndarray):
            redshifts = np.asarray(redshift, float) if each else None
            reader: Any = _of_array(cutouts, target, redshifts, names)
            count = len(cutouts) if cutouts.ndim == 4 else 1
        elif each:
            raise UserError("redshift: one for each galaxy is possible for an array of cutouts")
        else:
            reader = CutoutReader(cutouts, target)
            count = len(reader)
        spectra = list(run.spectra(reader, count))
        for rejected in run.rejects:
            warnings.warn(f"{rejected.path}: {rejected.reason}", stacklevel=2)
        return spectra

    def _options(self, **given: Any) -> argparse.Namespace:
        """As the command line has them, with its checks.

        Raises:
            UserError: an unknown option, or a value that cannot be.
        """
        if unknown := given.keys() - set(OPTIONS):
            raise UserError(f"{', '.join(sorted(unknown))}: no such option")
        parser = generation_parser("")
        parser.error = _refuse
        stated = {n: v for n, v in (given | self._computing).items() if v is not None}
        words = [f"--{name.replace('_', '-')}={value}" for name, value in stated.items()]
        options = parser.parse_args([*DEFAULTS, *words])
        options.checkpoint = self._checkpoints
        return options


def _refuse(message: str) -> NoReturn:
    raise UserError(message)


def _of_array(
    images: np.ndarray,
    target: Any,
    redshifts: np.ndarray | None,
    names: Sequence[str] | None,
) -> Iterator[Cutout | Rejected]:
    if images.ndim not in (3, 4):
        raise UserError(
            f"cutouts of shape {images.shape}: (bands, height, width) or (N, bands, height, width) "
            "is needed"
        )
    images = images[None] if images.ndim == 3 else images
    for other, what in ((redshifts, "redshifts"), (names, "names")):
        if other is not None and len(other) != len(images):
            raise UserError(f"{len(other)} {what} for {len(images)} cutouts")
    if names is not None and len(set(names)) < len(names):
        raise UserError("names: some galaxies have the same")
    for number, image in enumerate(images):
        name = str(number if names is None else names[number])
        redshift = np.nan if redshifts is None else float(redshifts[number])
        try:
            planes, assumptions = target.convert(RawCutout(image, bare=True, redshift=redshift))
        except (CutoutError, ValueError, TypeError) as error:
            raise UserError(f"cutout {name}: {error}") from error
        yield Cutout(name, planes, Path("array"), redshift=redshift, assumptions=tuple(assumptions))
