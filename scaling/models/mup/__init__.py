"""The maximal update parametrization (mup): one learning rate for all widths of a family.

Every parameter is compared with that of the same network at the family's base width (`base_size`: depth, heads, image
size and classes are the model's own). r_in and r_out are the quotients of its fan-in and fan-out, width over base; a
dimension that does not grow has 1. "drawn" is the standard deviation of the family's own initialiser at the base.

| parameter                                 | initial std       | rate, SGD    | rate, AdamW | forward pass        |
| ----------------------------------------- | ----------------- | ------------ | ----------- | ------------------- |
| hidden: r_in and r_out grow               | drawn . r_in^-1/2 | r_out / r_in | 1 / r_in    |                     |
| input: r_out alone grows                  | drawn             | r_out        | 1           |                     |
| output: r_in alone grows (the classifier) | drawn             | r_in         | 1           | W (x / r_in) + b    |
| neither grows                             | drawn             | 1            | 1           |                     |
| attention by heads of d, at the base d_0  |                   |              |             | q . k . sqrt(d_0)/d |

Weight decay is divided by the factor of the rate, so that rate x decay is that of the base for every parameter and
both optimizers. Momentum, betas, epsilon, the norm at which gradients are clipped and the schedule are alike at all
widths: the multiplier stands in the forward pass, and not in the classifier's weights (table 3), where the norm of all
gradients would grow as width^1/2.

What counts as which:

- stems and patch embeddings are input, biases too (of the classifier: neither grows), and the gains and shifts of batch
  and layer norms, which begin at 1 and 0 at any width. Running statistics are measurements and have no rate.
- layer scale (ConvNeXt, DeiT-III), class tokens and position embeddings are input, along the embedding; they begin at
  the same value or std at any width.
- a depthwise kernel reads one channel, so it is input: r_in = 1 and r_out its channels'. A grouped convolution's r_in
  is that of the channels of one group: hidden if those grow, input if it is the number of groups that grows.
- both layers of squeeze and excitation are hidden, with the quotients of their own rounded channels; so is all that
  EfficientNet rounds.
- AlexNet's fc6 to fc7 are hidden; CORnet-S's weights, which several steps share, are hidden and have one rate.
- heads that an objective puts on the features (SimCLR, DINO): the layer that reads features is output, the rest does
  not grow.

At the base all quotients are 1 and nothing is done: both parametrizations are one model there, bit for bit. A
model's weights are its own in either: files have the same names and shapes.

LARS has no rule: it sets every layer's step from the norm of its weights, whatever the factor. The exactness is that of
large widths; Adam's epsilon (1e-8) must stay small beside gradients, which shrink as 1 / width in hidden layers.

Source: Yang et al. 2021, Tensor Programs V (arXiv 2203.03466), table 8, definition 4.1 and appendix B; MuSGD, MuAdamW
and MuReadout of microsoft/mup. Deviation: the classifier and the queries do not begin at 0, as there by choice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from scaling.errors import StudyError

if TYPE_CHECKING:
    from scaling.models.shapes import Checked
    from scaling.specs.model import ModelSpec
    from scaling.specs.training import TrainingSpec

MUP = "mup"
Law = Literal["fan_in", "fan_out", "constant"]


class Drawn(NamedTuple):
    """How the std of a family's initialiser follows the fans: std ~ fan^-1/2, or the same at any width.

    fan_in: torch's own, of weights and their biases. fan_out: of a group. constant: truncated normal of 0.02.
    """

    conv: Law
    linear: Law


DRAWN: dict[str, Drawn] = {
    "resnet": Drawn(conv="fan_out", linear="fan_in"),
    "convnext": Drawn(conv="constant", linear="constant"),
    "vit": Drawn(conv="fan_in", linear="constant"),
    "deit3": Drawn(conv="fan_in", linear="constant"),
    "efficientnet": Drawn(conv="fan_out", linear="constant"),
    "alexnet": Drawn(conv="fan_in", linear="fan_in"),
    "cornet_s": Drawn(conv="fan_out", linear="fan_in"),
}


def base_model(spec: ModelSpec) -> ModelSpec | None:
    """The model that a model's parameters are compared with; None where nothing differs."""
    if spec.parametrization != MUP or spec.base_size in (None, spec.size):
        return None
    plain = {"parametrization": "standard", "base_size": None, "asked": None}
    return spec.model_copy(update={"size": spec.base_size, **plain})


def mup_problem(spec: ModelSpec, family: Checked, image_size: int | None) -> str | None:
    """Why a model cannot be parametrized so, or None."""
    if spec.parametrization != MUP:
        return None
    if spec.family not in DRAWN:
        return (
            f"parametrization=mup: family '{spec.family}' has no rule for it (known: {', '.join(DRAWN)}); "
            "set parametrization: standard for this family"
        )
    base = base_model(spec)
    problem = None if base is None else family.check(base, image_size)
    return problem and f"base_size={spec.base_size} gives no model to compare with: {problem}"


def check_optimizer(spec: ModelSpec, training: TrainingSpec, where: str) -> None:
    """Refuse an optimizer that mup has no rule for.

    Raises:
        StudyError: LARS, at another width than the base's, where both parametrizations are one model.
    """
    if base_model(spec) is not None and training.optimizer == "lars":
        raise StudyError(
            "optimizer=lars with parametrization=mup: LARS sets every layer's step from the norm of its weights, which "
            f"undoes a rate by layer ({where}); take sgd or adamw, or parametrization: standard"
        )


def check_heads(models: list[ModelSpec], where: str) -> None:
    """Refuse sizes of one family that have different numbers of heads: their attention has no common base.

    Raises:
        StudyError: two of the models differ in `heads`.
    """
    heads = {model.heads: model for model in models if model.parametrization == MUP}
    if len(heads) > 1:
        first, second = list(heads.values())[:2]
        raise StudyError(
            f"parametrization=mup: {first.label()} has {first.heads} heads and {second.label()} {second.heads}, and "
            f"rates are carried over width at one number of heads ({where}); give sizes as widths, with depth and heads"
        )
