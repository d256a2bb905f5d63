"""The columns of the main tables, one table per question, and where their metrics are."""

from __future__ import annotations

from dataclasses import dataclass

from utils.evaluation.method import CLIMATOLOGY, CONSTANT
from utils.evaluation.question import OBSERVED, REDSHIFT, REST


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Args:
        label: its heading.
        path: of the metric in the question's part of `evaluation.json`; {} is the method.
        scale: factor of value and error.
        score: the score (N,) of each galaxy in `galaxies.h5` whose mean the metric is, if it is
            one, and the method whose mean is the unit.
    """

    label: str
    path: str
    scale: float = 1.0
    score: tuple[str, str | None] | None = None


_CRPS = Column("CRPS / clim.", "methods/{}/crps_ratio", 1, ("crps", CLIMATOLOGY))
_ENERGY = Column("energy score / clim.", "methods/{}/energy_ratio", 1, ("energy", CLIMATOLOGY))
_ENERGY_100 = Column(
    "energy score, 100 Å", "methods/{}/energy_100_ratio", 1, ("energy_100", CLIMATOLOGY)
)
_MSE = Column("MSE of the mean", "methods/{}/mse_mean_ratio", 1, ("mse_mean", CONSTANT))
_BEST = Column("of the top-ranked", "methods/{}/mse_best_ratio", 1, ("mse_best", CONSTANT))
_COVERAGE = Column("coverage", "methods/{}/coverage_68", 1, ("coverage_68", None))

COLUMNS = {
    REDSHIFT: (
        Column("1000 CRPS(z)", "methods/{}/crps", 1000, ("crps", None)),
        Column("−log p(z)", "methods/{}/log_score", 1, ("log_score", None)),
        Column("of the PDF", "methods/{}/log_score_pdf", 1, ("log_score_pdf", None)),
        Column("coverage", "methods/{}/coverage_68", 1, ("coverage_68", None)),
        Column("of 95 %", "methods/{}/coverage_95", 1, ("coverage_95", None)),
        Column("σ(z)", "methods/{}/scatter"),
        Column("bias", "methods/{}/bias"),
        Column("outliers", "methods/{}/outliers"),
    ),
    REST: (
        _CRPS,
        _ENERGY,
        _ENERGY_100,
        _MSE,
        _COVERAGE,
        Column("σ(Dn4000)", "quantities/Dn4000/{}/scatter"),
        Column("r(EW Hα)", "quantities/Halpha_ew/{}/correlation"),
        Column("r(Mg b)", "quantities/Mgb/{}/correlation"),
        Column("r(HδA)", "quantities/HdeltaA/{}/correlation"),
        Column("active", "active/kewley/{}/balanced_accuracy"),
    ),
    OBSERVED: (
        _CRPS,
        _ENERGY,
        _ENERGY_100,
        _MSE,
        _BEST,
        _COVERAGE,
        Column("noise / true", "methods/{}/noise_ratio"),
        Column("coherent", "coherence/{}/coherent"),
    ),
}
HEADINGS = {
    REDSHIFT: "The redshift",
    REST: "The spectrum at the given redshift, in the rest frame",
    OBSERVED: "The spectrum as observed",
}
NOTES = {
    REDSHIFT: "CRPS and −log p of the redshifts of the candidates (kernel density) and of the "
    "reported p(z | image); coverage of the central 68 and 95 %; σ(z) and bias of the medians; "
    "outliers, off by more than 0.02 (1 + z).",
    REST: "Scores relative to those of training spectra shifted to the redshift (climatology), "
    "squared errors to that of their mean (constant); coverage of the central 68 % of pixels; "
    "scatter and rank correlations of measured quantities; balanced accuracy for active nuclei.",
    OBSERVED: "The same in the observed frame, where the places of lines dominate the scores. "
    "Coherent: lines and absorption agree on one redshift within 300 km/s.",
}


def find(metrics: dict, path: str, method: str) -> dict | None:
    """The entry of a metric, with `value` and `error`; None where there is none."""
    entry = metrics
    for key in path.split("/"):
        entry = (entry or {}).get(method if key == "{}" else key)
    return entry if isinstance(entry, dict) and "value" in entry else None
