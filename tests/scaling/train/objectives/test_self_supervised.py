"""NT-Xent and DINO's loss against slow direct evaluations and against lightly."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from lightly.loss import DINOLoss, NTXentLoss
from timm.layers import DropPath
from torch import nn

from scaling.specs.objective import DINOSpec
from scaling.train.objectives.dino import dino_loss, teacher_temperature, without_drops
from scaling.train.objectives.simclr import nt_xent

CENTRE = torch.linspace(-0.3, 0.3, 11, dtype=torch.float64)


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape)))


def slow_nt_xent(z: torch.Tensor, temperature: float) -> float:
    n, total = len(z) // 2, 0.0
    for i in range(2 * n):
        s = [float(z[i] @ z[k] / (z[i].norm() * z[k].norm())) / temperature for k in range(2 * n)]
        total += -math.log(math.exp(s[(i + n) % (2 * n)]) / sum(math.exp(s[k]) for k in range(2 * n) if k != i))
    return total / 2


@pytest.mark.parametrize("n", [2, 7])
@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_nt_xent_is_the_papers_equation(n, temperature):
    z = random(2 * n, 5)
    assert float(nt_xent(z, temperature)) == pytest.approx(slow_nt_xent(z, temperature), rel=1e-12)


def test_nt_xent_of_equal_projections_is_chance():
    assert float(nt_xent(torch.ones(12, 3), 0.5)) == pytest.approx(6 * math.log(11), rel=1e-6)


def test_nt_xents_gradient():
    assert torch.autograd.gradcheck(lambda z: nt_xent(z, 0.5), random(8, 3).requires_grad_())


def test_nt_xent_is_lightlys():
    reference = NTXentLoss(temperature=0.3)
    z = random(12, 5)
    assert float(nt_xent(z, 0.3)) == pytest.approx(6 * float(reference(z[:6], z[6:])), rel=1e-12)


def test_the_losses_of_shares_sum_to_the_whole():
    z = random(14, 5)
    shares = [torch.tensor([5, 0, 2]), torch.tensor([1, 3]), torch.tensor([4, 6])]
    assert float(sum(nt_xent(z, 0.3, share) for share in shares)) == pytest.approx(float(nt_xent(z, 0.3)), rel=1e-12)


def slow_dino(student: torch.Tensor, teacher: torch.Tensor, centre: torch.Tensor) -> float:
    total, pairs = 0.0, 0
    for t in range(len(teacher)):
        for s in range(len(student)):
            if s == t:
                continue
            pairs += 1
            for image in range(student.shape[1]):
                p_t = ((teacher[t, image] - centre) / 0.04).softmax(0)
                p_s = (student[s, image] / 0.1).softmax(0)
                total -= float((p_t * p_s.log()).sum())
    return total / pairs


@pytest.mark.parametrize("n_crops", [2, 5])
def test_dinos_loss_is_a_direct_evaluation(n_crops):
    student, teacher = random(n_crops, 3, 11), random(2, 3, 11)
    ours = float(dino_loss(student, teacher, CENTRE, 0.1, 0.04))
    assert ours == pytest.approx(slow_dino(student, teacher, CENTRE), rel=1e-10)


def test_dinos_gradient_reaches_the_student_alone():
    student, teacher = random(3, 2, 4).requires_grad_(), random(2, 2, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: dino_loss(s, teacher.detach(), CENTRE[:4], 0.5, 0.5), student)
    dino_loss(student, teacher, CENTRE[:4], 0.1, 0.04).backward()
    assert teacher.grad is None


def test_dinos_loss_temperatures_and_centre_are_lightlys():
    """Over the epochs of a warm-up and one more, the centre carried along."""
    options = DINOSpec(teacher_temperature=0.07, temperature_warmup_epochs=4)
    reference = DINOLoss(11, warmup_teacher_temp=0.04, teacher_temp=0.07, warmup_teacher_temp_epochs=4)
    centre, temperatures = torch.zeros(11), []
    for epoch in range(5):
        student, teacher = random(5, 6 + epoch, 11).float(), random(2, 6 + epoch, 11).float()
        theirs = (6 + epoch) * float(reference(list(teacher), list(student), epoch=epoch))
        temperatures.append(teacher_temperature(options, epoch))
        assert float(dino_loss(student, teacher, centre, 0.1, temperatures[-1])) == pytest.approx(theirs, rel=1e-5)
        centre.lerp_(teacher.mean((0, 1)), 0.1)
        torch.testing.assert_close(centre, reference.center.flatten())
    assert temperatures == pytest.approx([0.04, 0.05, 0.06, 0.07, 0.07], rel=1e-12)


def test_the_temperature_is_constant_by_default():
    assert [teacher_temperature(DINOSpec(teacher_temperature=0.05), epoch) for epoch in (0, 1, 9)] == [0.05] * 3


SMALL_DINO = {"name": "dino", "local_crops": 2, "hidden": 16, "bottleneck": 8, "prototypes": 12}


@pytest.fixture
def dino(make_run, build):
    return build(make_run(objective=SMALL_DINO, training={"epochs": 4, "batch_size": 10}))


def test_the_teacher_is_an_average_that_slows_to_a_halt(dino):
    model, objective = dino
    start = [p.clone() for p in objective.teacher.parameters()]
    with torch.no_grad():
        for p in model.parameters():
            p.add_(1.0)
    objective.after_step(model, 0)
    for before, now, student in zip(start, objective.teacher.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(now, 0.996 * before + 0.004 * student)
    middle = [p.clone() for p in objective.teacher.parameters()]
    objective.after_step(model, 10)
    for before, now, student in zip(middle, objective.teacher.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(now, 0.998 * before + 0.002 * student, msg="half way the rest is halved")
    last = copy.deepcopy(objective.teacher.state_dict())
    objective.after_step(model, 20)
    assert all(torch.equal(value, last[name]) for name, value in objective.teacher.state_dict().items())


def test_the_centre_follows_the_teachers_mean(dino, make_batch):
    model, objective = dino
    seen = []
    objective.teacher_head.register_forward_hook(lambda module, given, output: seen.append(output))
    objective.loss(model, make_batch(6)).backward()
    torch.testing.assert_close(objective.centre, 0.1 * seen[0].mean(0))
    assert len(seen[0]) == 2 * 6, "the teacher sees the two global crops alone"
    assert all(p.grad is None for p in objective.teacher.parameters())
    assert all(p.grad is not None for p in objective.head.parameters())


def test_no_crop_is_smaller_than_four_pixels(dino):
    _, objective = dino
    assert [view.area for view in objective.views()] == [(0.4, 1.0), (0.4, 1.0), (0.25, 0.4), (0.25, 0.4)]


def test_frozen_prototypes_get_no_gradient_until_their_time(make_run, build, make_batch):
    frozen = SMALL_DINO | {"frozen_epochs": 2}
    model, objective = build(make_run(objective=frozen, training={"epochs": 4, "batch_size": 10}))
    for epoch in range(3):
        objective.zero_grad()
        objective.loss(model, make_batch(6, place=(epoch, 0))).backward()
        assert (objective.head.prototypes.weight.grad is None) == (epoch < 2)
        assert all(p.grad is not None for p in objective.head.mlp.parameters())


def test_the_teacher_drops_nothing():
    model = nn.Sequential(DropPath(0.5), nn.Dropout(0.5), nn.Dropout2d(0.5)).train()
    images = torch.ones(16, 2, 3, 3)
    assert not torch.equal(model(images), images)
    assert torch.equal(without_drops(model)(images), images)


def pattern(output: torch.Tensor) -> torch.Tensor:
    """What a model is made to say: numbers with all their digits, no two images alike."""
    return torch.linspace(-1, 1, output.numel()).sin().view(output.shape)


@pytest.mark.parametrize("objective", ["simclr", SMALL_DINO], ids=["simclr", "dino"])
def test_around_the_model_autocast_changes_nothing(make_run, build, make_batch, objective):
    """Views, heads, loss and centre stay in float32: the same bits, for the same outputs of the model."""
    run, found = make_run(objective=objective, training={"epochs": 4, "batch_size": 10}), []
    for enabled in (False, True):
        model, made = build(run)
        views: list[torch.Tensor] = []
        model.register_forward_pre_hook(lambda module, given, views=views: views.append(given[0]))
        for part in {model, getattr(made, "teacher", model)}:
            part.get_submodule(made.setting.layer).register_forward_hook(lambda *given: pattern(given[2]))
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss = made.loss(model, make_batch(6)).detach()
        heads = {name: value for name, value in made.state_dict().items() if not name.startswith("teacher.")}
        found.append([loss, *views, *heads.values()])
    for plain, half in zip(*found, strict=True):
        assert plain.dtype == half.dtype
        assert torch.equal(plain, half)
