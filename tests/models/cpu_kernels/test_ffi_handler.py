"""What XLA calls for a kernel, called here with frames and an interface of our own: tasks, errors, memory."""

import ctypes

import llvmlite.binding as llvm
import numpy as np
import pytest

from medjax.models.cpu_kernels import ffi_handler, machine_code
from medjax.models.cpu_kernels.ffi_layout import API_VERSION, ENUMERATORS, OFFSETS, SIZES

# Writes the number of images of each task into the result.
KERNEL = """
define void @kernel(ptr %arrays, i64 %first, i64 %stop, i64 %task) {
  %result.at = getelementptr ptr, ptr %arrays, i64 1
  %result = load ptr, ptr %result.at
  %count.at = getelementptr i64, ptr %result, i64 %task
  %count = sub i64 %stop, %first
  store i64 %count, ptr %count.at
  ret void
}
"""
JOB_BYTES = 72  # six numbers, the kernel and two arrays
ERROR = 0x5EED  # the address of an error that the interface returned
Function = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)


def write_program(num_arguments, num_results):
    """The kernel, its handler and the function that runs it, as one program."""
    handler = ffi_handler.write_handler(num_arguments, num_results)
    declaration, rest = handler.split("\n", 1)
    assert declaration.startswith("declare")
    return "\n".join([KERNEL, rest, ffi_handler.write_runner()])


class Xla:
    """An interface that counts, and returns errors where it is told to."""

    def __init__(self, num_threads=1, is_failing=()):
        self.num_threads, self.is_failing = num_threads, is_failing
        self.destroyed, self.created, self.scheduled = [], [], []
        self.allocated, self.freed = [], []
        self.kept = []
        self.api = self.structure(
            "Api",
            XLA_FFI_Error_Create=self.function(self.create),
            XLA_FFI_Error_Destroy=self.function(self.destroy),
            XLA_FFI_ThreadPool_NumThreads=self.function(self.count_threads),
            XLA_FFI_ThreadPool_Schedule=self.function(self.schedule),
        )

    def function(self, call):
        self.kept.append(Function(call))
        return ctypes.cast(self.kept[-1], ctypes.c_void_p).value

    def structure(self, name, **fields):
        memory = np.zeros(64, np.int64)
        self.kept.append(memory)
        for field, value in fields.items():
            memory[OFFSETS[f"{name}.{field.replace('__', '.')}"] // 8] = value
        return memory.ctypes.data

    def field(self, address, name, kind=ctypes.c_int64):
        return kind.from_address(address + OFFSETS[name]).value

    def check(self, address, name):
        assert self.field(address, f"{name}.struct_size") == SIZES[name]
        assert self.field(address, f"{name}.extension_start") == 0

    def create(self, arguments):
        self.check(arguments, "Error_Create_Args")
        message = self.field(arguments, "Error_Create_Args.message", ctypes.c_char_p)
        self.created.append((message, self.field(arguments, "Error_Create_Args.errc", ctypes.c_int32)))
        return ERROR

    def destroy(self, arguments):
        self.check(arguments, "Error_Destroy_Args")
        self.destroyed.append(self.field(arguments, "Error_Destroy_Args.error"))

    def count_threads(self, arguments):
        self.check(arguments, "ThreadPool_NumThreads_Args")
        if "count" in self.is_failing:
            return ERROR
        address = self.field(arguments, "ThreadPool_NumThreads_Args.num_threads")
        ctypes.c_int64.from_address(address).value = self.num_threads

    def schedule(self, arguments):
        self.check(arguments, "ThreadPool_Schedule_Args")
        if "schedule" in self.is_failing:
            return ERROR
        names = ("task", "data")
        self.scheduled.append([self.field(arguments, f"ThreadPool_Schedule_Args.{name}") for name in names])

    def malloc(self, size):
        if "malloc" in self.is_failing:
            return None
        assert size == JOB_BYTES
        self.kept.append(ctypes.create_string_buffer(size))
        self.allocated.append(ctypes.addressof(self.kept[-1]))
        return self.allocated[-1]

    def free(self, address):
        self.freed.append(address)
        self.content_when_freed = ctypes.string_at(address, JOB_BYTES)

    def compile(self):
        """The address of the handler, whose memory comes from here."""
        text = write_program(1, 1)
        for declared, function in (
            ("declare ptr @malloc(i64)", self.malloc),
            ("declare void @free(ptr)", self.free),
        ):
            assert declared in text
            address = self.function(function)
            kind, name = declared.removeprefix("declare ").split(" @")
            argument = "i64 %x" if "malloc" in name else "ptr %x"
            result = f"%y = call ptr inttoptr (i64 {address} to ptr)({argument})"
            body = f"{result}\nret {'ptr %y' if kind == 'ptr' else 'void'}"
            text = text.replace(
                declared, f"define internal {kind} @{name.split('(')[0]}({argument}) {{\n{body}\n}}"
            )
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        code = machine_code.MachineCode(machine_code._compile(text))
        self.kept.append(code)
        return code.address("handler")

    def run(self, num_images, **frame):
        """Call the handler; the error it returns, and the number of images of each task."""
        counts = np.full(20, -1, np.int64)
        sides = np.array([num_images], np.int64)
        images = self.structure("Buffer", dims=sides.ctypes.data)
        results = self.structure("Buffer", data=counts.ctypes.data)
        tables = [np.array([buffer], np.int64) for buffer in (images, results)]
        self.kept += [counts, sides, *tables]
        frame |= {"args__args": tables[0].ctypes.data, "rets__rets": tables[1].ctypes.data}
        error = Function(self.compile())(self.structure("CallFrame", api=self.api, **frame))
        return error, counts[counts >= 0].tolist()


def test_tasks_are_few_and_do_not_depend_on_cores():
    for count in range(1, 3000):
        assert ffi_handler.num_tasks(count) <= 16
        assert (ffi_handler.num_tasks(count) - 1) * ffi_handler.images_per_task(count) < count


@pytest.mark.parametrize(("num_arguments", "num_results"), [(1, 1), (2, 1), (3, 4)])
def test_handlers_are_well_formed_for_any_number_of_arrays(num_arguments, num_results):
    llvm.initialize_native_target()
    module = llvm.parse_assembly(write_program(num_arguments, num_results))
    module.verify()
    functions = {function.name for function in module.functions if not function.is_declaration}
    assert functions == {
        "kernel",
        "handler",
        ffi_handler.RUNNER,
        "work",
        "leave",
        "destroy",
        "copy_addresses",
    }


@pytest.mark.parametrize("num_images", [0, 1, 4, 5, 64, 65, 1000])
def test_every_image_is_in_one_task_and_memory_is_freed_once(num_images):
    xla = Xla()
    error, counts = xla.run(num_images)
    assert error is None
    assert sum(counts) == num_images
    assert len(counts) == ffi_handler.num_tasks(num_images)
    assert len(xla.allocated) == 1
    assert xla.freed == xla.allocated
    assert ctypes.string_at(xla.freed[0], JOB_BYTES) == xla.content_when_freed  # not used any more


def test_threads_of_the_pool_help_and_the_last_one_frees_the_memory():
    xla = Xla(num_threads=3)
    assert xla.run(64)[1] == [4] * 16
    assert len(xla.scheduled) == 2  # this thread is the third
    assert not xla.freed
    for task, data in xla.scheduled:
        ctypes.CFUNCTYPE(None, ctypes.c_void_p)(task)(data)
    assert xla.freed == xla.allocated


@pytest.mark.parametrize("is_failing", [["count"], ["schedule"]])
def test_without_a_pool_this_thread_does_all_the_work_and_errors_are_freed(is_failing):
    xla = Xla(num_threads=3, is_failing=is_failing)
    error, counts = xla.run(64)
    assert error is None
    assert counts == [4] * 16
    assert xla.destroyed == [ERROR] * (2 if is_failing == ["schedule"] else 1)
    assert xla.freed == xla.allocated


def test_without_memory_an_error_is_returned():
    xla = Xla(is_failing=["malloc"])
    assert xla.run(64) == (ERROR, [])
    assert xla.created == [(b"medjax: no memory for a CPU job", ENUMERATORS["Error_Code_RESOURCE_EXHAUSTED"])]
    assert not xla.freed


def test_the_version_is_the_one_that_the_offsets_are_for():
    xla = Xla()
    metadata = xla.structure("Metadata", traits=-1)
    question = xla.structure("Metadata_Extension", metadata=metadata, extension_base__type=1)
    error, counts = xla.run(64, extension_start=question)
    assert (error, counts, xla.allocated) == (None, [], [])
    names = ("api_version.major_version", "api_version.minor_version", "traits")
    assert [xla.field(metadata, f"Metadata.{name}", ctypes.c_int32) for name in names] == [*API_VERSION, 0]


def test_an_extension_that_we_do_not_know_changes_nothing():
    xla = Xla()
    unknown = xla.structure("Metadata_Extension", extension_base__type=99)
    assert xla.run(64, extension_start=unknown) == (None, [4] * 16)
