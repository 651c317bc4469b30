"""From LLVM's text to functions in memory, for the CPU at hand; kept on disk where JAX keeps its programs."""

import hashlib
import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import jax
import llvmlite
import llvmlite.binding as llvm

_DIGEST_BYTES = 32


class MachineCode:
    """Functions that can be called as long as this is there."""

    def __init__(self, compiled: bytes) -> None:
        self._engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _target_machine())
        self._engine.add_object_file(llvm.ObjectFileRef.from_data(compiled))
        self._engine.finalize_object()

    def address(self, name: str) -> int:
        """Where a function begins."""
        return self._engine.get_function_address(name)


def load(write: Callable[[], str], identity: Sequence[str]) -> MachineCode:
    """What LLVM makes of the text that `write` returns, which is asked for only where nothing is kept under `identity`.

    Code is kept in `jax_compilation_cache_dir`, whose owner is trusted as JAX trusts it, for this processor and this
    version of LLVM.
    """
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    path = _kept_at(identity)
    compiled = None if path is None else _read(path)
    if compiled is None:
        compiled = _compile(write())
        if path is not None:
            _keep(path, compiled)
    return MachineCode(compiled)


def _compile(text: str) -> bytes:
    module, machine = llvm.parse_assembly(text), _target_machine()
    passes = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=3))
    passes.getModulePassManager().run(module, passes)
    return machine.emit_object(module)


def _target_machine() -> llvm.TargetMachine:
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=3, jit=True
    )


def _kept_at(identity: Sequence[str]) -> Path | None:
    """The file of an identity; None where nothing is to be kept."""
    folder = jax.config.values["jax_compilation_cache_dir"]
    if not folder or not jax.config.values["jax_enable_compilation_cache"] or not os.path.isdir(folder):
        return None
    versions = [llvmlite.__version__, str(llvm.llvm_version_info)]
    processor = [llvm.get_default_triple(), llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()]
    name = hashlib.sha256("\0".join([*versions, *processor, *identity]).encode()).hexdigest()
    return Path(folder) / f"medjax-{name}.o"


def _read(path: Path) -> bytes | None:
    """What is kept in a file behind its own digest: LLVM ends the process over damaged code. None where it is not whole."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, compiled = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    return compiled if digest == hashlib.sha256(compiled).digest() else None


def _keep(path: Path, compiled: bytes) -> None:
    """Write a file, whole or not at all; a full disk only means that the next process compiles again."""
    with suppress(OSError):
        descriptor, temporary = tempfile.mkstemp(dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(hashlib.sha256(compiled).digest() + compiled)
            os.replace(temporary, path)
        except OSError:
            os.unlink(temporary)
            raise
