"""The bank holds what the backbone gives, standardised, once, and says when something changed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PILImage
from safetensors.torch import save_file

from nas_fpn.detect.coco import read_coco
from nas_fpn.detect.dataset import Dataset, take, to_coco
from nas_fpn.detect.images import load_image
from nas_fpn.detect.shapes import write_shapes
from nas_fpn.errors import DataError, RunError
from nas_fpn.proxy import building
from nas_fpn.proxy.backbone import Backbone, build_backbone
from nas_fpn.proxy.bank import Bank, open_bank
from nas_fpn.proxy.building import Built, Fold, build_bank
from nas_fpn.proxy.settings import BackboneSettings, ProxySettings
from nas_fpn.proxy.streaming import streamed_file

Data = dict[str, Dataset]
LEVELS = (3, 4)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    folder = tmp_path_factory.mktemp("shapes")
    write_shapes(folder, seed=0, image_size=64, train=40, val=5, test=4, warmup=0)
    return {
        split: read_coco(folder / f"{split}.json", folder / "images")[0]
        for split in ("train", "val", "test")
    }


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    """A net that looked at images before, so that its features have a scale of their own."""
    backbone = build_backbone(BackboneSettings(), LEVELS, seed=3)
    with torch.no_grad():
        for _ in range(20):
            backbone(torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(1)))
    return backbone.freeze()


def settings_with(**changes: object) -> ProxySettings:
    return ProxySettings.model_validate({"image_size": 64, "views": 4, **changes})


def build(folder: Path, backbone: Backbone, data: Data, **changes: object) -> list[Built]:
    return list(build_bank(folder, backbone=backbone, settings=settings_with(**changes), **data))


@pytest.fixture(scope="module")
def bank(backbone: Backbone, data: Data, tmp_path_factory: pytest.TempPathFactory) -> Bank:
    return open_bank(build(tmp_path_factory.mktemp("bank"), backbone, data)[-1].path)


def test_val_features_are_the_backbones_standardised(bank, backbone, data):
    images = torch.stack([load_image(image.path, 64)[0] for image in data["val"].images])
    with torch.no_grad():
        features = backbone(images.float() / 255)
    assert bank.levels == tuple(features) == LEVELS
    for level, feature in features.items():
        mean, std = bank.mean[level][:, None, None], bank.std[level][:, None, None]
        torch.testing.assert_close(bank.val.features[level], (feature - mean) / std)
        assert bank.channels[level] == feature.shape[1]


def test_plain_train_features_have_mean_0_and_spread_1(bank):
    for feature in bank.train.features.values():
        channels = feature[:40].transpose(0, 1).flatten(1)
        spread = channels.std(1, correction=0)
        alive = spread > 1e-3
        assert alive.any()
        torch.testing.assert_close(channels.mean(1), torch.zeros(len(spread)), atol=1e-4, rtol=0)
        torch.testing.assert_close(spread[alive], torch.ones(int(alive.sum())), atol=1e-3, rtol=0)


def test_train_is_stored_view_by_view(bank, data):
    ids = [image.id for image in data["train"].images]
    assert bank.train.image_ids.tolist() == ids * 4
    assert bank.train.scales.tolist() == pytest.approx([1.0] * 80 + [1.5] * 40 + [43 / 64] * 40)
    plain, mirrored = bank.train.boxes[:40], bank.train.boxes[40:80]
    there = bank.train.labels[:40] >= 0
    assert torch.equal(plain[there][:, 0], 64 - mirrored[there][:, 2])
    assert torch.equal(bank.train.labels[:40], bank.train.labels[40:80])


def test_boxes_and_labels_are_padded(bank, data):
    for row, (boxes, labels) in enumerate(zip(data["val"].boxes, data["val"].labels, strict=True)):
        count = len(labels)
        assert np.array_equal(bank.val.boxes[row, :count].numpy(), boxes)
        assert np.array_equal(bank.val.labels[row, :count].numpy(), labels)
        assert (bank.val.boxes[row, count:] == 0).all()
        assert (bank.val.labels[row, count:] == -1).all()


def test_the_truth_is_inside(bank, data):
    assert bank.truth == {"val": to_coco(data["val"]), "test": to_coco(data["test"])}
    assert bank.categories == data["train"].categories


def test_crowds_are_no_boxes_but_stay_in_the_truth(backbone, data, tmp_path):
    crowd = tuple(np.arange(len(one)) == 0 for one in data["val"].crowd)
    val = replace(data["val"], crowd=crowd)
    bank = open_bank(build(tmp_path, backbone, {**data, "val": val}, views=1)[-1].path)
    rows = bank.truth["val"]["annotations"]
    assert (bank.val.labels >= 0).sum() == sum(1 - row["iscrowd"] for row in rows)
    assert sum(row["iscrowd"] for row in rows) == len(val.images)


def test_progress_counts_to_the_total_and_the_last_value_is_the_bank(backbone, data, tmp_path):
    values = build(tmp_path, backbone, data)
    done = [value.done for value in values]
    assert done == sorted(set(done))
    assert done[-1] == values[-1].total == 40 + 4 * 40 + 5 + 4
    assert all(value.done < value.total for value in values[:-1])
    assert [path.name for path in tmp_path.iterdir()] == [values[-1].path.name]


def test_a_bank_is_built_once(backbone, data, tmp_path):
    first = build(tmp_path, backbone, data, views=1)[-1]
    stamp = first.path.stat().st_mtime_ns
    again = build(tmp_path, backbone, data, views=1)
    assert again == [first]
    assert first.path.stat().st_mtime_ns == stamp


def test_the_same_inputs_give_the_same_bytes(backbone, data, tmp_path):
    one = build(tmp_path / "one", backbone, data, views=2)[-1].path
    two = build(tmp_path / "two", backbone, data, views=2)[-1].path
    assert one.name == two.name
    assert one.read_bytes() == two.read_bytes()


def with_other_pixels(data: Data, folder: Path) -> Data:
    """The same file name, size and boxes; one pixel differs."""
    first = data["train"].images[0]
    with PILImage.open(first.path) as picture:
        picture.putpixel((0, 0), (1, 2, 3))
        picture.save(folder / first.path.name)
    moved = replace(first, path=folder / first.path.name)
    images = (moved, *data["train"].images[1:])
    return {**data, "train": replace(data["train"], images=images)}


def test_whatever_changes_the_features_changes_the_key(backbone, data, tmp_path):
    def name(backbone: Backbone, data: Data, **changes: object) -> str:
        progress = build_bank(
            tmp_path / "never", backbone=backbone, settings=settings_with(**changes), **data
        )
        value = next(progress)
        progress.close()
        return value.path.name

    few = take(data["val"], [1, 2])
    shifted = replace(data["val"], boxes=tuple(boxes + 0 * boxes for boxes in data["val"].boxes))
    grown = replace(data["val"], boxes=tuple(boxes * 1.01 for boxes in data["val"].boxes))
    names = [
        name(backbone, data),
        name(backbone, data, image_size=96),
        name(backbone, data, views=3),
        name(backbone, data, dtype="bfloat16"),
        name(build_backbone(BackboneSettings(), LEVELS, seed=4), data),
        name(build_backbone(BackboneSettings(), (3,), seed=3), data),
        name(backbone, {**data, "val": few}),
        name(backbone, {**data, "val": grown}),
        name(backbone, {**data, "val": data["test"], "test": data["val"]}),
        name(backbone, with_other_pixels(data, tmp_path)),
    ]
    assert len(set(names)) == len(names)
    assert name(backbone, {**data, "val": shifted}) == names[0]
    assert name(backbone, data, steps=7, learning_rate=1.0) == names[0]


def test_bfloat16_halves_the_file_and_rounds(bank, backbone, data, tmp_path):
    path = build(tmp_path, backbone, data, dtype="bfloat16")[-1].path
    small = open_bank(path)
    for level, feature in small.train.features.items():
        assert feature.dtype == torch.bfloat16
        assert torch.equal(feature, bank.train.features[level].bfloat16())
    assert path.stat().st_size < 0.7 * bank.path.stat().st_size


def test_a_build_that_fails_leaves_nothing_and_the_backbones_mode(data, tmp_path):
    backbone = build_backbone(BackboneSettings(), LEVELS)
    broken = tmp_path / "cut.png"
    broken.write_bytes(data["test"].images[-1].path.read_bytes()[:2000])
    images = (*data["test"].images[:-1], replace(data["test"].images[-1], path=broken))
    with pytest.raises(DataError, match=r"cut\.png: the image cannot be decoded"):
        build(tmp_path / "bank", backbone, {**data, "test": replace(data["test"], images=images)})
    assert list((tmp_path / "bank").iterdir()) == []
    assert backbone.training


def test_a_build_that_is_given_up_leaves_nothing(backbone, data, tmp_path):
    progress = build_bank(tmp_path, backbone=backbone, settings=settings_with(), **data)
    while next(progress).done <= 40:  # mean and spread are measured first
        pass
    assert len(list(tmp_path.iterdir())) == 1
    progress.close()
    assert list(tmp_path.iterdir()) == []


def test_mean_and_spread_are_measured_on_images_from_the_whole_of_train(
    backbone, data, tmp_path, monkeypatch
):
    monkeypatch.setattr(building, "MEASURED", 10)
    bank = open_bank(build(tmp_path, backbone, data, views=1)[-1].path)
    images = [load_image(image.path, 64)[0] for image in data["train"].images[::4]]
    features = backbone(torch.stack(images).float() / 255)
    for level, feature in features.items():
        torch.testing.assert_close(bank.mean[level], feature.mean((0, 2, 3)), atol=1e-5, rtol=1e-4)


def test_train_without_a_box_is_refused(backbone, data, tmp_path):
    bare = replace(data["train"], crowd=tuple(np.ones_like(one) for one in data["train"].crowd))
    with pytest.raises(DataError, match="no image has a box"):
        build(tmp_path, backbone, {**data, "train": bare})


def test_splits_of_other_categories_are_refused(backbone, data, tmp_path):
    val = replace(data["val"], categories=data["val"].categories[::-1])
    with pytest.raises(ValueError, match="same categories"):
        build(tmp_path, backbone, {**data, "val": val})


def test_what_is_no_bank_is_named(tmp_path):
    with pytest.raises(RunError, match=r"absent: no such bank"):
        open_bank(tmp_path / "absent")
    (tmp_path / "text").write_text("hello, this is no bank")
    with pytest.raises(RunError, match=r"text: not a bank"):
        open_bank(tmp_path / "text")
    save_file({"a": torch.zeros(1)}, tmp_path / "other", metadata={"bank": "0"})
    with pytest.raises(RunError, match="a bank of version 0"):
        open_bank(tmp_path / "other")


def test_a_disk_without_room_is_said_before_anything_is_written(tmp_path):
    layout = {"huge": (torch.float32, (10**6, 10**6, 10**3))}
    with (
        pytest.raises(RunError, match=r'takes .* GB.*dtype = "bfloat16"'),
        streamed_file(tmp_path / "bank", layout, {}),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_folds_must_hold_each_image_once(backbone: Backbone, data: Data, tmp_path: Path) -> None:
    for images in ((range(20), range(20)), (range(10),), (range(41),)):
        folds = [Fold(backbone, tuple(places)) for places in images]
        with pytest.raises(ValueError, match="each of the 40 images of train once"):
            next(build_bank(tmp_path, backbone=folds, settings=settings_with(), **data))


def test_folds_of_one_backbone_differ_in_their_scale_alone(
    backbone: Backbone, data: Data, bank: Bank, tmp_path: Path
) -> None:
    folds = [Fold(backbone, tuple(range(start, 40, 2))) for start in range(2)]
    *_, last = build_bank(tmp_path, backbone=folds, settings=settings_with(), **data)
    dealt = open_bank(last.path)
    assert dealt.key != bank.key
    assert torch.equal(dealt.train.boxes, bank.train.boxes)
    for level in LEVELS:
        whole, parts = bank.train.features[level], dealt.train.features[level]
        for start in range(2):
            rows = [row for row in range(len(whole)) if row % 40 % 2 == start]
            ratio, shift = _line(whole[rows], parts[rows])
            torch.testing.assert_close(
                parts[rows], whole[rows] * ratio + shift, rtol=1e-3, atol=1e-3
            )


def _line(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The straight line, channel by channel, that takes x to y: least squares."""
    mean_x, mean_y = x.mean((0, 2, 3), keepdim=True), y.mean((0, 2, 3), keepdim=True)
    over = ((x - mean_x) ** 2).sum((0, 2, 3), keepdim=True).clamp(min=1e-12)
    ratio = ((x - mean_x) * (y - mean_y)).sum((0, 2, 3), keepdim=True) / over
    return ratio, mean_y - ratio * mean_x
