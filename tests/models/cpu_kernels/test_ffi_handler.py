"""What XLA calls for a kernel: shares of the images, and arrays found where XLA puts them."""

import llvmlite.binding as llvm
import pytest

from medjax.models.cpu_kernels import ffi_handler as handler

KERNEL = "define void @kernel(ptr %arrays, i64 %first, i64 %stop, i64 %share) { ret void }"


def test_shares_are_few_and_do_not_depend_on_cores():
    for count in range(1, 3000):
        assert handler.num_shares(count) <= 16
        assert (handler.num_shares(count) - 1) * handler.images_a_share(count) < count


@pytest.mark.parametrize(("num_arguments", "num_results"), [(1, 1), (2, 1), (3, 4)])
def test_handlers_are_well_formed_for_any_number_of_arrays(num_arguments, num_results):
    llvm.initialize_native_target()
    text = handler.write_handler(num_arguments, num_results)
    module = llvm.parse_assembly(f"{KERNEL}\n{text}")
    module.verify()
    functions = {function.name for function in module.functions if not function.is_declaration}
    assert functions == {"kernel", "handler", "work", "leave"}
    for index in range(num_arguments + num_results):
        assert f"%data.{index}, ptr %array.{index}" in text
