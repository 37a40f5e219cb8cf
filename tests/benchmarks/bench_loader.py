"""Images a second of the decoded cache against torchvision's ImageFolder and DataLoader, in one run, same two CPUs.

    python tests/benchmarks/bench_loader.py [--images 2000] [--batch 128] [--epochs 2] [--folder PLACE]

Data: JPEGs of noise, about 500 x 375 pixels and 108 KiB, as ImageNet's are on average, in ImageFolder's layout.

Theirs: ImageFolder, RandomResizedCrop(224), flip, ToTensor, Normalize, in a DataLoader of 2 persistent workers; one
epoch warms it up. Ours: decoded once at 256 pixels (timed), then batches gathered at random from the memory map, the
same augmentation of a whole batch by `scaling.train.augment.apply.prepare`, on torch's 2 threads. Both end as
normalised float32 tensors of 224 pixels. `cpu` divides by processor seconds of all processes, the fairer figure where
other work slows the machine. Aim: 5 times as many images a second after the one-time decode.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from scaling.data.image_set import ImageData
from scaling.data.images import load_images
from scaling.specs.dataset import DatasetSpec
from scaling.specs.training import TrainingSpec
from scaling.train.augment.apply import Look, prepare
from scaling.train.batches import Draw, epoch_batches

THREADS, SIZE, STORED, CLASSES, QUALITY, SEED = 2, 224, 256, 10, 90, 0
SPEC = TrainingSpec(augmentation="resized_crop")
HELDOUT = 2  # images a class
FADE = 0.9  # amplitude from one octave of the noise to the next


class Speed(NamedTuple):
    """Images a second, and a processor second."""

    wall: float
    cpu: float


def write_jpegs(folder: Path, n_images: int) -> int:
    """Training and a few held-out images; the bytes they take."""

    def write(place: tuple[str, int]) -> int:
        split, i = place
        random = np.random.default_rng([SEED, i, len(split)])
        height, width = (int(side * random.uniform(0.9, 1.1)) for side in (375, 500))
        file = folder / split / f"class{i % CLASSES}" / f"{i:06d}.JPEG"
        file.parent.mkdir(parents=True, exist_ok=True)
        picture(random, height, width).save(file, quality=QUALITY)
        return file.stat().st_size

    places = [("train", i) for i in range(n_images)] + [("val", i) for i in range(HELDOUT * CLASSES)]
    with ThreadPoolExecutor(THREADS) as pool:
        return sum(pool.map(write, places))


def picture(random: np.random.Generator, height: int, width: int) -> Image.Image:
    """Noise of every scale, fading towards the fine ones so that a file has about ImageNet's mean of 110 KiB."""
    total = np.zeros((height, width, 3))
    for octave in range(8):
        cells = random.integers(0, 256, (3 * 2**octave, 4 * 2**octave, 3), np.uint8)
        grown = Image.fromarray(cells).resize((width, height), Image.Resampling.BICUBIC)
        total += (np.asarray(grown) - 128.0) * FADE**octave
    return Image.fromarray((128 + total / 2).clip(0, 255).astype(np.uint8))


def theirs(folder: Path, data: ImageData, batch: int, epochs: int) -> Speed:
    transform = transforms.Compose([
        transforms.RandomResizedCrop(SIZE), transforms.RandomHorizontalFlip(), transforms.ToTensor(),
        transforms.Normalize(data.mean, data.std),
    ])  # fmt: skip
    images = ImageFolder(str(folder / "train"), transform)
    loader: Any = DataLoader(images, batch, shuffle=True, num_workers=THREADS, persistent_workers=True)
    for _ in loader:
        pass
    workers = [worker.pid for worker in loader._iterator._workers]
    began, cpu = time.perf_counter(), cpu_seconds([os.getpid(), *workers])
    seen = sum(len(labels) for _ in range(epochs) for _, labels in loader)
    return speed(seen, time.perf_counter() - began, cpu_seconds([os.getpid(), *workers]) - cpu)


def ours(data: ImageData, batch: int, epochs: int) -> Speed:
    look = Look(data.mean, data.std, torch.device("cpu"), SIZE)

    def epoch(number: int) -> int:
        seen = 0
        for step, index in enumerate(epoch_batches(len(data.train), batch, SEED, number)):
            draw = Draw(SEED, (number, step), slice(None), len(index))
            pixels, _ = prepare(data.train.images[index], None, SPEC, look, draw)
            labels = torch.from_numpy(data.train.labels[index])
            assert pixels.shape == (len(labels), 3, SIZE, SIZE)
            seen += len(labels)
        return seen

    epoch(0)
    began, cpu = time.perf_counter(), cpu_seconds([os.getpid()])
    seen = sum(epoch(number) for number in range(1, epochs + 1))
    return speed(seen, time.perf_counter() - began, cpu_seconds([os.getpid()]) - cpu)


def cpu_seconds(processes: list[int]) -> float:
    """User and system time of processes, their threads included."""
    ticks = 0
    for process in processes:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def speed(images: int, wall: float, cpu: float) -> Speed:
    return Speed(images / wall, images / cpu)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=2, help="timed epochs of each")
    parser.add_argument("--folder", type=Path, help="where files go [default: a temporary folder]")
    args = parser.parse_args()
    torch.set_num_threads(THREADS)
    with tempfile.TemporaryDirectory(dir=args.folder) as scratch:
        folder = Path(scratch)
        n_bytes = write_jpegs(folder / "jpegs", args.images)
        print(f"{args.images:,} JPEGs, {n_bytes / 2**10 / (args.images + HELDOUT * CLASSES):.0f} KiB each")
        spec = DatasetSpec(name="jpegs", path="jpegs", image_size=SIZE, stored_size=STORED)
        began, cpu = time.perf_counter(), cpu_seconds([os.getpid()])
        data = load_images(spec, folder, folder / "cache")
        wall, cpu = time.perf_counter() - began, cpu_seconds([os.getpid()]) - cpu
        print(
            f"decoded once in {wall:.1f} s ({(args.images / wall):.0f} images/s, {args.images / cpu:.0f} a cpu second)"
        )
        mine = ours(data, args.batch, args.epochs)
        other = theirs(folder / "jpegs", data, args.batch, args.epochs)
    print("| | images/s | images a cpu second |\n| --- | --- | --- |")
    print(f"| ImageFolder + DataLoader, {THREADS} workers | {other.wall:.0f} | {other.cpu:.0f} |")
    print(f"| decoded cache, {THREADS} threads | {mine.wall:.0f} | {mine.cpu:.0f} |")
    print(f"ratio {mine.wall / other.wall:.1f}, cpu {mine.cpu / other.cpu:.1f}")


if __name__ == "__main__":
    main()
