"""Programs as lowered for CPUs and accelerators, and as XLA compiles them for a CPU."""

import functools
import re
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.metrics import zero_sums
from medjax.models.cnn import CNN
from medjax.models.cpu_kernels.lowering import fast_convolutions
from medjax.models.network import Variables
from medjax.training import compilation
from medjax.training.augment import random_affine
from medjax.training.batching import take_batch
from medjax.training.fold_plan import FoldPlan, make_plan
from medjax.training.folds import (
    Controls,
    evaluate_batches,
    finish_epoch,
    init_fold,
    run_steps,
    shuffle_epoch,
)
from medjax.training.learner import make_learner
from medjax.training.optimizers import make_adam
from tests.tiny import make_images, make_split, tiny_learner


def make_programs(compute="f32"):
    """The programs of a run with the `report` preset, each with the shapes of its arguments."""
    augment = functools.partial(random_affine, rotation=10.0, shift=0.1, zoom=0.1)
    learner = make_learner(CNN(6), make_adam(1e-3), augment=augment, compute=compute)
    plan = make_plan([make_split(make_images()[1])], seed=0, batch_size=32)
    plan = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), plan)
    state = jax.eval_shape(lambda key: init_fold(key, learner, Controls(), (120, 28, 28, 1)), plan.key)
    images = jax.ShapeDtypeStruct((120, 28, 28, 1), jnp.uint8)
    labels = jax.ShapeDtypeStruct((120,), jnp.int32)
    step = jax.ShapeDtypeStruct((), jnp.int32)
    sums = jax.eval_shape(lambda: zero_sums(6))
    assert isinstance(plan, FoldPlan)
    return {
        "shuffle_epoch": (functools.partial(shuffle_epoch, 6, 32, 3), (labels, step, plan, state)),
        "run_steps": (
            functools.partial(run_steps, learner, 32),
            (images, labels, step, step, plan, state, sums),
        ),
        "finish_epoch": (
            functools.partial(finish_epoch, learner, Controls(), 6),
            (images, labels, plan, state),
        ),
        "evaluate_batches": (
            functools.partial(evaluate_batches, learner),
            (state.learner.variables, images, labels, plan.val, step),
        ),
    }


PROGRAMS = make_programs()
NETWORKS = [name for name in PROGRAMS if name != "shuffle_epoch"]


def export(program, platform):
    function, arguments = program
    return jax.export.export(jax.jit(function), platforms=(platform,))(*arguments).mlir_module()


@functools.cache
def export_named(name, platform):
    return export(PROGRAMS[name], platform)


@pytest.mark.parametrize("platform", ["cuda", "tpu", "cpu"])
@pytest.mark.parametrize("name", NETWORKS)
def test_exported_programs_have_the_convolutions_of_xla(name, platform):
    module = export_named(name, platform)
    # Two layers forward; backward, the kernels of both and the images of the second.
    assert module.count("stablehlo.convolution") == (5 if name == "run_steps" else 2)
    assert "medjax_" not in module
    assert "stablehlo.select_and_scatter" not in module


@pytest.mark.parametrize(("platform", "branches"), [("cuda", 0), ("tpu", 0), ("cpu", 1)])
def test_a_step_updates_by_a_branch_on_a_cpu_alone_and_scatters_nowhere(platform, branches):
    """Branches and scatters end a GPU's chain of operations."""
    lowered = {name: export_named("run_steps", name) for name in {platform, "tpu"}}
    assert "stablehlo.scatter" not in lowered[platform]
    count_cases = {name: text.count("stablehlo.case") for name, text in lowered.items()}
    assert count_cases[platform] - count_cases["tpu"] == branches


# What XLA joins with no other of its kind: each is a kernel of its own, or several.
APART = (
    "convolution",
    "dot_general",
    "reduce",
    "reduce_window",
    "sort",
    "scatter",
    "rng_bit_generator",
    "fft",
)
# Of the report's network. In a step: the network's products, forward and backward; those of augmentation and counts; sums of
# biases' gradients, of the loss, of the gradient's norm and of what must be finite.
MOST_APART = {"shuffle_epoch": 1, "run_steps": 35, "finish_epoch": 11, "evaluate_batches": 9}
HOST = ("custom_call", "infeed", "outfeed", "send", "recv")


def count_operations(module):
    """Operations of a program, those of a function as often as it is called."""
    bodies = dict(re.findall(r"func\.func \w+ @(\w+)(.*?)(?=\n  func\.func|\Z)", module, flags=re.DOTALL))

    def count(name):
        found = Counter(re.findall(r"stablehlo\.(\w+)", bodies[name]))
        return sum(map(count, re.findall(r"\bcall @(\w+)", bodies[name])), found)

    return count("main")


@pytest.mark.parametrize("name", PROGRAMS)
def test_an_epoch_gives_a_gpu_few_kernels_and_asks_nothing_of_the_host(name):
    counts = count_operations(export_named(name, "cuda"))
    assert sum(counts[each] for each in APART) <= MOST_APART[name]
    assert not [each for each in HOST if counts[each]]
    assert counts["while"] == (name != "shuffle_epoch")


def test_a_call_of_the_host_would_be_found():
    def ask(array):
        return (
            jax.pure_callback(lambda: np.ones(3, np.float32), jax.ShapeDtypeStruct((3,), "float32")) + array
        )

    assert count_operations(jax.jit(ask).lower(jnp.ones(3)).as_text())["custom_call"] == 1


@pytest.mark.parametrize(
    ("compute", "precision", "kind"),
    [("f32", "HIGHEST", "f32"), ("tf32", "HIGH", "f32"), ("bf16", "HIGHEST", "bf16")],
)
def test_a_gpu_computes_in_the_arithmetic_that_is_asked_for(compute, precision, kind, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    with compilation._precision_of(compute):
        module = export(make_programs(compute)["run_steps"], "cuda")
    lines = [line.partition(" loc(")[0] for line in module.splitlines()]
    products = [line for line in lines if re.search(r"stablehlo\.(convolution|dot_general)", line)]
    of_network = [line for line in products if line.endswith(f"x{kind}>")]
    convolutions = [line for line in products if "stablehlo.convolution" in line]
    assert len(convolutions) == 5
    assert set(convolutions) <= set(of_network)
    # Six of two dense layers; the others are the augmentation's and counts.
    assert len(of_network) >= 5 + 6
    for line in products:
        found = set(re.findall(r"\b(?:DEFAULT|HIGH|HIGHEST)\b", line))
        assert found <= {precision, "HIGHEST"}
        assert found


@pytest.mark.parametrize("name", ["finish_epoch", "evaluate_batches"])
def test_a_gpu_is_given_no_kernel_of_a_cpu(name, monkeypatch):
    """Programs are lowered for it on a machine whose CPU could run them."""
    monkeypatch.setenv("MEDJAX_CPU_KERNELS", "1")
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    with fast_convolutions():
        assert "medjax_" not in export(make_programs()[name], "cuda")


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_coordinates_keep_all_their_bits_on_accelerators(platform):
    augment = jax.jit(functools.partial(random_affine, rotation=10.0, shift=0.1, zoom=0.1))
    shapes = (jax.eval_shape(lambda: jax.random.key(0)), jax.ShapeDtypeStruct((64, 64, 1), jnp.float32))
    module = jax.export.export(augment, platforms=(platform,))(*shapes).mlir_module()
    products = [line for line in module.splitlines() if "stablehlo.dot_general" in line]
    assert len(products) == 2
    assert all("precision = [HIGHEST, HIGHEST]" in line for line in products)


@pytest.mark.parametrize("name", NETWORKS)
def test_no_naive_convolution_is_left_in_the_cpu_program(name, monkeypatch):
    monkeypatch.setenv("MEDJAX_CPU_KERNELS", "1")
    function, arguments = PROGRAMS[name]
    compiled = jax.jit(function).lower(*arguments).compile().as_text()
    assert "dot" in compiled
    calls = re.findall(r'custom_call_target="medjax_(?!task_sums)(\w+?)_\d', compiled)
    backward = ["image_gradient", "kernel_gradient", "shallow_kernel_gradient"]
    forward = ["pooled_forward", "winograd_forward"]
    assert sorted(calls) == sorted(forward + (backward if name == "run_steps" else []))
    assert not re.findall(r" convolution\(", compiled)
    assert "select-and-scatter" not in compiled


def test_the_search_above_would_find_one():
    def stock(images, kernel):
        def step(_, total):
            return total + jax.lax.conv(images, kernel, (1, 1), "VALID").sum()

        return jax.lax.fori_loop(0, 3, step, 0.0)

    compiled = jax.jit(stock).lower(jnp.ones((1, 1, 8, 8)), jnp.ones((2, 1, 3, 3))).compile().as_text()
    assert re.findall(r" convolution\(", compiled)


def test_the_next_step_reuses_the_memory_of_the_state():
    function, arguments = PROGRAMS["run_steps"]
    lowered = jax.jit(function, donate_argnums=(5, 6)).lower(*arguments).as_text()
    num_leaves = len(jax.tree.leaves(arguments[5:7]))
    assert lowered.count("tf.aliasing_output") >= num_leaves - 1


def test_eval_step_has_derivatives_in_both_modes_and_can_be_exported():
    learner = tiny_learner()
    images, labels = make_images(n=6)
    batch = take_batch(jnp.asarray(images), jnp.asarray(labels), jnp.arange(6), jnp.int32(0), 6)
    parameters = learner.init(jax.random.key(0), (8, 8, 1)).parameters

    def loss(parameters):
        return learner.eval_step(Variables(parameters, {}), batch).losses.sum()

    gradient = jax.jit(jax.grad(loss))(parameters)
    tangent = jax.jit(lambda direction: jax.jvp(loss, [parameters], [direction])[1])(gradient)
    squared = sum((leaf**2).sum() for leaf in jax.tree.leaves(gradient))
    np.testing.assert_allclose(tangent, squared, rtol=1e-3)
    exported = jax.export.export(jax.jit(jax.value_and_grad(loss)), platforms=("cpu",))(parameters)
    for got, expected in zip(
        jax.tree.leaves(exported.call(parameters)), jax.tree.leaves((loss(parameters), gradient)), strict=True
    ):
        np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-4)
