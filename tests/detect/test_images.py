"""Images are decoded whole and letterboxed with one scale."""

import pytest
import torch
from PIL import Image as PILImage

from nas_fpn.detect.images import GREY, load_image
from nas_fpn.errors import DataError


@pytest.mark.parametrize(
    ("size", "inside", "scale"),
    [
        ((64, 64), (64, 64), 1.0),
        ((128, 32), (64, 16), 0.5),
        ((16, 32), (32, 64), 2.0),
        ((1000, 1), (64, 1), 0.064),
    ],
)
def test_longer_side_fits_and_the_rest_is_grey(tmp_path, size, inside, scale):
    path = tmp_path / "white.png"
    PILImage.new("RGB", size, (255, 255, 255)).save(path)
    image, got = load_image(path, 64)
    assert image.dtype == torch.uint8
    assert image.shape == (3, 64, 64)
    assert got == pytest.approx(scale)
    width, height = inside
    assert (image[:, :height, :width] == 255).all()
    assert (image[:, height:] == GREY).all()
    assert (image[:, :, width:] == GREY).all()


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "1", "I;16"])
def test_any_mode_becomes_rgb(tmp_path, mode):
    suffix = "tif" if mode == "CMYK" else "png"
    path = tmp_path / f"image.{suffix}"
    PILImage.new(mode, (8, 8)).save(path)
    assert load_image(path, 8)[0].shape == (3, 8, 8)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_an_image_cut_off_is_named(tmp_path, suffix):
    path = tmp_path / f"cut.{suffix}"
    PILImage.effect_noise((100, 100), 50).convert("RGB").save(path)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(DataError, match=rf"cut\.{suffix}: the image cannot be decoded"):
        load_image(path, 64)
