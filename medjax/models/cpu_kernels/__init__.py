"""Loops compiled by LLVM where XLA:CPU is slow, each with its library twin."""
