import math
from pathlib import Path

import pytest

from sardino.dino.session import LOG, RunLog, read_log


def written(folder: Path, steps: range, tensorboard: bool = False) -> None:
    log = RunLog(folder, tensorboard, steps.start)
    for step in steps:
        log.write(step, {"loss": 1.0 / (step + 1)})
    log.close()


def test_a_run_that_goes_on_writes_each_step_once(tmp_path: Path) -> None:
    written(tmp_path, range(0, 8))
    written(tmp_path, range(5, 10))  # the snapshot was of step 5
    assert [line["step"] for line in read_log(tmp_path)] == list(range(10))
    assert not list(tmp_path.glob("*.partial"))


def test_a_line_that_a_kill_has_torn_is_left_out(tmp_path: Path) -> None:
    written(tmp_path, range(3))
    with (tmp_path / LOG).open("a") as file:
        file.write('{"step": 3, "lo')
    assert [line["step"] for line in read_log(tmp_path)] == [0, 1, 2]
    written(tmp_path, range(3, 5))
    assert [line["step"] for line in read_log(tmp_path)] == [0, 1, 2, 3, 4]


def test_what_is_not_finite_is_written_as_its_name_and_warnings_stay(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = RunLog(tmp_path)
    log.write(0, {"loss": math.nan, "norm": math.inf})
    log.warn(0, "collapse: something")
    log.close()
    assert read_log(tmp_path) == [
        {"step": 0, "loss": "nan", "norm": "inf"},
        {"step": 0, "warning": "collapse: something"},
    ]
    assert "warning at step 0: collapse" in capsys.readouterr().out


def test_no_log_is_an_empty_one(tmp_path: Path) -> None:
    assert read_log(tmp_path / "nowhere") == []


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # TensorBoard's own
def test_tensorboard_shows_the_same_numbers(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    written(tmp_path, range(0, 6), tensorboard=True)
    written(tmp_path, range(4, 8), tensorboard=True)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    steps = [event.step for event in events.Scalars("loss")]
    assert steps == list(range(8))
    assert events.Scalars("loss")[3].value == pytest.approx(0.25)
