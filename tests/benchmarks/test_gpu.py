"""What the GPU's benchmark counts and keeps; its figures mean nothing here."""

import json
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from benchmarks import gpu
from benchmarks.gpu_items import Item, list_items
from benchmarks.gpu_network import FREE, Case, GpuNetwork, convolve_by_products, make_report_case
from benchmarks.gpu_profile import Event, count_operations, summarize
from benchmarks.gpu_tools import Sizes, Tools
from benchmarks.layers import Chain, Dense, GlobalMean, Norm
from benchmarks.throughput import FORWARD_FLOP, STEP_FLOP
from medjax.models.cpu_kernels import twins

TINY = Chain((Norm("batch"), GlobalMean(), Dense(6)))
# All but jax, flax and optax with what they depend on, jaxtyping and pillow.
MISSING = (
    *(
        "tyro",
        "docstring_parser",
        "simplejpeg",
        "platformdirs",
        "pooch",
        "torch",
        "orbax",
        "llvmlite",
        "sklearn",
    ),
    *("matplotlib", "jinja2", "filelock", "safetensors"),
)


def make_tools(seconds=100.0):
    return Tools(Sizes.small(), "phantom", None, lambda: seconds, {}, {})


def test_operations_of_the_reports_network_are_counted_as_elsewhere():
    case = make_report_case(28, 512, "f32")
    assert (case.forward_flop, case.step_flop) == (FORWARD_FLOP, STEP_FLOP)


def test_every_network_size_batch_and_arithmetic_is_trained_and_the_asked_for_come_first():
    tools = make_tools()._replace(sizes=Sizes())
    names = [item.name for item in list_items(tools)]
    assert len(set(names)) == len(names)
    cases = {
        f"{network}-{side} b{batch} {mode}"
        for network in ("cnn", "resnet18")
        for side in (28, 64)
        for batch in (64, 512, 2048)
        for mode in ("f32", "tf32", "bf16")
    }
    for task in ("training", "inference"):
        assert {name.partition(" ")[2] for name in names if name.startswith(task)} == cases
    assert names[1:3] == [f"training cnn-28 b{batch} f32" for batch in (512, 2048)]


def test_a_convolution_by_products_is_one_and_stacks_to_no_grouped_one():
    generator = np.random.default_rng(0)
    images, kernels = generator.random((3, 2, 6, 5, 2)), generator.random((3, 3, 3, 2, 4))
    stacked = {name: jax.vmap(f) for name, f in (("ours", convolve_by_products), ("theirs", twins._convolve))}
    ours, theirs = (each(images, kernels) for each in stacked.values())
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    texts = {name: jax.jit(each).lower(images, kernels).as_text() for name, each in stacked.items()}
    assert "stablehlo.convolution" not in texts["ours"]
    assert "feature_group_count = 3" in texts["theirs"]


def test_ways_are_settings_or_changes_from_outside():
    case = Case("tiny", TINY, 4, 1, 2, "bf16")
    assert GpuNetwork(case, 4)._learner.numerics == ("bf16", True)
    assert GpuNetwork(case, 4, way=FREE)._learner.numerics == ("bf16", False)
    # Of a batch that is as large as 1,024 images there is one call.
    assert GpuNetwork(case, 4, way="medjax large").predict(4) > 0


def test_training_goes_on_and_is_compiled_once():
    network = GpuNetwork(Case("tiny", TINY, 4, 1, 2, "tf32"), 4)
    seconds, text = network.compile()
    assert seconds > 0
    assert "HloModule" in text
    with pytest.MonkeyPatch.context() as patch:
        compiled = []
        patch.setattr(jax._src.compiler, "compile_or_get_cached", lambda *_, **__: compiled.append(1))
        assert network.train(3) > 0
        assert network.train(1) > 0
    assert not compiled
    assert np.array_equal(network._state.learner.step, [4])


def test_a_profile_counts_kernels_copies_and_idle_time():
    events = [
        Event("MemcpyD2H", 900.0, 100.0),
        Event("loop_add_fusion.7", 0.0, 400.0),
        Event("loop_add_fusion_12", 300.0, 200.0),  # on another stream, at the same time
    ]
    found = summarize(events, steps=2)
    assert (found["kernels_a_step"], found["copies"], found["copies_a_step"]) == (
        1.0,
        {"MemcpyD2H": 1},
        {"MemcpyD2H": 0.5},
    )
    assert found["microseconds_a_step"] == 0.5
    assert found["idle"] == 0.4
    assert [(each["name"], each["a_step"]) for each in found["longest"]] == [
        ("loop_add_fusion", 1.0),
        ("MemcpyD2H", 0.5),
    ]
    with pytest.raises(RuntimeError, match="no kernel"):
        summarize([], steps=2)


# What XLA writes, shortened.
PROGRAM = """
%fused_computation (param_0: f32[4]) -> f32[4] {
  %copy.1 = f32[4]{0} copy(%param_0)
  ROOT %dot.1 = f32[4]{0} dot(%copy.1, %param_0)
}

%region_0.1 (tuple.1: (s32[], f32[4])) -> (s32[], f32[4]) {
  %add_fusion = f32[4]{0} fusion(%tuple.1), kind=kLoop, calls=%fused_computation
  ROOT %conv.2 = (f32[4]{0}, u8[0]{0}) custom-call(%add_fusion), custom_call_target="__cudnn$convForward"
}

ENTRY %main.3 (x.1: f32[4]) -> f32[4] {
  %copy.6 = f32[4]{0} copy(%x.1)
  ROOT %while.7 = (s32[], f32[4]{0}) while(%copy.6), condition=%region_1.2, body=%region_0.1
}
"""


def test_operations_of_a_program_are_counted_without_those_inside_fusions():
    assert count_operations(PROGRAM) == {"fusion": 1, "custom-call": 1, "while": 1, "copy": 1}


def run(items, seconds, only=()):
    report = gpu.Report(seconds, is_small=True, only_json=True, output=None)
    gpu.run_items(items, make_tools(), report, only)
    return report


def test_a_failure_ends_no_other_measurement_and_what_takes_too_long_is_skipped():
    def fail(_):
        yield "rows", {"number": 1}
        raise ValueError("no such kernel\nand more")

    def measure(_):
        time.sleep(0.1)
        yield "rows", {"number": 2}

    items = [
        Item("first", "a", 0, fail),
        Item("long", "b", 1e6, measure),
        Item("second", "c", 0, measure),
        Item("other", "c", 0, measure),
    ]
    report = run(items, seconds=100, only=("first", "long", "second"))
    assert report.figures == {
        "skipped": ["long"],
        "failed": [{"item": "first", "error": "ValueError: no such kernel"}],
        "rows": [{"number": 1}, {"number": 2}],
    }
    assert report.has_failures


def test_how_long_an_item_took_decides_about_the_next_of_its_kind():
    def measure(_):
        time.sleep(0.3)
        yield "rows", {}

    assert run([Item(name, "a", 0, measure) for name in "bcd"], seconds=0.5).figures["skipped"] == ["c", "d"]


def test_the_last_line_is_one_json_object(capsys, tmp_path):
    output = tmp_path / "gpu.json"
    assert gpu.main(**gpu.parse(["--small", "--no-peers", "--only", "limits", "--output", str(output)])) == 0
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last["benchmark"] == "gpu"
    assert set(last["limits"][0]["tflops"]) == {"f32", "tf32", "bf16"}
    assert json.loads(output.read_text())["limits"] == last["limits"]


def test_what_a_minimal_installation_may_lack_is_not_imported():
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({MISSING})); from benchmarks import gpu; "
        "sys.exit(gpu.main(small=True, peers=False, only=('training cnn-12 b4 f32',)))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout.splitlines()[-1])["training"]
