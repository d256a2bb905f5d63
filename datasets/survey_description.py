"""The description of a survey that a trained network carries with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets.errors import UserError
from datasets.spectra import Preparation, WavelengthGrid
from datasets.survey import Survey

# What has to be alike for a network to take a survey as it is.
IMAGES = ("bands", "pixel_scale_arcsec", "image_size", "image_unit")
SPECTRA = ("grid", "preparation")


@dataclass(frozen=True)
class SurveyDescription:
    """Images and spectra of the survey that a network was trained on.

    Args:
        bands: Names of the image bands, in order.
        pixel_scale_arcsec: Pixel scale of the images.
        image_size: Pixels per side of the images.
        image_unit: Unit of the images per pixel, e.g. `nanomaggy`.
        grid: Wavelengths of the prepared spectra.
        preparation: How the spectra were prepared.
        name: Of the survey file, for people.
    """

    bands: tuple[str, ...]
    pixel_scale_arcsec: float
    image_size: int
    image_unit: str
    grid: WavelengthGrid
    preparation: Preparation
    name: str

    @classmethod
    def of(cls, survey: Survey) -> SurveyDescription:
        """The description of an open survey file."""
        return cls(
            tuple(survey.bands),
            survey.pixel_scale_arcsec,
            survey.image_size,
            survey.image_unit,
            survey.grid,
            survey.preparation,
            Path(survey.path).name,
        )

    def check(self, survey: Survey, *names: str, remedy: str) -> None:
        """Refuse a survey that differs in one of the properties `names`.

        Raises:
            UserError: naming the property, and `remedy`.
        """
        found = SurveyDescription.of(survey)
        for name in names:
            ours, theirs = getattr(self, name), getattr(found, name)
            if ours != theirs:
                raise UserError(
                    f"{survey.path}: {name} is {theirs}, the network was trained with {ours}: "
                    f"{remedy}"
                )

    def to_dict(self) -> dict[str, Any]:
        """Primitives only, for a checkpoint."""
        return {
            **self.__dict__,
            "bands": list(self.bands),
            "grid": self.grid.to_dict(),
            "preparation": self.preparation.to_dict(),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> SurveyDescription:
        """The inverse of `to_dict`."""
        return cls(
            **{
                **values,
                "bands": tuple(values["bands"]),
                "grid": WavelengthGrid.from_dict(values["grid"]),
                "preparation": Preparation.from_dict(values["preparation"]),
            }
        )
