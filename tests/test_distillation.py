"""The student's targets where the teacher's trajectories are known in closed form, and what its loss must not see."""

from collections import Counter
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from models.consistency_distillation import Student, StudentConfig, teacher_trajectory
from models.flow_matching import sample_ode, time_grid
from models.latent_flow_matcher import FlowConfig, LatentFlowMatcher
from models.layers import lengths_to_mask
from models.whole_batch import Draws

MEAN, SPREAD = torch.tensor([0.7, -1.2], dtype=torch.float64), torch.tensor([0.4, 1.5], dtype=torch.float64)


def spread(t: Tensor) -> Tensor:
    return ((1 - t) ** 2 + (t * SPREAD) ** 2).sqrt()


def state(z_0: Tensor, t: Tensor) -> Tensor:
    """Where the flow towards N(MEAN, SPREAD^2) has carried z_0 [B,N,2] at t [B]."""
    t = t[:, None, None]
    return t * MEAN + spread(t) * z_0


def field(z: Tensor, t: Tensor) -> Tensor:
    """The velocity of that flow."""
    t = t[:, None, None].double()
    return MEAN + (t * SPREAD**2 - (1 - t)) / spread(t) ** 2 * (z - t * MEAN)


def mean_velocity(z: Tensor, t: Tensor, step: Tensor) -> Tensor:
    """Of the trajectory through z at t, over the step [B] from there."""
    t, step = t.double(), step.double()
    z_0 = (z - t[:, None, None] * MEAN) / spread(t[:, None, None])
    return (state(z_0, t + step) - z) / step[:, None, None]


class Answer(nn.Module):
    """A velocity net that is a formula."""

    def __init__(self, formula: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.formula = formula

    def context(self, cond: Tensor, cond_mask: Tensor, mask: Tensor) -> None:
        return None

    def forward(self, z: Tensor, t: Tensor, context: None, step: Tensor) -> Tensor:
        return self.formula(z, t, step)


@pytest.fixture
def student() -> Student:
    """A student whose every weight is random, so that no part of it is silent."""
    torch.manual_seed(0)
    model = Student(StudentConfig(latent_dim=2, hidden_dim=16, num_layers=2, num_heads=2, cond_dim=8))
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return model.eval()


def test_a_student_keeps_evenly_spaced_layers_of_its_teacher():
    """And what it keeps is its teacher's: with all of them it is the same field."""
    torch.manual_seed(0)
    teacher = LatentFlowMatcher(FlowConfig(latent_dim=2, hidden_dim=16, num_layers=6, num_heads=2, cond_dim=8))
    for count, expected in ((6, [0, 1, 2, 3, 4, 5]), (3, [0, 2, 5]), (2, [0, 5]), (1, [0])):
        student = Student(StudentConfig.of_teacher(teacher.config, num_layers=count))
        student.start_from(teacher)
        layers = dict(teacher.velocity_net.layers.named_children())
        for kept, number in zip(student.velocity_net.layers, expected, strict=True):
            for name, weight in layers[str(number)].state_dict().items():
                assert torch.equal(kept.state_dict()[name], weight)
        assert student.config.num_layers == count
        Student(student.config).load_state_dict(student.state_dict())


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize(("num_teacher_steps", "num_segments"), [(50, 4), (51, 4), (4, 4), (7, 2), (50, 1)])
def test_the_teachers_states_are_those_of_one_uninterrupted_solution(num_teacher_steps: int, num_segments: int):
    """A segment that began anew would begin with a step of Euler."""
    times: list[float] = []

    def watched(z: Tensor, t: Tensor) -> Tensor:
        times.append(float(t[0]))
        return field(z, t)

    z_0 = noise(3, 5, 2)
    states = teacher_trajectory(watched, z_0, num_teacher_steps, num_segments)
    assert len(times) == num_teacher_steps
    assert set(torch.linspace(0, 1, num_segments + 1).tolist()[:-1]) <= set(times)
    assert states.shape == (3, num_segments + 1, 5, 2)
    assert torch.equal(states[:, 0], z_0)
    torch.testing.assert_close(states[:, -1], sample_ode(field, z_0, torch.tensor([*times, 1.0]).double()))


def test_the_last_state_is_the_exact_one_to_second_order():
    z_0 = noise(3, 5, 2)
    exact = torch.stack([state(z_0, torch.full((3,), n / 4, dtype=torch.float64)) for n in range(5)], dim=1)
    assert (teacher_trajectory(field, z_0, 50, 4) - exact).abs().max() < 2e-3


def test_the_students_target_is_the_true_mean_velocity(student: Student):
    """Zero loss for the closed form on exact states; for the velocity of the moment, or another step's mean, not."""
    z_0, mask = noise(64, 5, 2), torch.ones(64, 5, dtype=torch.bool)
    states = torch.stack([state(z_0, torch.full((64,), n / 4, dtype=torch.float64)) for n in range(5)], dim=1)

    def loss(formula: Callable[[Tensor, Tensor, Tensor], Tensor]) -> float:
        student.velocity_net = Answer(formula)
        return student.loss(states, mask, None, None, Draws.of(list(map(str, range(64)))))["loss"].item()

    assert loss(mean_velocity) < 1e-12
    assert loss(lambda z, t, step: field(z, t)) > 0.01
    assert loss(lambda z, t, step: mean_velocity(z, t, step / 2)) > 0.01


def test_every_step_of_every_count_is_learnt_equally_often(student: Student):
    asked: list[tuple[float, float]] = []

    def watched(z: Tensor, t: Tensor, step: Tensor) -> Tensor:
        asked.extend(zip(t.tolist(), step.tolist(), strict=True))
        return z

    student.velocity_net = Answer(watched)
    states, mask = torch.zeros(7000, 5, 1, 2), torch.ones(7000, 1, dtype=torch.bool)
    student.loss(states, mask, None, None, Draws.of(list(map(str, range(7000)))))
    steps = {(place / count, 1 / count) for count in (1, 2, 4) for place in range(count)}
    assert Counter(asked).keys() == steps
    assert all(800 < often < 1200 for often in Counter(asked).values())


def test_a_perfect_student_ends_where_its_teacher_ends_in_any_number_of_steps():
    z_0 = noise(3, 5, 2)
    end = state(z_0, torch.ones(3, dtype=torch.float64))
    for num_steps in (1, 2, 4):
        step = torch.full((3,), 1 / num_steps, dtype=torch.float64)
        grid = time_grid(num_steps).double()
        found = sample_ode(lambda z, t, step=step: mean_velocity(z, t, step), z_0, grid, "euler")
        torch.testing.assert_close(found, end)


def test_the_loss_does_not_see_padding(student: Student):
    torch.manual_seed(1)
    mask, cond_mask = lengths_to_mask(torch.tensor([6, 4])), lengths_to_mask(torch.tensor([5, 3]))
    states, cond = torch.randn(2, 5, 6, 2) * mask[:, None, :, None], torch.randn(2, 5, 8)

    def loss(states: Tensor, mask: Tensor, cond: Tensor, cond_mask: Tensor) -> Tensor:
        return student.loss(states, mask, cond, cond_mask, Draws.of("ab"))["loss"]

    expected = loss(states, mask, cond, cond_mask)
    longer = nn.functional.pad(states, (0, 0, 0, 3)), nn.functional.pad(mask, (0, 3))
    more_text = nn.functional.pad(cond, (0, 0, 0, 2), value=9.0), nn.functional.pad(cond_mask, (0, 2))
    torch.testing.assert_close(loss(*longer, *more_text), expected)
