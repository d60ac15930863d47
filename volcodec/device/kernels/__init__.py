"""Triton kernels of the device path: what :mod:`volcodec.device` launches, and nothing else.

Each gives exactly the integers that the processor's kernels give; docs/format.md says which these
are. Arrays have the tiles of a batch along their first axis. Every load is within its array,
whatever the streams say: what is read from them is masked or clipped before it is an index.
"""
