"""Every convolutional and linear layer of a VGG16 at 224 px against simulated recordings, in bounded memory.

    python tests/benchmarks/bench_vgg16_memory.py [--stimuli 1000] [--neuroids 256] [--layers all|widest:3|NAME,NAME]
                                                  [--memory-gb 2] [--spill-gb 16] [--spill-folder DIR] [--threads 2]

Random weights; smooth random images (made anew in every pass, so that they take no memory); neuroids that are linear
in what the images were made of, plus noise. Each layer's features enter one Gram matrix (up to 3.2 million features),
and PLS regression with 25 components predicts held-out responses in 10 splits, as Brain-Score maps layers. All of it
held at once, as float64, would take 8 bytes x stimuli x 13.6 million features: 108 GB for 1,000 stimuli.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from collections.abc import Iterator

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import interpolate

from scaling.alignment.features.activations import probe_model
from scaling.alignment.features.extraction import FeatureBudget, layer_representations
from scaling.alignment.features.preprocessing import Preprocessing
from scaling.alignment.metrics.pls import pls_predictions
from scaling.alignment.metrics.splits import shuffle_splits, split_correlations

SIZE, LATENT = 256, 6  # pixels a side; a side of the grid of random colours that an image interpolates


class SmoothImages:
    """Random colours on a coarse grid, interpolated: image i is the same in every pass."""

    def __init__(self, n: int) -> None:
        self.latents = np.random.default_rng(0).uniform(0, 255, (n, 3, LATENT, LATENT)).astype(np.float32)
        self.key = f"smooth-{n}"

    def __len__(self) -> int:
        return len(self.latents)

    def batches(self, batch_size: int) -> Iterator[NDArray[np.uint8]]:
        for start in range(0, len(self), batch_size):
            grid = torch.from_numpy(self.latents[start : start + batch_size])
            images = interpolate(grid, (SIZE, SIZE), mode="bicubic").clamp_(0, 255).to(torch.uint8)
            yield images.permute(0, 2, 3, 1).contiguous().numpy()

    def responses(self, n_neuroids: int) -> NDArray[np.float64]:
        """(n, n_neuroids): random mixtures of the grid's colours, half of the variance noise."""
        rng = np.random.default_rng(1)
        x = (self.latents.reshape(len(self), -1) - 127.5) / 73.6
        signal = x @ rng.standard_normal((x.shape[1], n_neuroids)) / np.sqrt(x.shape[1])
        return signal + rng.standard_normal(signal.shape)


class Spilled:
    """The largest file that was reserved."""

    def __init__(self) -> None:
        self.most, self._reserve = 0, os.posix_fallocate
        os.posix_fallocate = self

    def __call__(self, file: int, offset: int, length: int) -> None:
        self.most = max(self.most, offset + length)
        self._reserve(file, offset, length)


def chosen_layers(model: nn.Module, which: str) -> dict[str, int]:
    """Layer -> width, of all convolutional and linear layers, the widest, or those named."""
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    widths = probe_model(model, names, torch.zeros(1, 3, 224, 224)).widths
    if which.startswith("widest:"):
        names = sorted(names, key=lambda name: -widths[name])[: int(which.removeprefix("widest:"))]
    elif which != "all":
        names = which.split(",")
    return {name: widths[name] for name in widths if name in names}


def peak_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stimuli", type=int, default=1000)
    parser.add_argument("--neuroids", type=int, default=256)
    parser.add_argument("--layers", default="all", help="all, widest:N, or names with commas")
    parser.add_argument("--memory-gb", type=float, default=FeatureBudget().memory_gb)
    parser.add_argument("--spill-gb", type=float, default=FeatureBudget().spill_gb)
    parser.add_argument("--spill-folder", default=None)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--progress", action="store_true", help="print the passes as they run")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    spilled, began = Spilled(), time.perf_counter()
    model, stimuli = timm.create_model("vgg16"), SmoothImages(args.stimuli)
    layers = chosen_layers(model, args.layers)
    budget = FeatureBudget(memory_gb=args.memory_gb, spill_gb=args.spill_gb, spill_folder=args.spill_folder)
    responses, splits = stimuli.responses(args.neuroids), shuffle_splits(args.stimuli)
    width = sum(layers.values())
    print(f"{args.stimuli:,} stimuli x {args.neuroids} neuroids, {len(layers)} layers of {width:,} features")
    print(f"{4 * args.stimuli * width / 1e9:.0f} GB of features in float32; {args.threads} threads; "
          f"model and libraries {peak_gb():.2f} GB")  # fmt: skip
    print(f"{'layer':<22}{'features':>11}{'features s':>12}{'PLS s':>8}{'median r':>10}{'peak GB':>9}", flush=True)
    told = [""]

    def progress(what: str, done: int, total: int) -> None:
        if args.progress and what != told[0]:
            told[0] = what
            print(f"  {what}, {done:,} of {total:,} images, {time.perf_counter() - began:.0f} s", flush=True)

    mark = time.perf_counter()
    for layer, found in layer_representations(model, list(layers), stimuli, Preprocessing(), budget, progress=progress):
        ready = time.perf_counter()
        r = split_correlations(pls_predictions(found, responses, splits), responses, splits)
        del found
        median, now = np.nanmean(np.nanmedian(r, axis=1)), time.perf_counter()
        times = f"{ready - mark:>12.1f}{now - ready:>8.1f}"
        print(f"{layer:<22}{layers[layer]:>11,}{times}{median:>10.3f}{peak_gb():>9.2f}", flush=True)
        mark = now
    print(f"peak memory {peak_gb():.2f} GB, largest spill file {spilled.most / 1e9:.1f} GB, "
          f"{time.perf_counter() - began:.0f} s in all")  # fmt: skip


if __name__ == "__main__":
    main()
