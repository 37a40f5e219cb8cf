"""Images kept from one model to the next: the bits that are prepared anew, whole sets alone, within their memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from scaling.alignment.features.extraction import layer_representations
from scaling.alignment.features.kept_images import KeptImages
from scaling.alignment.features.preprocessing import Preprocessing
from scaling.data.recordings.stimuli import StimulusFiles

SQUARE = Preprocessing.square(16, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
CROPPED = Preprocessing(image_size=16, resize=20)


class Counted:
    """Stimuli that count how often they are read."""

    def __init__(self, stimuli):
        self.stimuli, self.read = stimuli, 0
        self.key = stimuli.key

    def __len__(self):
        return len(self.stimuli)

    def batches(self, batch_size):
        self.read += 1
        return self.stimuli.batches(batch_size)


@pytest.fixture
def stimuli(tmp_path):
    rng, names = np.random.default_rng(0), tuple(f"{i:02d}.jpg" for i in range(9))
    for name in names:
        Image.fromarray(rng.integers(0, 256, (37, 37, 3), dtype=np.uint8)).save(tmp_path / name)
    return Counted(StimulusFiles(tmp_path, names, names, None, "noise"))


@pytest.mark.parametrize("preprocessing", [SQUARE, CROPPED])
@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_kept_images_are_those_prepared_anew_to_the_bit(stimuli, preprocessing, batch_size):
    kept = KeptImages()
    expected = torch.cat([preprocessing.apply(batch) for batch in stimuli.stimuli.batches(5)])
    for _ in range(3):
        batches = list(kept.batches(stimuli, preprocessing, batch_size))
        assert [len(batch) for batch in batches] == [min(batch_size, 9 - i) for i in range(0, 9, batch_size)]
        assert torch.equal(torch.cat(batches), expected)
        for batch in batches:
            batch.zero_()  # as a model that works in place
    assert stimuli.read == 1


def test_what_is_read_in_part_or_does_not_fit_is_not_kept(stimuli):
    small = KeptImages(max_bytes=9 * 3 * 16 * 16 * 4 - 1)
    for _ in range(2):
        next(KeptImages().batches(stimuli, SQUARE, 1))
        list(small.batches(stimuli, SQUARE, 4))
    assert stimuli.read == 4


def test_another_preparation_takes_the_place(stimuli):
    kept = KeptImages(max_bytes=9 * 3 * 16 * 16 * 4)
    for preprocessing, read in ((SQUARE, 1), (SQUARE, 1), (CROPPED, 2), (CROPPED, 2), (SQUARE, 3)):
        list(kept.batches(stimuli, preprocessing, 4))
        assert stimuli.read == read


def test_representations_of_a_second_model_need_no_image(stimuli):
    kept, torch_model = KeptImages(), nn.Sequential(nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(768, 5))
    expected = dict(layer_representations(torch_model, ["2"], stimuli, SQUARE))["2"]
    before = stimuli.read
    for _ in range(2):
        found = dict(layer_representations(torch_model, ["2"], stimuli, SQUARE, kept=kept))["2"]
        assert np.array_equal(found.features, expected.features)
    assert stimuli.read == before + 2  # the first image, to probe the layers, and all
