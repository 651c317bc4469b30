"""What users would pick instead, each in an environment of its own (`make peers`) and a process of its own.

A peer is a module here with functions that answer a benchmark's calls; `server` lets it answer, `client` asks. The
peers import neither medjax nor JAX.
"""
