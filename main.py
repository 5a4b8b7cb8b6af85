"""Trains, resumes and evaluates a residual network; see `python main.py --help` and README.md."""

import sys

from resnet_jax import platform


def main() -> int:
    """Runs the command line; returns the exit code."""
    try:
        settings = platform.prepare()
        from resnet_jax import cli

        return cli.report(lambda: _train(settings))
    except KeyboardInterrupt:
        print(
            "interrupted; the same command continues from the newest checkpoint, if there is one",
            file=sys.stderr,
        )
        return 130


def _train(settings: tuple[str, ...]) -> int:
    from resnet_jax import cli, train
    from resnet_jax.native import backend

    command = cli.parse(sys.argv[1:])
    settings += backend.tune(command.config)
    train.train_and_evaluate(command.config, command.workdir, settings=settings)
    return 0


if __name__ == "__main__":
    sys.exit(main())
