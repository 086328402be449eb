"""Augmentation: what the paper's presets do to an image, and what stays as it is."""

from __future__ import annotations

import numpy as np
import torch

from faces.types import Pixels
from training.data.augment import NORMAL, Augmentation, augment, moved
from training.finetune.recipe import load_recipe

SIDE = 48


def cross(count: int) -> Pixels:
    """A white picture with a dark cross through the centre."""
    picture = np.full((SIDE, SIDE, 3), 200, np.uint8)
    picture[SIDE // 2 - 1 : SIDE // 2 + 1] = picture[:, SIDE // 2 - 1 : SIDE // 2 + 1] = 20
    return np.repeat(picture[None], count, axis=0)


def test_the_papers_presets_augment_as_the_authors_do() -> None:
    wanted = Augmentation(crop_px=9, rotation_deg=10.0, grey=0.2, mirror=True, gain=0.0, offset=0.0)
    for name in ("hsst-softmax", "plain-triplet", "plain-plus-arc", "idr", "wcnn", "sst", "in-batch"):
        assert load_recipe(name).augment == wanted, name
    for name in ("hsst-product", "reference-hsst", "reference-plain-plus"):
        assert load_recipe(name).augment == NORMAL, name


def test_half_of_the_images_are_cropped_and_half_are_turned_about_their_centre() -> None:
    crops = cross(400)
    turned = moved(crops, np.random.default_rng(0), Augmentation(rotation_deg=10.0))
    same = (turned == crops).all(axis=(1, 2, 3))
    assert 0.4 < same.mean() < 0.6
    # The centre of the cross stays; the corners of a turned image come from outside, so they are black.
    centre = turned[:, SIDE // 2 - 1 : SIDE // 2 + 1, SIDE // 2 - 1 : SIDE // 2 + 1]
    assert centre.max() < 60
    assert turned[~same][:, 0, 0].max() < 200

    cropped = moved(crops, np.random.default_rng(0), Augmentation(crop_px=9))
    changed = ~(cropped == crops).all(axis=(1, 2, 3))
    assert 0.4 < changed.mean() < 0.6
    # A crop is enlarged to the whole: nothing comes from outside, and the cross moves by 9 px at most.
    assert cropped.min() >= 18
    dark = [np.flatnonzero(image[0, :, 0] < 110).mean() for image in cropped[changed]]
    assert np.std(dark) > 0.5
    assert np.abs(np.array(dark) - (SIDE - 1) / 2).max() < 9


def test_one_image_in_five_is_grey_in_three_equal_channels() -> None:
    images = torch.rand(1000, 3, 4, 4) * 1.6 - 0.8
    config = Augmentation(grey=0.2, mirror=False, gain=0.0, offset=0.0)
    made = augment(images, np.random.default_rng(1), config)
    grey = (made[:, :1] == made).all(dim=(1, 2, 3))
    assert 0.15 < float(grey.float().mean()) < 0.25
    assert torch.equal(made[~grey], images[~grey])


def test_without_crop_and_rotation_nothing_is_drawn() -> None:
    rng, crops = np.random.default_rng(3), cross(2)
    assert moved(crops, rng, NORMAL) is crops
    assert rng.random() == np.random.default_rng(3).random()
