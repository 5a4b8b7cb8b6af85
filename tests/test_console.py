import io
import sys

import jax
import pytest

from resnet_jax import console
from resnet_jax.data import spec

RESULT = {
    "test_accuracy": 0.975,
    "test_loss": 0.12345,
    "test_examples": 360,
    "step": 1234,
    "seed": 3,
    "seconds": 3723.4,
}


ROW = {
    "step": 20,
    "epoch": 1.5,
    "split": "train",
    "loss": 0.5,
    "accuracy": 0.875,
    "learning_rate": 0.1,
    "images_per_second": 1234.5,
}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0:00"),
        (4.6, "0:05"),
        (59.6, "1:00"),
        (760, "12:40"),
        (3599.4, "59:59"),
        (3599.6, "1:00:00"),
        (3723, "1:02:03"),
        (360_000, "100:00:00"),
    ],
)
def test_durations_are_minutes_and_seconds_with_hours_only_where_there_are_some(seconds, text):
    assert console.duration(seconds) == text


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({}, "ResNet-8 original"),
        ({"depth": 110, "design": "full_preact"}, "ResNet-110 full_preact"),
        ({"width": 10.0, "depth": 28}, "ResNet-28 x10 original"),
        ({"width": 0.5, "depth": 28}, "ResNet-28 x0.5 original"),
        ({"bottleneck": True, "depth": 164}, "ResNet-164 original bottleneck"),
        ({"shortcut": "none"}, "plain-8 original"),
        ({"stage_sizes": (2, 2, 2)}, "ResNet-(2,2,2) original"),
        ({"after": ""}, "ResNet-8 custom"),
        ({"branch": "conv act conv"}, "ResNet-8 custom"),
    ],
)
def test_a_network_is_named_by_what_distinguishes_it(tiny_config, fields, name):
    tiny_config.model.update(fields)
    assert console.network_name(tiny_config.model) == name


class TestDescribe:
    def describe(self, config, devices=None) -> str:
        dataset = spec.get(config.data.name)
        return "\n".join(console.describe(config, dataset, 12345, devices or jax.devices()))

    def test_names_network_parameters_recipe_data_devices_and_steps(self, tiny_config, one_device):
        text = self.describe(tiny_config)
        for words in (
            "ResNet-8 original",
            "12,345 parameters",
            "float32",
            "branch 'conv norm act conv norm', after 'act'",
            "projection A",
            "sgd Nesterov, momentum 0.9, rate 0.1 cosine after 10.0% warm-up",
            "coupled weight decay 0.0005",
            "digits: 1,437 training images",
            "augment 'crop(1)'",
            "8 steps of 16 images",
            "seed 0",
            "8 x cpu",
        ):
            assert words in text
        assert "1 x" not in self.describe(tiny_config, one_device)
        assert max(map(len, text.splitlines())) <= 120

    def test_names_what_is_not_plain(self, tiny_config):
        plain = self.describe(tiny_config)
        tiny_config.data.validation = 300
        tiny_config.label_smoothing = 0.1
        tiny_config.ema_decay = 0.99
        tiny_config.accumulation = 2
        tiny_config.optimizer.clip_norm = 2.0
        tiny_config.precision = "bfloat16"
        text = self.describe(tiny_config)
        for words in (
            "1,137 training images, 300 held out",
            "label smoothing 0.1",
            "EMA 0.99",
            "2 micro-batches",
            "clip 2",
            "bfloat16",
        ):
            assert words in text
            assert words not in plain

    def test_names_no_momentum_of_adamw(self, tiny_config):
        tiny_config.optimizer.name = "adamw"
        tiny_config.optimizer.nesterov = False
        text = self.describe(tiny_config)
        assert "adamw, rate 0.1" in text
        assert "decoupled weight decay" in text


def test_the_result_is_one_line_with_percentage_and_count():
    line = console.describe_result(RESULT, "ResNet-8 original", "runs/x")
    assert line == (
        "done      ResNet-8 original: test accuracy 97.50% (351 of 360), loss 0.1235, "
        "step 1,234, seed 3, 1:02:03; runs/x"
    )


def test_the_result_names_the_views_it_is_a_mean_over():
    line = console.describe_result(RESULT | {"eval_augment": "flip"}, "ResNet-8", "runs/x")
    assert "test accuracy 97.50% over views 'flip' (351 of 360)" in line
    same = console.describe_result(RESULT | {"eval_augment": ""}, "ResNet-8", "runs/x")
    assert "views" not in same


class TestProgress:
    @pytest.fixture
    def clock(self, monkeypatch):
        """A clock of which each reading is a second after the one before."""
        now = iter(range(10_000))
        monkeypatch.setattr(console.time, "perf_counter", lambda: float(next(now)))

    def follow(self, progress: console.Progress) -> None:
        for step in range(1, 21):
            progress.advance(step)
        progress.row(ROW)
        progress.row(ROW | {"split": "test", "learning_rate": None, "images_per_second": None})
        progress.close()

    def test_elsewhere_than_on_a_terminal_is_plain_lines_on_stdout(self, clock, capsys):
        self.follow(console.Progress(400, 0, 64))
        captured = capsys.readouterr()
        assert captured.err == ""
        assert "\r" not in captured.out
        assert "\x1b" not in captured.out
        about, train, test = captured.out.splitlines()
        assert about == "about     6:29 to go at 64 images/s"
        assert train == (
            "step  20/400  epoch   1.50  train      loss 0.5000  accuracy  87.50%  rate 0.1  "
            "1,234 images/s  6:20 left"
        )
        assert test == "step  20/400  epoch   1.50  test       loss 0.5000  accuracy  87.50%"

    def test_on_a_terminal_is_a_bar_that_is_gone_at_the_end(self, clock, capsys, monkeypatch):
        terminal = Terminal()
        monkeypatch.setattr(sys, "stderr", terminal)
        progress = console.Progress(400, 0, 64)
        for step in range(1, 21):
            progress.advance(step)
        assert "/400 [" in terminal.getvalue()
        progress.row(ROW)
        progress.close()
        assert terminal.getvalue().splitlines()[-1].strip() == ""
        assert "step  20/400" in capsys.readouterr().out

    def test_time_between_pause_and_the_next_advance_does_not_count(self, clock):
        progress = console.Progress(100, 0, 10)
        assert progress.images_per_second() is None
        assert progress.seconds_left(0) is None
        for step in (1, 2, 3):
            progress.advance(step)
        assert progress.images_per_second() == 10.0  # one step a second
        progress.pause()
        for _ in range(50):
            console.time.perf_counter()
        progress.advance(4)
        progress.advance(5)
        assert progress.images_per_second() == 10.0
        assert progress.seconds_left(5) == 95.0
        progress.close()

    def test_of_a_resumed_run_counts_only_its_own_steps(self, clock):
        progress = console.Progress(100, 90, 10)
        for step in (91, 92, 93):
            progress.advance(step)
        assert progress.images_per_second() == 10.0
        assert progress.seconds_left(93) == 7.0
        progress.close()
