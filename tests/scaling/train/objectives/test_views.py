"""Views: crops by slicing, colours by torchvision, blur by scipy; nothing depends on how a batch is shared."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torchvision.transforms import functional as vision

from scaling.train.objectives import views
from scaling.train.objectives.views import View, make_view

PIXELS = torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("world", [2, 3])
def test_views_do_not_depend_on_the_number_of_workers(make_run, build, make_batch, world):
    _, objective = build(make_run(objective="simclr"))
    view = View((0.2, 1.0), 0.5, 0.5, 0.2)

    def seen(share: slice) -> torch.Tensor:
        return make_view(make_batch(7, (2, 1), share), view, 0, objective.setting)

    whole = seen(slice(None))
    for rank in range(world):
        share = slice(rank, None, world)
        torch.testing.assert_close(seen(share), whole[share])


def test_a_window_is_a_slice_resized_and_flipped():
    """Half of both sides, at the lower right, without flip; then the same flipped."""
    u = torch.tensor([[0.0, 0.5, 1.0, 1.0, 0.9], [0.0, 0.5, 1.0, 1.0, 0.1]])
    ours = views.crop_flip(PIXELS[:2], u, (0.25, 0.25))
    grown = torch.nn.functional.interpolate(PIXELS[:2, :, 8:, 8:], (16, 16), mode="bilinear", align_corners=False)
    inside = (..., slice(1, -1), slice(1, -1))  # at its border the window sees its neighbours, a slice does not
    torch.testing.assert_close(ours[0][inside], grown[0][inside])
    torch.testing.assert_close(ours[1].flip(-1)[inside], grown[1][inside])


def test_the_whole_image_is_itself():
    u = torch.tensor([[0.0, 0.5, 0.3, 0.7, 0.9]]).expand(5, 5)
    torch.testing.assert_close(views.crop_flip(PIXELS, u, (1.0, 1.0)), PIXELS)


@pytest.mark.parametrize(
    ("which", "adjust"),
    [(0, vision.adjust_brightness), (1, vision.adjust_contrast), (2, vision.adjust_saturation)],
)
def test_colours_change_as_in_torchvision(which, adjust):
    u = torch.full((5, 4), 0.5)
    u[:, which] = torch.linspace(0, 1, 5)
    ours = views.colour_jitter(PIXELS, u, 0.5)
    factors = 1 + 0.4 * torch.linspace(-1, 1, 5)
    for image, factor, changed in zip(PIXELS, factors, ours, strict=True):
        torch.testing.assert_close(changed, adjust(image, float(factor)), atol=1e-5, rtol=1e-5)


def test_hue_keeps_luma_and_turns_back():
    turns = torch.linspace(-0.5, 0.5, 5)
    turned = views.turn_hue(PIXELS, turns)
    luma = torch.tensor([0.299, 0.587, 0.114])
    torch.testing.assert_close(torch.einsum("c,nchw", luma, turned), torch.einsum("c,nchw", luma, PIXELS))
    torch.testing.assert_close(views.turn_hue(turned, -turns), PIXELS, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("side", [16, 64])
def test_blur_is_a_truncated_gaussian(side):
    pixels = torch.rand(3, 3, side, side, generator=torch.Generator().manual_seed(1))
    u = torch.tensor([0.1, 0.5, 1.0])
    radius = max(1, round(side / 20))
    for image, blurred, sigma in zip(pixels, views.gaussian_blur(pixels, u), (0.1 + 1.9 * u) * side / 224, strict=True):
        expected = gaussian_filter(
            image.numpy(), (0, float(sigma), float(sigma)), mode="mirror", radius=(0, radius, radius)
        )
        np.testing.assert_allclose(blurred, expected, atol=1e-5)


def test_views_differ_between_views_steps_and_images(make_run, build, make_batch):
    _, objective = build(make_run(objective="simclr"))
    batch = make_batch(6)
    seen = [
        make_view(replace(batch, place=place), View((0.2, 1.0), 0.5, 0.5), index, objective.setting)
        for place in [(0, 0), (0, 1), (1, 0)]
        for index in range(2)
    ]
    assert len({tuple(view.flatten().tolist()) for view in seen}) == 6
    assert all(bool(view.isfinite().all()) for view in seen)
