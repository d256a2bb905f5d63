r"""Ranking of candidates by their similarity to the image, and by their colours.

The cutout gives the light inside the fibre's aperture in every band; a spectrum predicts it through
the same filters. Their difference, in magnitudes,

.. math:: \Delta_{gr} = (g - r)_\text{spectrum} - (g - r)_\text{image} ,

and likewise for r − i, tests a spectrum against independent data. The g filter reaches 211 Å below
a spectrum that begins at 4000 Å, with 2.9 % of its response; there the spectrum is continued at its
mean over the first `EDGE_ANGSTROM`. On 1200 real SDSS spectra that reach 3800 Å the error of this
is −1 ± 2 mmag. Zero is not exact: seeing depends on the band, and spectrophotometry is good to a
few per cent.

With s the contrastive similarity of temperature τ and σ = `COLOUR_SIGMA_MAG`, the ranking `both`
sorts by

.. math:: \log p = s / \tau - \tfrac12 (\Delta_{gr}^2 + \Delta_{ri}^2) / \sigma^2 + \text{const} ,

and `photometric` by the second term alone. σ is the scatter of Δ of real SDSS spectra (0.04 and
0.02 mag for the two colours).

`docs/choices.md` ("Which candidate for what") compares them. Colours do not guide the sampling:
that would cost a backward pass in every step, for a quantity that the choice among candidates
already sets.
"""

from __future__ import annotations

import numpy as np

COLOUR_SIGMA_MAG = 0.04  # scatter of Δ of real SDSS spectra
RANKINGS = ("contrastive", "photometric", "both")


def ranking_scores(
    ranking: str, similarity: np.ndarray, differences: np.ndarray, temperature: float
) -> np.ndarray:
    """The score that candidates are sorted by, largest first.

    Args:
        ranking: one of `RANKINGS`.
        similarity: (..., P) contrastive similarity.
        differences: (..., P, 2) colours of the spectra minus those of the image, mag. One that is
            unknown (NaN) for all candidates, as is the image's, has no effect; a candidate without
            a colour that others have comes last.
        temperature: τ > 0 of the towers.

    Returns:
        (..., P).
    """
    of_image = np.isnan(differences).all(axis=-2, keepdims=True)
    distances = np.where(of_image, 0.0, differences / COLOUR_SIGMA_MAG)
    colours = np.nan_to_num(-0.5 * np.sum(distances**2, axis=-1), nan=-np.inf)
    terms = {"contrastive": similarity, "photometric": colours}
    return terms.get(ranking, similarity / temperature + colours)
