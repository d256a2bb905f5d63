r"""Statistics of the galaxy population: whether the spectra serve an astronomer's purposes.

* Active nuclei: above the line of Kewley et al. (2001) in the BPT diagram, or above that of
  Kauffmann et al. (2003). Evaluated on galaxies whose true lines all have S/N >= 3. A galaxy's
  score is the share of its candidates above the line. The accuracy is that of calling scores above
  one half active. Balanced accuracy gives both classes the same weight however rare one is, and so
  the decision that makes the fewest such errors calls active what is so more often than the average
  galaxy: scores above the mean score, which needs no truth.
* Bimodality: two-sample Kolmogorov–Smirnov distance between the true Dn4000 and those of all
  candidates, and the share of old galaxies, Dn4000 > 1.55 (Kauffmann et al. 2003, MNRAS 341, 54).
* Colour and specific star formation: galaxies with EW Hα < 3 Å are retired (Cid Fernandes et al.
  2011); log EW Hα stands for log sSFR, to which it is proportional.
* Mass–metallicity: gas metallicity of star-forming galaxies by N2 of Pettini & Pagel (2004),
  12 + log O/H = 8.90 + 0.57 log [N II]/Hα, in bins of the catalogue's stellar mass.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import ks_2samp, rankdata

from utils.evaluation.bootstrap import correlation, with_error
from utils.evaluation.derived_quantities import Columns, estimates
from utils.spectroscopy.bpt import kauffmann_2003, kewley_2001

OLD_DN4000 = 1.55
RETIRED_EW_ANGSTROM = 3.0
MASS_BINS = 6
MIN_GALAXIES = 10  # in a bin of mass
BOUNDARIES = {"kewley": kewley_2001, "kauffmann": kauffmann_2003}


def active(columns: Columns, boundary: str) -> np.ndarray:
    """Whether spectra lie above a line of the BPT diagram; False where a ratio is missing."""
    x, y = columns["log_nii_halpha"], columns["log_oiii_hbeta"]
    return np.isfinite(x) & np.isfinite(y) & (y > BOUNDARIES[boundary](x))


def area_under_curve(positive: np.ndarray, score: np.ndarray, axis: int = -1) -> np.ndarray:
    """Area under the ROC curve: the probability that a positive scores higher than a negative, with
    ties counting half (Mann–Whitney). NaN without both classes."""
    ranks = rankdata(score, axis=axis)
    count, total = positive.sum(axis), positive.shape[axis]
    with np.errstate(invalid="ignore", divide="ignore"):
        above = (ranks * positive).sum(axis) - count * (count + 1) / 2
        return above / (count * (total - count))


def accuracy(positive: np.ndarray, score: np.ndarray, axis: int = -1) -> np.ndarray:
    """Share of right predictions at the threshold one half."""
    return ((score > 0.5) == positive).mean(axis)


def balanced_accuracy(positive: np.ndarray, score: np.ndarray, axis: int = -1) -> np.ndarray:
    """Mean of the shares of right predictions among positives and negatives, at the threshold of
    the mean score."""
    right = (score > score.mean(axis, keepdims=True)) == positive
    with np.errstate(invalid="ignore"):
        shares = [(right & own).sum(axis) / own.sum(axis) for own in (positive, ~positive)]
    return 0.5 * (shares[0] + shares[1])


def classify(truth: Columns, columns: Columns, boundary: str) -> dict:
    """How well the candidates (N, P) of a method identify active nuclei, on the secure galaxies."""
    secure = truth["secure"] > 0
    positive = active(truth, boundary)[secure]
    score = active(columns, boundary)[secure].mean(axis=1)
    share = float(positive.mean()) if len(positive) else np.nan
    result = {"galaxies": len(positive), "active": int(positive.sum())}
    if not 0 < share < 1:
        return result
    statistics = {
        "accuracy": accuracy,
        "balanced_accuracy": balanced_accuracy,
        "roc_auc": area_under_curve,
    }
    result["majority"] = max(share, 1 - share)
    return result | {n: with_error(f, positive, score) for n, f in statistics.items()}


def bimodality(truth: Columns, columns: Columns) -> dict:
    """The distribution of Dn4000 over all candidates beside the true one."""
    values, true = (c["Dn4000"][np.isfinite(c["Dn4000"])] for c in (columns, truth))
    if not (values.size and true.size):
        return {}
    return {
        "ks_distance": float(ks_2samp(values, true, method="asymp").statistic),
        "old_share": float((values > OLD_DN4000).mean()),
        "old_share_true": float((true > OLD_DN4000).mean()),
    }


def retired(truth: Columns, columns: Columns) -> dict:
    """Share of retired galaxies, and how often candidates and truth agree on it."""
    ew, true = columns["Halpha_ew"], truth["Halpha_ew"]
    used = np.isfinite(true) & np.isfinite(ew).any(axis=1)
    if not used.any():
        return {}
    score = np.nanmean(np.where(np.isfinite(ew), ew < RETIRED_EW_ANGSTROM, np.nan)[used], axis=1)
    own = true[used] < RETIRED_EW_ANGSTROM
    return {
        "share": float(score.mean()),
        "share_true": float(own.mean()),
        "accuracy": with_error(accuracy, own, score),
        "colour_ks_distance": _colour_distance(truth, columns),
    }


def _colour_distance(truth: Columns, columns: Columns) -> float:
    values, true = (c["rest_colour"][np.isfinite(c["rest_colour"])] for c in (columns, truth))
    return float(ks_2samp(values, true, method="asymp").statistic)


def gas_metallicity(columns: Columns) -> np.ndarray:
    """12 + log O/H by N2; NaN where the line ratios are not those of star formation."""
    x = columns["log_nii_halpha"]
    return np.where(np.isfinite(x) & ~active(columns, "kauffmann"), 8.90 + 0.57 * x, np.nan)


def mass_metallicity(truth: Columns, columns: Columns, log_mass: np.ndarray) -> dict:
    """Medians of the gas metallicity in bins of mass, true and measured, and their difference.

    Args:
        truth: (N,); only galaxies with secure lines below the Kauffmann line count.
        columns: (N, P).
        log_mass: (N,) log M★/M☉ of the catalogue.
    """
    true = np.where(truth["secure"] > 0, gas_metallicity(truth), np.nan)
    guess = estimates(gas_metallicity(columns))
    used = np.isfinite(true) & np.isfinite(guess) & np.isfinite(log_mass)
    if used.sum() < 2 * MIN_GALAXIES:
        return {"galaxies": int(used.sum())}
    true, guess, mass = true[used], guess[used], log_mass[used]
    bins = min(MASS_BINS, used.sum() // MIN_GALAXIES)
    place = np.digitize(mass, np.quantile(mass, np.linspace(0, 1, bins + 1)[1:-1]))
    curves = np.array(
        [[np.median(x[place == k]) for k in range(bins)] for x in (mass, true, guess)]
    )
    return {
        "galaxies": int(used.sum()),
        "bias": with_error(np.median, guess - true),
        "correlation": with_error(correlation, rankdata(guess), rankdata(true)),
        "rms_of_medians": float(np.sqrt(np.mean((curves[2] - curves[1]) ** 2))),
        "log_mass": curves[0].tolist(),
        "true": curves[1].tolist(),
        "measured": curves[2].tolist(),
    }
