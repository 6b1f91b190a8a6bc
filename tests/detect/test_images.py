"""Images are decoded whole and letterboxed with one scale."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PILImage

from nas_fpn.detect.images import GREY, load_image, open_image
from nas_fpn.errors import DataError

GOLDEN = Path(__file__).parents[1] / "golden" / "detect"


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


@pytest.mark.parametrize(
    ("mode", "colour", "seen"),
    [
        ("L", 90, (90, 90, 90)),
        ("RGBA", (200, 10, 30, 0), (200, 10, 30)),
        ("P", (200, 10, 30), (200, 10, 30)),
        ("CMYK", (55, 245, 225, 0), (200, 10, 30)),
        ("1", 1, (255, 255, 255)),
        ("I;16", 257 * 90, (90, 90, 90)),
        ("I;16", 65535, (255, 255, 255)),
        ("I;16B", 257 * 90 + 100, (90, 90, 90)),
    ],
)
def test_any_mode_becomes_rgb(tmp_path, mode, colour, seen):
    suffix = "tif" if mode in ("CMYK", "I;16B") else "png"
    path = tmp_path / f"image.{suffix}"
    PILImage.new(mode, (8, 8), colour).save(path)
    image = load_image(path, 8)[0]
    assert image.shape == (3, 8, 8)
    assert image.flatten(1).unique(dim=1).tolist() == [[level] for level in seen]


def test_every_level_of_16_bits_is_told_from_those_a_256th_away(tmp_path):
    path = tmp_path / "grey.png"
    levels = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    PILImage.fromarray(levels).save(path)
    found = np.asarray(open_image(path))[..., 0]
    assert np.array_equal(found, np.round(levels / 257).astype(np.uint8))


@pytest.mark.parametrize("mode", ["I", "F"])
def test_message_of_grey_of_32_bits(tmp_path, monkeypatch, mode):
    monkeypatch.chdir(tmp_path)
    PILImage.new(mode, (8, 8), 1).save("deep.tif")
    with pytest.raises(DataError) as caught:
        open_image(Path("deep.tif"))
    golden = (GOLDEN / "image_of_32_bits.txt").read_text(encoding="utf-8")
    assert f"{caught.value}\n" == golden.replace("MODE", mode)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_an_image_cut_off_is_named(tmp_path, suffix):
    path = tmp_path / f"cut.{suffix}"
    PILImage.effect_noise((100, 100), 50).convert("RGB").save(path)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(DataError, match=rf"cut\.{suffix}: the image cannot be decoded"):
        load_image(path, 64)
