"""What each part of the generator contributes: candidates with one part exchanged.

Seeds, galaxies and candidates stay the same, so that differences are those of the part:

    other-image             every network gets the features of another galaxy's image
    other-image-parameters  the parameter diffusion attends to another galaxy's image
    other-image-spectrum    the U-Net attends to another galaxy's image
    other-photometry        photometry is another galaxy's, the image tower sees the own
    other-tower             the image tower sees another galaxy, photometry is the own
    no-unet                 stationary Gaussian residuals of the mean power replace the U-Net's

"Another galaxy" is the next one of the evaluated galaxies, so that the features are those of a real
image, without the information. A row near the climatology shows that the networks use what was
exchanged; a row near the generator's shows that they do not. A generator that was trained without
one of its inputs would need a checkpoint of that training.
"""

from __future__ import annotations

ABLATIONS = {  # option: name of the row, and the features that are another galaxy's
    "other-image": ("another image: all networks", ("parameters", "spectrum")),
    "other-image-parameters": ("another image: parameters", ("parameters",)),
    "other-image-spectrum": ("another image: U-Net", ("spectrum",)),
    "other-photometry": ("another image: photometry", ("photometry",)),
    "other-tower": ("another image: tower", ("tower",)),
    "no-unet": ("without the U-Net", ()),
}
