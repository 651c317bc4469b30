"""Loops for a CPU, compiled by LLVM when a program is lowered.

Which operations: `lowering` puts rules before JAX's own, `finders` say what computes an operation, `expressions` read what a
sum sums, `slow_layers` name what is left. Calls of kernels, as functions of arrays: `convolution`, `weight_gradient`,
`array_operations`. Their loops: `direct_*`, `winograd*`, `depthwise`, `pooling`, `column_sums`, `*_products`, `slices`, on top of
`register_tiles`, `borders` and `epilogues`. The built-in network's own: `primitives`, `twins`, `native`, `forward_kernels`, `gradient_kernels`. Below all:
`emitter` writes LLVM IR, `ffi_*` meet XLA's interface, `machine_code` compiles,
`compiling` does so beside other work, `availability` says whether this machine can.
"""
