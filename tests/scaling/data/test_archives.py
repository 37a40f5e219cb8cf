"""Archives: images read without extraction, hostile and damaged zips refused; stimuli from files, batch by batch."""

from __future__ import annotations

import io
import pickle
import stat
import zipfile

import numpy as np
import pytest
from PIL import Image

from scaling.data import archives
from scaling.data.archives import decode_image, open_images
from scaling.data.recordings.stimuli import Stimuli, StimulusFiles
from scaling.data.recordings.visual_angle import place
from scaling.errors import StudyError

IMAGES = np.random.default_rng(0).integers(0, 256, (7, 6, 8, 3), dtype=np.uint8)
NAMES = tuple(f"im{i}.png" for i in range(len(IMAGES)))


def coded(image, kind="PNG"):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind)
    return buffer.getvalue()


def write_zip(path, members=None):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (members or dict(zip(NAMES, map(coded, IMAGES), strict=True))).items():
            archive.writestr(name, content)
    return path


def write_folder(path):
    path.mkdir()
    for name, image in zip(NAMES, IMAGES, strict=True):
        (path / name).write_bytes(coded(image))
    return path


@pytest.fixture(params=["zip", "folder"])
def source(request, tmp_path):
    return write_zip(tmp_path / "images.zip") if request.param == "zip" else write_folder(tmp_path / "images")


def stimulus_files(source, **changes):
    ids = tuple(f"id{i}" for i in range(len(NAMES)))
    return StimulusFiles(**{"source": source, "filenames": NAMES, "ids": ids, "labels": None, "name": "toy"} | changes)


def test_images_come_as_written_and_nothing_is_extracted(source, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    with open_images(source) as images:
        assert images.names == set(NAMES)
        for name, image in zip(NAMES, IMAGES, strict=True):
            np.testing.assert_array_equal(images.image(name), image)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_file_is_found_below_a_folder_of_the_zip_if_there_is_one(tmp_path):
    members = {"set/a.png": coded(IMAGES[0]), "one/b.png": coded(IMAGES[1]), "two/b.png": coded(IMAGES[2])}
    with open_images(write_zip(tmp_path / "nested.zip", members | {"__MACOSX/set/._a.png": b"junk"})) as images:
        np.testing.assert_array_equal(images.image("a.png"), IMAGES[0])
        np.testing.assert_array_equal(images.image("two/b.png"), IMAGES[2])
        with pytest.raises(StudyError, match=r"no image 'b\.png' among 3 files"):
            images.image("b.png")


@pytest.mark.parametrize(
    "name", ["../out.png", "a/../../out.png", "/etc/out.png", "..\\out.png", "C:\\out.png", "C:out"]
)
def test_paths_that_climb_are_refused(tmp_path, name):
    write_zip(tmp_path / "evil.zip", {"fine.png": coded(IMAGES[0]), name: b"x"})
    with (
        pytest.raises(StudyError, match=r"evil\.zip: member .*climbs out of its folder"),
        open_images(tmp_path / "evil.zip"),
    ):
        pass


def test_links_encrypted_repeated_and_huge_members_are_refused(tmp_path, monkeypatch):
    link = zipfile.ZipInfo("link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    write_zip(tmp_path / "encrypted.zip", {"a.png": b"secret"})
    raw = bytearray((tmp_path / "encrypted.zip").read_bytes())
    raw[raw.index(b"PK\x01\x02") + 8] |= 1  # the flag in the central directory
    (tmp_path / "encrypted.zip").write_bytes(raw)
    with zipfile.ZipFile(tmp_path / "twice.zip", "w") as archive:
        archive.writestr("a.png", b"1")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a.png", b"2")
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", bytes(10**6))
    monkeypatch.setattr(archives, "MAX_FILE_BYTES", 10**6 - 1)
    for name, words in (("link", "is a link"), ("encrypted", "is encrypted"), ("twice", "comes twice")):
        with pytest.raises(StudyError, match=rf"{name}\.zip: member .*{words}"), open_images(tmp_path / f"{name}.zip"):
            pass
    with pytest.raises(StudyError, match="1,000,000 bytes, more than 999,999"), open_images(tmp_path / "bomb.zip"):
        pass


def test_a_link_out_of_a_folder_is_refused(tmp_path):
    folder = write_folder(tmp_path / "images")
    (tmp_path / "outside.png").write_bytes(coded(IMAGES[0]))
    (folder / "link.png").symlink_to(tmp_path / "outside.png")
    with open_images(folder) as images, pytest.raises(StudyError, match=r"is a link to .*outside"):
        images.image("link.png")


@pytest.mark.parametrize("size", [0, 10, 300, -30])
def test_truncated_zips(tmp_path, size):
    whole = write_zip(tmp_path / "a.zip").read_bytes()
    (tmp_path / "a.zip").write_bytes(whole[:size])
    with pytest.raises(StudyError, match=r"a\.zip .*no whole zip.*fetch it again"), open_images(tmp_path / "a.zip"):
        pass


def test_a_damaged_member_and_a_missing_archive(tmp_path):
    raw = bytearray(write_zip(tmp_path / "a.zip").read_bytes())
    raw[raw.index(coded(IMAGES[0])) + 60] ^= 0xFF
    (tmp_path / "a.zip").write_bytes(raw)
    with open_images(tmp_path / "a.zip") as images, pytest.raises(StudyError, match=r"member 'im0\.png' is damaged"):
        images.image("im0.png")
    with pytest.raises(StudyError, match="does not exist"), open_images(tmp_path / "absent.zip"):
        pass


def test_modes_become_rgb():
    grey = IMAGES[0, :, :, 0]
    np.testing.assert_array_equal(decode_image(coded(grey), "here"), np.repeat(grey[..., None], 3, axis=-1))
    transparent = np.concatenate([IMAGES[0], grey[..., None]], axis=-1)
    np.testing.assert_array_equal(decode_image(coded(transparent), "here"), IMAGES[0])
    np.testing.assert_array_equal(decode_image(coded(IMAGES[0], "BMP"), "here"), IMAGES[0])


def test_what_is_no_image(monkeypatch):
    whole = coded(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    for content in (b"", b"<html>", whole[: len(whole) // 2], b"P6 2 2 255 " + bytes(12)):
        with pytest.raises(StudyError, match=r"there, x: .* are no image"):
            decode_image(content, "there, x")
    with pytest.raises(StudyError, match=r"mode 'I;16'.* 8 bits a channel"):
        decode_image(coded(np.ones((4, 4), np.uint16)), "there")
    monkeypatch.setattr(archives, "MAX_PIXELS", 47)
    with pytest.raises(StudyError, match="8 × 6 pixels in mode 'RGB'; at most 47 pixels"):
        decode_image(coded(IMAGES[0]), "there")


@pytest.mark.parametrize("ratio", [1.0, 2.0, 0.5])
def test_stimulus_files_give_the_images_in_batches(source, ratio):
    stimuli = stimulus_files(source, ratio=ratio)
    batches = list(stimuli.batches(3))
    assert [len(batch) for batch in batches] == [3, 3, 1]
    np.testing.assert_array_equal(np.concatenate(batches), place(IMAGES, ratio))
    in_memory = Stimuli(place(IMAGES, ratio), stimuli.ids, None, "toy")
    np.testing.assert_array_equal(np.concatenate(list(in_memory.batches(3))), place(IMAGES, ratio))
    assert len(stimuli) == len(in_memory) == 7
    assert pickle.loads(pickle.dumps(stimuli)).key == stimuli.key


def test_the_key_is_of_content_order_and_placement(tmp_path):
    folder, archive = write_folder(tmp_path / "images"), write_zip(tmp_path / "images.zip")
    key = stimulus_files(folder).key
    assert len(key) == 16
    assert stimulus_files(archive, ids=NAMES, labels=np.arange(7), name="other").key == key
    assert stimulus_files(folder, filenames=NAMES[::-1]).key != key
    assert stimulus_files(folder, ratio=2.0).key != key
    changed = IMAGES[3].copy()
    changed[0, 0, 0] ^= 1
    (folder / NAMES[3]).write_bytes(coded(changed))
    assert stimulus_files(folder).key != key


def test_bad_stimulus_files(tmp_path):
    folder = write_folder(tmp_path / "images")
    for changes, words in (
        ({"ids": NAMES[:6]}, "6 distinct ids for 7 images"),
        ({"labels": np.arange(6)}, r"labels of shape \(6,\) for 7 images"),
        ({"filenames": (), "ids": ()}, "no images"),
        ({"filenames": (*NAMES[:6], "im66.png")}, r"no image 'im66\.png' among 7 files"),
    ):
        with pytest.raises(StudyError, match=words):
            stimulus_files(folder, **changes)
    with pytest.raises(StudyError, match="batches of 0 images"):
        next(stimulus_files(folder).batches(0))
    (folder / NAMES[4]).write_bytes(coded(IMAGES[0, :5]))
    with pytest.raises(StudyError, match=r"im4\.png shows 5 × 8 pixels, im0\.png 6 × 8"):
        list(stimulus_files(folder).batches(2))
