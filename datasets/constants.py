"""Constants of nature and of the SDSS that several modules need, each written once."""

SPEED_OF_LIGHT_KM_S = 299792.458  # exact, by the definition of the metre

SDSS_BANDS = ("u", "g", "r", "i", "z")  # of the imaging camera, from blue to red
SDSS_PIXEL_ARCSEC = 0.396  # side of a pixel of the frames (Gunn et al. 1998, AJ 116, 3040)
SDSS_FIBRE_ARCSEC = 3.0  # diameter of the fibres of SDSS-I/II; those of BOSS have 2 arcsec

SPLITS = {"train": 0, "validation": 1, "test": 2}  # value of the survey column `split`
