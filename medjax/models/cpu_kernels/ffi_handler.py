"""The function that XLA calls to run a kernel, as LLVM IR: it splits the batch into tasks for XLA's own threads.

It follows XLA's C interface for foreign functions (https://docs.jax.dev/en/latest/ffi.html), which jaxlib ships as
`xla/ffi/api/c_api.h` in `jax.ffi.include_dir()`.
"""

from medjax.models.cpu_kernels.ffi_layout import API_VERSION, ENUMERATORS, OFFSETS, SIZES

# Enough tasks for the cores of a laptop, few enough that summing the results of all tasks costs little.
MAX_TASKS = 16
MIN_IMAGES_PER_TASK = 4
# The name of the function that handlers call.
RUNNER = "medjax_run_kernel"


def images_per_task(num_images: int, least: int = MIN_IMAGES_PER_TASK) -> int:
    """Number of images that one call of a kernel works on; the last task may have fewer."""
    return max(least, -(-num_images // MAX_TASKS))


def num_tasks(num_images: int, least: int = MIN_IMAGES_PER_TASK) -> int:
    """Number of tasks that a batch is split into; it does not depend on the number of cores."""
    return -(-num_images // images_per_task(num_images, least))


def write_handler(
    num_arguments: int, num_results: int, min_images_per_task: int = MIN_IMAGES_PER_TASK
) -> str:
    """LLVM IR of `handler`, which XLA calls, for a `kernel` of so many arrays; the first array has the batch first.

    It calls the function of `write_runner`, which all kernels share: most of a small kernel's code would be that.
    """
    numbers = (num_arguments, num_results, min_images_per_task)
    arguments = ", ".join(["ptr %frame", "ptr @kernel", *(f"i64 {number}" for number in numbers)])
    return f"""\
declare ptr @{RUNNER}(ptr, ptr, i64, i64, i64)
define ptr @handler(ptr %frame) {{
  %error = call ptr @{RUNNER}({arguments})
  ret ptr %error
}}
"""


def write_runner() -> str:
    """LLVM IR of the function that runs a kernel, given XLA's frame, the kernel, its numbers of arrays and of images.

    The batch is split into tasks, taken from a shared atomic counter by this thread and by those of XLA's pool that are
    free; the last thread to leave frees the job. Nothing waits for a thread that has not begun, so a pool whose
    threads are all busy cannot cause a deadlock.
    """
    major, minor = API_VERSION
    return _RUNNER.format(
        name=RUNNER,
        max_tasks=MAX_TASKS,
        max_tasks_minus_one=MAX_TASKS - 1,
        major=major,
        minor=minor,
        offset=OFFSETS,
        enumerator=ENUMERATORS,
        create=_write_structure(
            "Error_Create_Args",
            message="ptr @no.memory",
            errc=f"i32 {ENUMERATORS['Error_Code_RESOURCE_EXHAUSTED']}",
        ),
        destroy=_write_structure("Error_Destroy_Args", error="ptr %error"),
        count=_write_structure("ThreadPool_NumThreads_Args", ctx="ptr %context", num_threads="ptr %threads"),
        schedule=_write_structure(
            "ThreadPool_Schedule_Args", ctx="ptr %context", task="ptr @work", data="ptr %job"
        ),
    )


def _write_structure(name: str, **values: str) -> str:
    """LLVM IR that allocates `%<name>` on the stack and stores typed values into its fields."""
    fields = {"struct_size": f"i64 {SIZES[name]}", "extension_start": "ptr null", **values}
    lines = [f"%{name} = alloca [{SIZES[name]} x i8], align 8"]
    for field, value in fields.items():
        address = f"%{name}.{field}"
        lines.append(f"{address} = getelementptr i8, ptr %{name}, i64 {OFFSETS[f'{name}.{field}']}")
        lines.append(f"store {value}, ptr {address}")
    return "\n".join(f"  {line}" for line in lines)


_RUNNER = """\
; Tasks taken, tasks done, threads that use the job, images, images per task, number of tasks, kernel, addresses of the arrays.
%Job = type {{ i64, i64, i64, i64, i64, i64, ptr, [0 x ptr] }}
@no.memory = private constant [32 x i8] c"medjax: no memory for a CPU job\\00"
declare i64 @llvm.smax.i64(i64, i64)
declare i64 @llvm.smin.i64(i64, i64)
declare ptr @malloc(i64)
declare void @free(ptr)

define internal void @destroy(ptr %api, ptr %error) {{
  %is.error = icmp ne ptr %error, null
  br i1 %is.error, label %call, label %end
call:
{destroy}
  %destroy.at = getelementptr i8, ptr %api, i64 {offset[Api.XLA_FFI_Error_Destroy]}
  %destroy = load ptr, ptr %destroy.at
  call void %destroy(ptr %Error_Destroy_Args)
  br label %end
end:
  ret void
}}

define internal void @leave(ptr %job) {{
  %users.at = getelementptr %Job, ptr %job, i32 0, i32 2
  %users = atomicrmw sub ptr %users.at, i64 1 seq_cst
  %is.last = icmp eq i64 %users, 1
  br i1 %is.last, label %last, label %end
last:
  call void @free(ptr %job)
  br label %end
end:
  ret void
}}

define internal void @work(ptr %job) {{
  %done.at = getelementptr %Job, ptr %job, i32 0, i32 1
  %images.at = getelementptr %Job, ptr %job, i32 0, i32 3
  %images = load i64, ptr %images.at
  %per.task.at = getelementptr %Job, ptr %job, i32 0, i32 4
  %per.task = load i64, ptr %per.task.at
  %tasks.at = getelementptr %Job, ptr %job, i32 0, i32 5
  %tasks = load i64, ptr %tasks.at
  %kernel.at = getelementptr %Job, ptr %job, i32 0, i32 6
  %kernel = load ptr, ptr %kernel.at
  %arrays = getelementptr %Job, ptr %job, i32 0, i32 7
  br label %take
take:
  %task = atomicrmw add ptr %job, i64 1 seq_cst
  %is.left = icmp slt i64 %task, %tasks
  br i1 %is.left, label %run, label %end
run:
  %first = mul i64 %task, %per.task
  %next = add i64 %first, %per.task
  %stop = call i64 @llvm.smin.i64(i64 %next, i64 %images)
  call void %kernel(ptr %arrays, i64 %first, i64 %stop, i64 %task)
  %done = atomicrmw add ptr %done.at, i64 1 seq_cst
  br label %take
end:
  call void @leave(ptr %job)
  ret void
}}

; The data of some buffers of a frame.
define internal void @copy_addresses(ptr %buffers, i64 %count, ptr %addresses) {{
begin:
  %is.none = icmp eq i64 %count, 0
  br i1 %is.none, label %end, label %copy
copy:
  %index = phi i64 [ 0, %begin ], [ %next, %copy ]
  %next = add i64 %index, 1
  %entry = getelementptr ptr, ptr %buffers, i64 %index
  %buffer = load ptr, ptr %entry
  %data.at = getelementptr i8, ptr %buffer, i64 {offset[Buffer.data]}
  %data = load ptr, ptr %data.at
  %address.at = getelementptr ptr, ptr %addresses, i64 %index
  store ptr %data, ptr %address.at
  %is.more = icmp ult i64 %next, %count
  br i1 %is.more, label %copy, label %end
end:
  ret void
}}

define ptr @{name}(ptr %frame, ptr %kernel, i64 %arguments.count, i64 %results.count, i64 %least) {{
  %threads = alloca i64
  %api.at = getelementptr i8, ptr %frame, i64 {offset[CallFrame.api]}
  %api = load ptr, ptr %api.at
  %extension.at = getelementptr i8, ptr %frame, i64 {offset[CallFrame.extension_start]}
  %extension = load ptr, ptr %extension.at
  %has.extension = icmp ne ptr %extension, null
  br i1 %has.extension, label %extended, label %begin

extended:
  %type.at = getelementptr i8, ptr %extension, i64 {offset[Metadata_Extension.extension_base.type]}
  %type = load i32, ptr %type.at
  %is.question = icmp eq i32 %type, {enumerator[Extension_Metadata]}
  br i1 %is.question, label %describe, label %begin

describe:  ; XLA asks which version of the interface this was written for
  %metadata.at = getelementptr i8, ptr %extension, i64 {offset[Metadata_Extension.metadata]}
  %metadata = load ptr, ptr %metadata.at
  %major.at = getelementptr i8, ptr %metadata, i64 {offset[Metadata.api_version.major_version]}
  store i32 {major}, ptr %major.at
  %minor.at = getelementptr i8, ptr %metadata, i64 {offset[Metadata.api_version.minor_version]}
  store i32 {minor}, ptr %minor.at
  %traits.at = getelementptr i8, ptr %metadata, i64 {offset[Metadata.traits]}
  store i32 0, ptr %traits.at
  ret ptr null

begin:
  %arrays.count = add i64 %arguments.count, %results.count
  %end.at = getelementptr %Job, ptr null, i32 0, i32 7, i64 %arrays.count
  %size = ptrtoint ptr %end.at to i64
  %job = call ptr @malloc(i64 %size)
  %is.missing = icmp eq ptr %job, null
  br i1 %is.missing, label %fail, label %fill

fail:
{create}
  %create.at = getelementptr i8, ptr %api, i64 {offset[Api.XLA_FFI_Error_Create]}
  %create = load ptr, ptr %create.at
  %failure = call ptr %create(ptr %Error_Create_Args)
  ret ptr %failure

fill:
  %done.at = getelementptr %Job, ptr %job, i32 0, i32 1
  %users.at = getelementptr %Job, ptr %job, i32 0, i32 2
  store i64 0, ptr %job
  store i64 0, ptr %done.at
  %arguments.at = getelementptr i8, ptr %frame, i64 {offset[CallFrame.args.args]}
  %arguments = load ptr, ptr %arguments.at
  %results.at = getelementptr i8, ptr %frame, i64 {offset[CallFrame.rets.rets]}
  %results = load ptr, ptr %results.at
  %kernel.at = getelementptr %Job, ptr %job, i32 0, i32 6
  store ptr %kernel, ptr %kernel.at
  %arrays.at = getelementptr %Job, ptr %job, i32 0, i32 7
  call void @copy_addresses(ptr %arguments, i64 %arguments.count, ptr %arrays.at)
  %results.arrays.at = getelementptr ptr, ptr %arrays.at, i64 %arguments.count
  call void @copy_addresses(ptr %results, i64 %results.count, ptr %results.arrays.at)
  %first.buffer = load ptr, ptr %arguments
  %sides.at = getelementptr i8, ptr %first.buffer, i64 {offset[Buffer.dims]}
  %sides = load ptr, ptr %sides.at
  %images = load i64, ptr %sides
  %images.padded = add i64 %images, {max_tasks_minus_one}
  %images.divided = sdiv i64 %images.padded, {max_tasks}
  %per.task = call i64 @llvm.smax.i64(i64 %images.divided, i64 %least)
  %tasks.last = sub i64 %per.task, 1
  %tasks.padded = add i64 %images, %tasks.last
  %tasks = sdiv i64 %tasks.padded, %per.task
  %images.at = getelementptr %Job, ptr %job, i32 0, i32 3
  store i64 %images, ptr %images.at
  %per.task.at = getelementptr %Job, ptr %job, i32 0, i32 4
  store i64 %per.task, ptr %per.task.at
  %tasks.at = getelementptr %Job, ptr %job, i32 0, i32 5
  store i64 %tasks, ptr %tasks.at
  %context.at = getelementptr i8, ptr %frame, i64 {offset[CallFrame.ctx]}
  %context = load ptr, ptr %context.at
  store i64 1, ptr %threads  ; unless the pool says how many it has
{count}
  %count.at = getelementptr i8, ptr %api, i64 {offset[Api.XLA_FFI_ThreadPool_NumThreads]}
  %count = load ptr, ptr %count.at
  %count.error = call ptr %count(ptr %ThreadPool_NumThreads_Args)
  call void @destroy(ptr %api, ptr %count.error)
  %num.threads = load i64, ptr %threads
  %useful.threads = call i64 @llvm.smin.i64(i64 %num.threads, i64 %tasks)
  %workers = call i64 @llvm.smax.i64(i64 %useful.threads, i64 1)
  %users = add i64 %workers, 1  ; the workers, of which this thread is one, and this thread again while it waits
  store i64 %users, ptr %users.at
{schedule}
  %schedule.at = getelementptr i8, ptr %api, i64 {offset[Api.XLA_FFI_ThreadPool_Schedule]}
  %schedule = load ptr, ptr %schedule.at
  br label %more

more:
  %asked = phi i64 [ 1, %fill ], [ %asked.next, %ask ], [ %asked.next, %refused ]
  %asked.next = add i64 %asked, 1
  %needs.more = icmp slt i64 %asked, %workers
  br i1 %needs.more, label %ask, label %help
ask:
  %error = call ptr %schedule(ptr %ThreadPool_Schedule_Args)
  %is.asked = icmp eq ptr %error, null
  br i1 %is.asked, label %more, label %refused
refused:
  call void @destroy(ptr %api, ptr %error)
  call void @leave(ptr %job)
  br label %more

help:
  call void @work(ptr %job)
  br label %wait
wait:
  %done = load atomic volatile i64, ptr %done.at seq_cst, align 8
  %is.done = icmp eq i64 %done, %tasks
  br i1 %is.done, label %end, label %wait
end:
  call void @leave(ptr %job)
  ret ptr null
}}
"""
