"""Named training presets: what was published for each family, and small ones for CPUs, each with its source.

GOKCE is Gokce & Schrimpf 2025, whose table of trainings these follow where it says something; what it leaves open comes
from the family's own paper and code.

What was published for one length of training holds at any: warm-ups keep their share of the epochs (`preset_fields`),
and averages of the weights have a half-life that is a share of the training in place of a decay a step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scaling.errors import known_names


@dataclass(frozen=True)
class Preset:
    """Values of TrainingSpec's fields. source: paper and table or code; deviations: what differs from it here."""

    source: str
    fields: Mapping[str, Any]
    deviations: str = ""


# A decay of 0.9999 a step halves a weight's part in ln 2 / -ln 0.9999 = 6,931 steps. ImageNet-1k's 1,281,167 images are
# 313 batches of 4,096, 93,900 in 300 epochs: a share of 0.0738 (ConvNeXt); 626 of 2,048, 187,800: 0.0369 (DeiT-III).
CONVNEXT_HALF_LIFE, DEIT3_HALF_LIFE = 0.0738, 0.0369
GOKCE = "Gokce & Schrimpf 2025, training details"
QUICKSTART = "assumption: the rates of jobs/studies/quickstart.yaml, which train on two CPU cores in minutes; "

PRESETS: dict[str, Preset] = {
    "resnet": Preset(
        f"{GOKCE}: ResNets, AlexNet, CORnet-S, EfficientNets on ImageNet; rate by batch as Goyal et al. 2017",
        {
            "epochs": 100, "batch_size": 256, "optimizer": "sgd", "lr": 0.1, "lr_batch": 256, "lr_scaling": "linear",
            "momentum": 0.9, "weight_decay": 1e-4, "schedule": "cosine", "warmup_epochs": 5, "min_lr": 1e-5,
            "augmentation": "resized_crop",
        },
        "biases and norms are not decayed",
    ),
    "convnext": Preset(
        f"{GOKCE}: ConvNeXts; Liu et al. 2022, table 5, and facebookresearch/ConvNeXt, main.py and TRAINING.md",
        {
            "epochs": 300, "batch_size": 4096, "optimizer": "adamw", "lr": 4e-3, "lr_batch": 4096,
            "lr_scaling": "linear", "weight_decay": 0.05, "schedule": "cosine", "warmup_epochs": 20, "min_lr": 1e-6,
            "loss": "soft_cross_entropy", "label_smoothing": 0.1, "augmentation": "resized_crop",
            "policy": "randaugment", "randaugment_magnitude": 9, "erasing": 0.25, "mixup": 0.8, "cutmix": 1.0,
            "drop_path": 0.1, "ema_half_life_share": CONVNEXT_HALF_LIFE,
        },
        "drop_path is ConvNeXt-T's; published: S 0.4, B 0.5, L 0.5 (write it in the family's training). Crops and "
        "RandAugment are bilinear, bicubic there. The published code measures the weights and their average; here the "
        "average is measured and kept. Its decay, 0.9999 a step there, is here the half-life that this is of the "
        "published training, and warms up",
    ),
    "deit3": Preset(
        f"{GOKCE}: DeiT-IIIs; Touvron et al. 2022, and facebookresearch/deit, README_revenge.md and augment.py",
        {
            "epochs": 300, "batch_size": 2048, "optimizer": "adamw", "lr": 3e-3, "lr_batch": 2048,
            "lr_scaling": "linear", "weight_decay": 0.02, "schedule": "cosine", "warmup_epochs": 5, "min_lr": 1e-5,
            "clip_norm": 1.0, "loss": "binary_cross_entropy", "augmentation": "resized_crop",
            "policy": "three_augment", "colour_jitter": 0.3, "mixup": 0.8, "cutmix": 1.0, "repeated_augmentation": 3,
            "drop_path": 0.05, "ema_half_life_share": DEIT3_HALF_LIFE,
        },
        "drop_path is ViT-S's; published: B 0.2, L 0.45, H 0.6 (write it in the family's training). AdamW as in Gokce "
        "& Schrimpf, LAMB in the paper; mixed labels keep their weights, the public code sets both to 1. Crops are "
        "bilinear, bicubic there. The average's decay, 0.9999 a step there, is here the half-life that this is of the "
        "published training, and warms up",
    ),
    "simclr-resnet": Preset(
        f"{GOKCE}: SimCLR on ResNets; Chen et al. 2020, section 2.2 and appendix B.1: 0.075 sqrt(512) = 1.697, LARS",
        {
            "epochs": 100, "batch_size": 512, "optimizer": "lars", "lr": 1.697, "lr_batch": 512, "lr_scaling": "sqrt",
            "momentum": 0.9, "weight_decay": 1e-6, "schedule": "cosine", "warmup_epochs": 10,
        },
        "for objective simclr, whose defaults are the temperature 0.5 and the head 2048 to 128",
    ),
    "simclr-vit": Preset(
        f"{GOKCE}: SimCLR on ViTs; rate by batch: assumption, linear as for the other AdamW presets",
        {
            "epochs": 100, "batch_size": 512, "optimizer": "adamw", "lr": 1e-4, "lr_batch": 512,
            "lr_scaling": "linear", "weight_decay": 0.05, "schedule": "cosine", "warmup_epochs": 10,
        },
        "for objective simclr, whose defaults are the temperature 0.5 and the head 2048 to 128; warm-up as for ResNets",
    ),
    "dino": Preset(
        f"{GOKCE}: DINO; Caron et al. 2021, section 3.2, and facebookresearch/dino, main_dino.py (defaults)",
        {
            "epochs": 300, "batch_size": 256, "optimizer": "adamw", "lr": 5e-4, "lr_batch": 256,
            "lr_scaling": "linear", "weight_decay": 0.04, "weight_decay_end": 0.4, "schedule": "cosine",
            "warmup_epochs": 10, "min_lr": 1e-6, "clip_norm": 3.0, "drop_path": 0.1,
        },
        "for objective dino; published batches are 256 to 512, and models are scored at epoch 100. min_lr follows the "
        "batch with lr, where it is constant in the code; one norm is clipped over all weights, one a weight there",
    ),
    "ffgsm": Preset(
        f"{GOKCE}: adversarial fine-tuning, 10 epochs after the base; Wong et al. 2020",
        {
            "epochs": 10, "batch_size": 256, "optimizer": "sgd", "lr": 0.1, "lr_batch": 256, "lr_scaling": "linear",
            "momentum": 0.9, "weight_decay": 1e-4, "schedule": "linear", "warmup_epochs": 2,
            "augmentation": "resized_crop",
        },
        "for objective ffgsm with start_from, whose epsilon is 1, 2 or 4 and whose step is 1.25 epsilon; batch and "
        "augmentation are the resnet preset's, published: those of the base",
    ),
    "small-resnet": Preset(
        QUICKSTART + "shifts and flips alone, since small images lose their object in smaller crops",
        {
            "epochs": 30, "batch_size": 32, "cap_batch": True, "optimizer": "sgd", "lr": 0.05, "lr_batch": 32,
            "lr_scaling": "linear", "momentum": 0.9, "weight_decay": 5e-4, "schedule": "cosine", "warmup_epochs": 2,
            "augmentation": "crop_flip",
        },
        "weight decay as He et al. 2016's successors on CIFAR (5e-4); set augmentation to none for digits and letters",
    ),
    "cifar_fast": Preset(
        "Jordan 2024, 94% on CIFAR-10 in 3.29 seconds on a single GPU, and KellerJordan/cifar10-airbench, airbench94: "
        "lr 11.5 / (1 + 1 / (1 - 0.85)) = 1.5 and decay 0.0153 / 11.5 = 1.33e-3 of a mean loss at 1,024 images",
        {
            "epochs": 10, "batch_size": 1024, "cap_batch": True, "optimizer": "sgd", "lr": 1.5, "lr_batch": 1024,
            "lr_scaling": "linear", "momentum": 0.85, "nesterov": True, "weight_decay": 1.33e-3, "schedule": "linear",
            "warmup_epochs": 2, "min_lr": 0.105, "label_smoothing": 0.2, "augmentation": "crop_flip",
            "flips": "alternating", "whiten": True, "precision": "bfloat16",
        },
        "for ResNets in place of the published network. Crops pad by 4 pixels of the mean (2 reflected ones there); "
        "warm-up over 20 % from 0 (23 % from 0.2 there); the whitening is trained on; no 64-fold rate of biases, no "
        "Lookahead, batch norm's momentum 0.1 (0.4 there); accuracy without test-time flips. The 94 % are the source's "
        "and were not measured here",
    ),
    "small-vit": Preset(
        QUICKSTART + "a longer training and label smoothing, since without convolutions few images are soon learnt by "
        "heart",
        {
            "epochs": 60, "batch_size": 32, "cap_batch": True, "optimizer": "adamw", "lr": 2e-3, "lr_batch": 32,
            "lr_scaling": "sqrt", "weight_decay": 0.05, "schedule": "cosine", "warmup_epochs": 5, "min_lr": 1e-5,
            "clip_norm": 1.0, "label_smoothing": 0.1, "augmentation": "crop_flip",
        },
        "set augmentation to none for digits and letters",
    ),
    "small-convnext": Preset(
        QUICKSTART + "the optimizer and the decay of the convnext preset, without what needs hundreds of epochs "
        "(mixing, erasing, averaging)",
        {
            "epochs": 40, "batch_size": 32, "cap_batch": True, "optimizer": "adamw", "lr": 2e-3, "lr_batch": 32,
            "lr_scaling": "sqrt", "weight_decay": 0.05, "schedule": "cosine", "warmup_epochs": 3, "min_lr": 1e-5,
            "label_smoothing": 0.1, "augmentation": "crop_flip",
        },
        "set augmentation to none for digits and letters",
    ),
}  # fmt: skip


def preset_fields(name: str, epochs: int | None = None) -> Mapping[str, Any]:
    """The fields of a named preset, with the warm-up's share of another number of epochs.

    The published 20 warm-up epochs of 300 are 2 of 30, or 0.5 of 7.5: what is written in its place is not scaled.

    Args:
        epochs: of the training; None: the preset's own.

    Raises:
        ValueError: an unknown name; lists the known.
    """
    if name not in PRESETS:
        raise ValueError(f"unknown preset '{name}'; {known_names(name, PRESETS)}")
    fields = PRESETS[name].fields
    if epochs is None or not fields.get("warmup_epochs"):
        return fields
    return {**fields, "warmup_epochs": fields["warmup_epochs"] * epochs / fields["epochs"]}
