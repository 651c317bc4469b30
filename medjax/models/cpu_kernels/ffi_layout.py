"""Where XLA's C interface for foreign functions keeps its fields; a test compares this with the header of jaxlib.

Names are those of `xla/ffi/api/c_api.h` without the prefix XLA_FFI_ of a structure.
"""

# XLA refuses to register a handler written for a version that it does not support. The minor version grows when fields
# are added at the end: jaxlib 0.10 (which has 0.3) and 0.12 (0.5) accept every version from 0.1 to their own.
API_VERSION = (0, 3)

# Bytes from the start of a structure of c_api.h to a field.
OFFSETS = {
    "CallFrame.extension_start": 8,
    "CallFrame.api": 16,
    "CallFrame.ctx": 24,
    "CallFrame.args.args": 72,
    "CallFrame.rets.rets": 112,
    "Buffer.data": 24,
    "Buffer.dims": 40,
    "Metadata_Extension.extension_base.type": 8,
    "Metadata_Extension.metadata": 24,
    "Metadata.api_version.major_version": 24,
    "Metadata.api_version.minor_version": 28,
    "Metadata.traits": 32,
    "Api.XLA_FFI_Error_Create": 48,
    "Api.XLA_FFI_Error_Destroy": 64,
    "Api.XLA_FFI_ThreadPool_Schedule": 136,
    "Api.XLA_FFI_ThreadPool_NumThreads": 144,
    "Error_Create_Args.struct_size": 0,
    "Error_Create_Args.extension_start": 8,
    "Error_Create_Args.message": 16,
    "Error_Create_Args.errc": 24,
    "Error_Destroy_Args.struct_size": 0,
    "Error_Destroy_Args.extension_start": 8,
    "Error_Destroy_Args.error": 16,
    "ThreadPool_NumThreads_Args.struct_size": 0,
    "ThreadPool_NumThreads_Args.extension_start": 8,
    "ThreadPool_NumThreads_Args.ctx": 16,
    "ThreadPool_NumThreads_Args.num_threads": 24,
    "ThreadPool_Schedule_Args.struct_size": 0,
    "ThreadPool_Schedule_Args.extension_start": 8,
    "ThreadPool_Schedule_Args.ctx": 16,
    "ThreadPool_Schedule_Args.task": 24,
    "ThreadPool_Schedule_Args.data": 32,
}
# Bytes of a structure up to the end of its last field, which XLA compares with its own.
SIZES = {
    "Error_Create_Args": 28,
    "Error_Destroy_Args": 24,
    "ThreadPool_NumThreads_Args": 32,
    "ThreadPool_Schedule_Args": 40,
}
ENUMERATORS = {"Extension_Metadata": 1, "Error_Code_RESOURCE_EXHAUSTED": 8}
