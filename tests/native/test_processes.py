"""The kernels over two processes: the batch is split between them, and nothing else changes.

The test starts this very file as a program, once in each process.
"""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from resnet_jax import sharding
from resnet_jax.native import build, ops

ROOT = Path(__file__).parents[2]
BATCH, SIZE, PROCESSES, TIMEOUT = 8, 8, 2, 240.0  # the last in seconds
SPLIT = {"x", "residual", "weights", "out"}  # the others are whole in every process
COLLECTIVES = r"(all-reduce|all-gather|all-to-all|reduce-scatter|collective-\w+)(?:-start)?\("


def inputs(lanes):
    """Of a convolution with stride 2, and of norm_act with another one behind it."""
    shapes = {
        "x": (BATCH, SIZE, SIZE, lanes),
        "first": (3, 3, lanes, lanes),
        "w": (3, 3, lanes, 2 * lanes),
        "scale": (2 * lanes,),
        "bias": (2 * lanes,),
        "residual": (BATCH, SIZE // 2, SIZE // 2, 2 * lanes),
        "weights": (BATCH, SIZE // 2, SIZE // 2, 2 * lanes),
    }
    random = np.random.default_rng(0)
    return {name: random.normal(size=s).astype(np.float32) for name, s in shapes.items()}


def compute(kernels):
    """Results by name, as arrays over the mesh, and the text of the compiled program."""
    spec = ops.NormAct(kernels, stride=1, relu=True, epsilon=1e-5)

    def loss(a):
        y = ops.conv(kernels, 2, a["x"], a["first"])
        names = ("w", "scale", "bias", "residual")
        out, mean, variance = ops.norm_act(spec, y, *(a[name] for name in names), None)
        return (out * a["weights"]).sum(), {"out": out, "mean": mean, "variance": variance}

    split, whole = sharding.split_batch(kernels.mesh), sharding.replicated(kernels.mesh)
    placed = {
        name: jax.make_array_from_callback(
            array.shape, split if name in SPLIT else whole, lambda index, array=array: array[index]
        )
        for name, array in inputs(kernels.lanes).items()
    }
    program = jax.jit(jax.grad(loss, has_aux=True)).lower(placed).compile()
    gradients, values = program(placed)
    return values | {
        f"d{name}": gradient for name, gradient in gradients.items()
    }, program.as_text()


def work(process, port, folder):
    """What each process does: writes its share of the results, and the program."""
    address = f"localhost:{port}"
    jax.distributed.initialize(
        address, num_processes=PROCESSES, process_id=int(process), initialization_timeout=60
    )
    results, text = compute(ops.Kernels(build.library().lanes, sharding.make_mesh()))
    shares = {name: np.asarray(a.addressable_data(0)) for name, a in results.items()}
    np.savez(Path(folder) / f"{process}.npz", **shares)
    (Path(folder) / f"{process}.txt").write_text(text)


def free_port():
    with socket.socket() as server:
        server.bind(("localhost", 0))
        return server.getsockname()[1]


@pytest.fixture(scope="module")
def folder(kernels, tmp_path_factory):
    """Where the processes have left their results."""
    folder, port = tmp_path_factory.mktemp("processes"), free_port()
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}  # one device in each
    environment |= {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    processes = []
    try:
        for i in range(PROCESSES):
            command = [sys.executable, __file__, str(i), str(port), str(folder)]
            with open(folder / f"{i}.log", "w") as log:
                processes.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
        codes = [process.wait(TIMEOUT) for process in processes]
    finally:
        for process in processes:
            process.kill()
        output = "\n".join(log.read_text()[-4000:] for log in sorted(folder.glob("*.log")))
        print(output)
    assert codes == [0] * PROCESSES, output
    return folder


def shapes(line):
    """Of all arrays that a line of a compiled program names."""
    return [
        tuple(map(int, s.split(","))) if s else () for s in re.findall(r"f32\[([\d,]*)\]", line)
    ]


def test_results_are_those_of_one_process(kernels, folder):
    one = ops.Kernels(kernels.lanes, sharding.make_mesh(jax.devices()[:1]))
    expected, _ = compute(one)
    found = [np.load(folder / f"{i}.npz") for i in range(PROCESSES)]
    for name, array in expected.items():
        shares = [results[name] for results in found]
        if name.removeprefix("d") in SPLIT:
            assert shares[0].shape[0] == BATCH // PROCESSES
            got = np.concatenate(shares)
        else:
            np.testing.assert_array_equal(*shares)
            got = shares[0]
        tolerance = 1e-5 * float(jnp.abs(array).max())
        np.testing.assert_allclose(got, array, rtol=1e-4, atol=tolerance, err_msg=name)


def test_every_kernel_works_on_its_share(kernels, folder):
    text = (folder / "0.txt").read_text()
    calls = [line for line in text.splitlines() if 'custom_call_target="resnet_' in line]
    # Forward two convolutions and a norm; backward its sums, and two gradients of each convolution.
    assert len(calls) == 3 + 1 + 4
    images = [s for line in calls for s in shapes(line) if len(s) == 4 and s[:2] != (3, 3)]
    assert {s[0] for s in images} == {BATCH // PROCESSES}
    assert not [s for s in shapes(text) if len(s) == 4 and s[0] == BATCH]


def test_only_sums_and_gradients_of_kernels_travel(kernels, folder):
    lanes = kernels.lanes
    small = {(2, lanes), (2, 2 * lanes), (3, 3, lanes, lanes), (3, 3, lanes, 2 * lanes)}
    text = (folder / "0.txt").read_text()
    found = [
        (m[1], m.string[: m.start()])
        for m in map(re.compile(COLLECTIVES).search, text.splitlines())
        if m
    ]
    assert {name for name, _ in found} == {"all-reduce"}
    assert {s for _, result in found for s in shapes(result)} <= small


if __name__ == "__main__":
    work(*sys.argv[1:])
