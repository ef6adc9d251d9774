"""The ordered map over processes: as `map`, whatever their number, and no further ahead than it must."""

import os

import pytest

from runtime.parallel import parallel_map


def work(task: int, factor: int) -> tuple[int, int]:
    if task == 99:
        raise ValueError("task 99")
    return factor * task, os.getpid()


@pytest.mark.parametrize("num_workers", [0, 1, 3])
def test_results_come_in_order_and_tasks_are_asked_for_as_needed(num_workers: int):
    asked = []

    def tasks():
        for number in range(40):
            asked.append(number)
            yield number

    results = parallel_map(work, tasks(), num_workers, 10)
    first, process = next(results)
    assert (first, len(asked)) == (0, 4 * num_workers if num_workers > 1 else 1)
    assert (process == os.getpid()) == (num_workers <= 1)
    assert [value for value, _ in results] == [10 * number for number in range(1, 40)]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_error_in_a_task_is_the_callers(num_workers: int):
    with pytest.raises(ValueError, match="task 99"):
        list(parallel_map(work, [1, 99, 2], num_workers, 1))
