"""Image transforms against the original's views, torch's own resize, and closed forms."""

import io
import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from datasets.image_transform import ASINH_SOFTENING, ImageTransform
from tests.support import GOLDEN as GOLDEN_DIR

GOLDEN = GOLDEN_DIR / "preprocessing.npz"


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def identity_transform(bands: int = 1) -> ImageTransform:
    return ImageTransform("linear", mean=[0.0] * bands, sigma=[1.0] * bands)


@pytest.mark.parametrize("name", ["image", "image48"])
def test_evaluation_view_is_the_originals(name):
    with np.load(GOLDEN, allow_pickle=False) as golden:
        raw, expected = golden[name], golden[f"{name}_eval"]
        transform = ImageTransform("linear", golden["means"], golden["stds"])
    view = transform.evaluation(torch.from_numpy(raw).permute(2, 0, 1)[None])[0]
    assert view.dtype == torch.float32
    np.testing.assert_allclose(view.numpy(), expected, atol=1e-5)


def possible_views(image: torch.Tensor) -> dict[tuple, torch.Tensor]:
    """Every (row, column, vertical flip, horizontal flip) view, by torch's resize and slicing."""
    large = F.interpolate(image[None], (71, 71), mode="bilinear", antialias=True)[0]
    views = {}
    for row in range(8):
        for column in range(8):
            crop = large[:, row : row + 64, column : column + 64]
            for flip in range(4):
                axes = [axis for bit, axis in ((1, 1), (2, 2)) if flip & bit]
                views[row, column, flip] = crop.flip(axes)
    return views


def test_training_views_are_crops_and_flips_drawn_per_image():
    image = torch.randn(2, 64, 64, generator=generator(1))
    views = possible_views(image)
    stack = torch.stack(list(views.values())).flatten(1)
    batch = image.expand(256, -1, -1, -1)
    seen = identity_transform(2).training(batch, generator()).flatten(1)
    nearest = torch.cdist(seen, stack).argmin(1)
    torch.testing.assert_close(seen, stack[nearest], atol=1e-5, rtol=0)
    drawn = np.array([list(views)[k] for k in nearest])
    for column, levels in ((0, 8), (1, 8), (2, 4)):
        counts = np.bincount(drawn[:, column], minlength=levels)
        expected = len(drawn) / levels
        assert np.abs(counts - expected).max() < 4.5 * math.sqrt(expected)
    assert abs(np.corrcoef(drawn[:, 0], drawn[:, 1])[0, 1]) < 0.25


def test_training_views_follow_the_generator():
    batch = torch.randn(8, 3, 64, 64)
    transform = identity_transform(3)
    first, again, other = (transform.training(batch, generator(s)) for s in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_linear_standardisation_uses_the_statistics_of_each_band():
    flat = torch.tensor([4.0, -1.0])[:, None, None].expand(2, 64, 64)[None]
    view = ImageTransform("linear", [2.0, 1.0], [0.5, 4.0]).evaluation(flat)
    torch.testing.assert_close(view[0, :, 0, 0], torch.tensor([4.0, -0.5]))


def test_asinh_fixes_sky_and_one_sigma_and_keeps_faint_colours():
    sigma = torch.tensor([0.2, 0.4])
    transform = ImageTransform("asinh", [9.0, 9.0], sigma)

    def view(level: float) -> torch.Tensor:
        return transform.evaluation((level * sigma)[:, None, None].expand(1, 2, 64, 64))[0, :, 9, 9]

    torch.testing.assert_close(view(0.0), torch.zeros(2))
    torch.testing.assert_close(view(1.0), torch.ones(2))
    faint = 0.05 * ASINH_SOFTENING
    assert view(2 * faint)[0] / view(faint)[0] == pytest.approx(2, rel=0.01)
    assert view(300.0).max() < 3


def test_state_survives_a_weights_only_checkpoint():
    transform = ImageTransform("asinh", [0.1, 0.2], [1.0, 2.0], size=32, zoom_size=40)
    buffer = io.BytesIO()
    torch.save(transform.to_dict(), buffer)
    buffer.seek(0)
    loaded = ImageTransform.from_dict(torch.load(buffer, weights_only=True))
    images = torch.randn(2, 2, 32, 32)
    assert torch.equal(loaded.evaluation(images), transform.evaluation(images))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("log", [0.0], [1.0]), "image stretch"),
        (("linear", [0.0], [0.0]), "positive"),
        (("linear", [0.0, 1.0], [1.0]), "one value per band"),
        (("linear", [0.0], [1.0], 64, 60), "cannot crop"),
    ],
)
def test_impossible_settings_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ImageTransform(*arguments)


def test_images_of_other_bands_are_refused():
    with pytest.raises(ValueError, match="batch, 1, height, width"):
        identity_transform(1).evaluation(torch.zeros(1, 3, 64, 64))


def test_moving_a_transform_leaves_it_as_it_is():
    transform = ImageTransform("asinh", [0.0], [1.0])
    moved = transform.to("meta")
    assert moved is not transform
    assert moved.mean.device.type == moved._enlarge.device.type == "meta"
    assert transform.mean.device.type == transform._enlarge.device.type == "cpu"
