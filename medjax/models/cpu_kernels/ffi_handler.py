"""The function that XLA calls for a kernel, as LLVM's text: it shares the images out over XLA's own threads.

Its interface is XLA's for foreign functions (https://docs.jax.dev/en/latest/ffi.html).
"""

# Enough for the cores of a laptop, few enough that adding up what each share gives costs little.
_MOST_SHARES = 16
_LEAST_IMAGES = 4


def images_a_share(num_images: int) -> int:
    """How many images one call of a kernel works on; the last share may have fewer."""
    return max(_LEAST_IMAGES, -(-num_images // _MOST_SHARES))


def num_shares(num_images: int) -> int:
    """How many shares so many images make."""
    return -(-num_images // images_a_share(num_images))


def write_handler(num_arguments: int, num_results: int) -> str:
    """The function that XLA calls with a frame that holds the addresses of all arrays.

    It makes a job of it, asks XLA's pool of threads to help, and claims shares beside them until none is left. A helper may
    come late, when all is done: whoever leaves last frees the job. Nobody waits for a helper that has not begun, so
    a pool whose threads are all busy cannot lock it.
    """
    copies = []
    for index in range(num_arguments + num_results):
        source, place = ("arguments", index) if index < num_arguments else ("results", index - num_arguments)
        copies.append(f"""\
  %entry.{index} = getelementptr ptr, ptr %{source}, i64 {place}
  %buffer.{index} = load ptr, ptr %entry.{index}
  %data.at.{index} = getelementptr i8, ptr %buffer.{index}, i64 24
  %data.{index} = load ptr, ptr %data.at.{index}
  %array.{index} = getelementptr %Job, ptr %job, i32 0, i32 6, i32 {index}
  store ptr %data.{index}, ptr %array.{index}""")
    return _HANDLER.format(
        num_arrays=num_arguments + num_results,
        most_shares=_MOST_SHARES,
        most_shares_less_one=_MOST_SHARES - 1,
        least_images=_LEAST_IMAGES,
        copy_addresses="\n".join(copies),
    )


# Offsets, in bytes, are of the structures in xla/ffi/api/c_api.h, version 0.3, which grow at their ends only.
_HANDLER = """\
; Shares claimed, shares done, users of the job, images, images a share, shares, arrays.
%Job = type {{ i64, i64, i64, i64, i64, i64, [{num_arrays} x ptr] }}
declare i64 @llvm.smax.i64(i64, i64)
declare i64 @llvm.smin.i64(i64, i64)
declare ptr @malloc(i64)
declare void @free(ptr)

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
  %a.share.at = getelementptr %Job, ptr %job, i32 0, i32 4
  %a.share = load i64, ptr %a.share.at
  %shares.at = getelementptr %Job, ptr %job, i32 0, i32 5
  %shares = load i64, ptr %shares.at
  %arrays = getelementptr %Job, ptr %job, i32 0, i32 6
  br label %claim
claim:
  %share = atomicrmw add ptr %job, i64 1 seq_cst
  %is.left = icmp slt i64 %share, %shares
  br i1 %is.left, label %run, label %end
run:
  %first = mul i64 %share, %a.share
  %next = add i64 %first, %a.share
  %stop = call i64 @llvm.smin.i64(i64 %next, i64 %images)
  call void @kernel(ptr %arrays, i64 %first, i64 %stop, i64 %share)
  %done = atomicrmw add ptr %done.at, i64 1 seq_cst
  br label %claim
end:
  call void @leave(ptr %job)
  ret void
}}

define ptr @handler(ptr %frame) {{
  %threads = alloca i64
  %count.arguments = alloca {{ i64, ptr, ptr, ptr }}
  %schedule.arguments = alloca {{ i64, ptr, ptr, ptr, ptr }}
  %extension.at = getelementptr i8, ptr %frame, i64 8
  %extension = load ptr, ptr %extension.at
  %api.at = getelementptr i8, ptr %frame, i64 16
  %api = load ptr, ptr %api.at
  %is.call = icmp eq ptr %extension, null
  br i1 %is.call, label %begin, label %describe

describe:  ; asked which version of the interface this was made for: the one at hand, as its beginning never changes
  %metadata.at = getelementptr i8, ptr %extension, i64 24
  %metadata = load ptr, ptr %metadata.at
  %api.version.at = getelementptr i8, ptr %api, i64 32
  %api.version = load i64, ptr %api.version.at
  %version.at = getelementptr i8, ptr %metadata, i64 24
  store i64 %api.version, ptr %version.at
  %traits.at = getelementptr i8, ptr %metadata, i64 32
  store i32 0, ptr %traits.at
  ret ptr null

begin:
  %size = ptrtoint ptr getelementptr (%Job, ptr null, i32 1) to i64
  %job = call ptr @malloc(i64 %size)
  %done.at = getelementptr %Job, ptr %job, i32 0, i32 1
  %users.at = getelementptr %Job, ptr %job, i32 0, i32 2
  store i64 0, ptr %job
  store i64 0, ptr %done.at
  %arguments.at = getelementptr i8, ptr %frame, i64 72
  %arguments = load ptr, ptr %arguments.at
  %results.at = getelementptr i8, ptr %frame, i64 112
  %results = load ptr, ptr %results.at
{copy_addresses}
  %sides.at = getelementptr i8, ptr %buffer.0, i64 40
  %sides = load ptr, ptr %sides.at
  %images = load i64, ptr %sides
  %images.padded = add i64 %images, {most_shares_less_one}
  %images.divided = sdiv i64 %images.padded, {most_shares}
  %a.share = call i64 @llvm.smax.i64(i64 %images.divided, i64 {least_images})
  %shares.last = sub i64 %a.share, 1
  %shares.padded = add i64 %images, %shares.last
  %shares = sdiv i64 %shares.padded, %a.share
  %images.at = getelementptr %Job, ptr %job, i32 0, i32 3
  store i64 %images, ptr %images.at
  %a.share.at = getelementptr %Job, ptr %job, i32 0, i32 4
  store i64 %a.share, ptr %a.share.at
  %shares.at = getelementptr %Job, ptr %job, i32 0, i32 5
  store i64 %shares, ptr %shares.at
  %context.at = getelementptr i8, ptr %frame, i64 24
  %context = load ptr, ptr %context.at
  store i64 1, ptr %threads  ; what stays there if there is no pool
  %count.0 = insertvalue {{ i64, ptr, ptr, ptr }} {{ i64 32, ptr null, ptr null, ptr null }}, ptr %context, 2
  %count.1 = insertvalue {{ i64, ptr, ptr, ptr }} %count.0, ptr %threads, 3
  store {{ i64, ptr, ptr, ptr }} %count.1, ptr %count.arguments
  %count.at = getelementptr i8, ptr %api, i64 144
  %count = load ptr, ptr %count.at
  %count.error = call ptr %count(ptr %count.arguments)
  %num.threads = load i64, ptr %threads
  %workers = call i64 @llvm.smin.i64(i64 %num.threads, i64 %shares)
  %users = add i64 %workers, 1  ; all workers, of whom this thread is one, and this thread again while it waits
  store i64 %users, ptr %users.at
  %schedule.0 = insertvalue {{ i64, ptr, ptr, ptr, ptr }} {{ i64 40, ptr null, ptr null, ptr @work, ptr null }}, ptr %context, 2
  %schedule.1 = insertvalue {{ i64, ptr, ptr, ptr, ptr }} %schedule.0, ptr %job, 4
  store {{ i64, ptr, ptr, ptr, ptr }} %schedule.1, ptr %schedule.arguments
  %schedule.at = getelementptr i8, ptr %api, i64 136
  %schedule = load ptr, ptr %schedule.at
  br label %more

more:
  %asked = phi i64 [ 1, %begin ], [ %asked.next, %ask ], [ %asked.next, %refused ]
  %asked.next = add i64 %asked, 1
  %needs.more = icmp slt i64 %asked, %workers
  br i1 %needs.more, label %ask, label %help
ask:
  %error = call ptr %schedule(ptr %schedule.arguments)
  %is.asked = icmp eq ptr %error, null
  br i1 %is.asked, label %more, label %refused
refused:
  call void @leave(ptr %job)
  br label %more

help:
  call void @work(ptr %job)
  br label %wait
wait:
  %done = load atomic volatile i64, ptr %done.at seq_cst, align 8
  %is.done = icmp eq i64 %done, %shares
  br i1 %is.done, label %end, label %wait
end:
  call void @leave(ptr %job)
  ret ptr null
}}
"""
