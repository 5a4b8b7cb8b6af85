import json
import subprocess
import sys
from pathlib import Path

import pytest

from resnet_jax import workdir as files
from resnet_jax import writer
from resnet_jax.errors import WorkdirError


def row(step: int, split: str = "train", **more) -> dict:
    numbers = {"loss": 1 / (step + 1), "accuracy": 0.1, "learning_rate": 0.1}
    return {"step": step, "epoch": step / 10, "split": split, **numbers, **more}


ROWS = [row(10), row(20), row(20, "validation"), row(30)]


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / files.METRICS


def write(path: Path, rows: list[dict], last_step: int = 0) -> None:
    lines = writer.JsonLines(path, last_step)
    for each in rows:
        lines.write(each)
    lines.close()


class TestJsonLines:
    def test_a_row_is_a_line_that_is_on_disk_when_write_returns(self, path):
        lines = writer.JsonLines(path, 0)
        for count, each in enumerate(ROWS, 1):
            lines.write(each)
            on_disk = path.read_text()
            assert on_disk.endswith("\n")
            assert [json.loads(line) for line in on_disk.splitlines()] == ROWS[:count]
        lines.close()

    def test_numbers_come_back_exactly(self, path):
        exact = row(3, loss=0.1 + 0.2, accuracy=1 / 3, images_per_second=None)
        write(path, [exact])
        assert writer.read(path) == [exact]

    @pytest.mark.parametrize("last_step", [0, 10, 15, 20, 30, 99])
    def test_resuming_drops_the_rows_of_later_steps(self, path, last_step):
        write(path, ROWS)
        write(path, [row(40)], last_step)
        assert writer.read(path) == [r for r in ROWS if r["step"] <= last_step] + [row(40)]

    def test_resuming_drops_the_test_row_which_a_finished_run_writes_again(self, path):
        write(path, [*ROWS, row(30, "test")])
        write(path, [], 30)
        assert writer.read(path) == ROWS

    def test_resuming_repairs_a_last_line_that_was_cut_off(self, path):
        write(path, ROWS)
        whole = path.read_bytes()
        last = len(json.dumps(ROWS[-1])) + 1
        for cut in range(1, last):
            path.write_bytes(whole[:-cut])
            write(path, [row(40)], 30)
            kept = ROWS if cut == 1 else ROWS[:-1]  # without its line end a row is still whole
            assert writer.read(path) == [*kept, row(40)]

    def test_resuming_drops_a_tail_of_zeros(self, path):
        """What a file system leaves that had grown the file but not written it."""
        write(path, ROWS)
        path.write_bytes(path.read_bytes() + b"\0" * 64)
        write(path, [], 30)
        assert writer.read(path) == ROWS

    @pytest.mark.parametrize("damage", [b"{", b"null", b"5", b"{}", b"\xff\xfe", b'{"step": 1}'])
    def test_a_damaged_line_in_the_middle_is_refused_with_its_number(self, path, damage):
        write(path, ROWS)
        lines = path.read_bytes().splitlines()
        lines[1] = damage
        path.write_bytes(b"\n".join(lines) + b"\n")
        before = path.read_bytes()
        with pytest.raises(WorkdirError, match="line 2") as caught:
            writer.JsonLines(path, 30)
        assert str(path) in str(caught.value)
        assert len(str(caught.value).splitlines()) == 1
        assert path.read_bytes() == before

    def test_a_full_disk_is_a_workdir_error_and_closing_adds_no_other(self, path):
        if not Path("/dev/full").exists():
            pytest.skip("needs /dev/full")
        lines = writer.JsonLines(path, 0)
        lines._file.close()
        with Path("/dev/full").open("a") as lines._file:
            with pytest.raises(WorkdirError, match="No space left on device"):
                lines.write(ROWS[0])
            lines.close()


class TestRead:
    def test_of_no_rows_is_empty(self, path):
        path.touch()
        assert writer.read(path) == []

    def test_of_no_file_names_it(self, path):
        for missing in (path, path.parent):
            with pytest.raises(WorkdirError, match="name the workdir of a run") as caught:
                writer.read(missing)
            assert str(missing) in str(caught.value)


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows of a folder: tag -> [(step, value)]."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder)).Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


class TestTensorBoard:
    def test_shows_every_number_under_its_split(self, tmp_path):
        board = writer.TensorBoard(tmp_path / "tensorboard", 0)
        for each in [*ROWS, row(30, "test", images_per_second=None)]:
            board.write(each)
            assert scalars(tmp_path / "tensorboard")  # and at once, not when the run ends
        board.close()
        shown = scalars(tmp_path / "tensorboard")
        names = ("epoch", "loss", "accuracy", "learning_rate")
        assert set(shown) == {f"{s}/{n}" for s in ("train", "validation", "test") for n in names}
        assert [step for step, _ in shown["train/loss"]] == [10, 20, 30]
        assert [v for _, v in shown["train/loss"]] == pytest.approx([1 / 11, 1 / 21, 1 / 31])
        assert shown["validation/accuracy"] == [(20, pytest.approx(0.1))]

    def test_shows_a_step_that_a_resumed_run_repeats_once(self, tmp_path):
        for last_step, steps in ((0, (10, 20, 30)), (20, (30, 40))):
            board = writer.TensorBoard(tmp_path, last_step)
            for step in steps:
                board.write(row(step))
            board.close()
        assert [step for step, _ in scalars(tmp_path)["train/loss"]] == [10, 20, 30, 40]

    def test_in_the_way_of_a_file_is_a_workdir_error(self, tmp_path):
        (tmp_path / "tensorboard").touch()
        with pytest.raises(WorkdirError, match="tensorboard"):
            writer.TensorBoard(tmp_path / "tensorboard", 0)

    def test_asks_for_no_tensorflow_even_where_it_is_installed(self, tmp_path):
        """TensorBoard falls back to TensorFlow's own files where it finds them."""
        (tmp_path / "tensorflow.py").write_text("raise SystemExit('TensorFlow was imported')\n")
        script = (
            "import pathlib, sys\n"
            "from resnet_jax import writer\n"
            f"board = writer.TensorBoard(pathlib.Path({str(tmp_path / 'events')!r}), 0)\n"
            "board.write({'step': 1, 'split': 'train', 'loss': 2.0})\n"
            "board.close()\n"
            "sys.exit('tensorflow' in sys.modules)\n"
        )
        root = Path(writer.__file__).parents[1]
        subprocess.run(
            [sys.executable, "-c", script],
            env={"PYTHONPATH": f"{tmp_path}:{root}", "PATH": ""},
            check=True,
            timeout=60,
        )
        assert scalars(tmp_path / "events")["train/loss"] == [(1, 2.0)]


def test_create_writes_event_files_only_if_asked_for(tmp_path):
    for tensorboard, names in ((False, [files.METRICS]), (True, [files.METRICS, "tensorboard"])):
        writers = writer.create(tmp_path, 0, tensorboard=tensorboard)
        for each in writers:
            each.write(ROWS[0])
            each.close()
        assert sorted(path.name for path in tmp_path.iterdir()) == names
