"""What exceptions say of a device, by the messages that PyTorch and what it calls have."""

from __future__ import annotations

import errno

import pytest
import torch

from scaling.train.memory import is_out_of_memory, ruins_device

ASYNC = (
    "\nCUDA kernel errors might be asynchronously reported at some other API call, so the stacktrace below might be "
    "incorrect.\nFor debugging consider passing CUDA_LAUNCH_BLOCKING=1\n"
    "Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.\n"
)
ENFORCE = "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: "
MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
    MemoryError(),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
    *map(
        RuntimeError,
        (
            "CUDA error: out of memory" + ASYNC,
            "CUDA driver error: out of memory",
            "CUDA out of memory. Tried to allocate 2.00 MiB (GPU 0; 7.93 GiB total capacity)",
            "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
            "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
            "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
            "cusolver error: CUSOLVER_STATUS_ALLOC_FAILED, when calling `cusolverDnCreate(handle)`",
            "cuFFT error: CUFFT_ALLOC_FAILED",
            "HIP out of memory. Tried to allocate 1.00 GiB",
            "HIP error: out of memory",
            "HIP error: hipErrorOutOfMemory",
            "CUDA error: HIPBLAS_STATUS_ALLOC_FAILED when calling `hipblasCreate(handle)`",
            "miopenStatusAllocFailed",
            "MPS backend out of memory (MPS allocated: 17.92 GB, other allocations: 206.55 MB, max allowed: 18.13 GB)",
            "XPU out of memory. Tried to allocate 4.00 GiB",
            "Native API failed. Native API returns: 39 (UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY)",
            "NCCL error in: ProcessGroupNCCL.cpp:1, unhandled cuda error, NCCL version 2.21.5\n"
            "ncclUnhandledCudaError: Call to CUDA function failed.\nLast error:\n"
            "Failed to CUDA calloc async 4 bytes: Cuda failure 2 'out of memory'",
            ENFORCE + "can't allocate memory: you tried to allocate 8589934592 bytes. Error code 12",
            "[enforce fail at ..\\alloc_cpu.cpp:72] data. DefaultCPUAllocator: not enough memory: you tried",
            "unable to mmap 1048576 bytes from file <filename not specified>: Cannot allocate memory (12)",
            "std::bad_alloc",
        ),
    ),
]
RUINED = [
    "CUDA error: device-side assert triggered" + ASYNC,
    "CUDA error: an illegal memory access was encountered" + ASYNC,
    "CUDA error: unspecified launch failure",
    "CUDA error: uncorrectable ECC error encountered",
    "CUDA error: misaligned address",
    "CUDA error: an illegal instruction was encountered",
    "CUDA error: the launch timed out and was terminated",
    "CUDA error: unknown error",
    "CUDA driver error: an illegal memory access was encountered",
    "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm( handle, opa, opb, m, n, k)`",
    "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
    "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED",
    "cuDNN error: CUDNN_STATUS_NOT_INITIALIZED",
    "HIP error: unspecified launch failure",
    "NCCL error: unhandled cuda error, Cuda failure 'an illegal memory access was encountered'",
]
USABLE = [
    "mat1 and mat2 shapes cannot be multiplied",
    "CUDA error: invalid device ordinal" + ASYNC,
    "CUDA error: no kernel image is available for execution on the device",
    "CUDA error: invalid configuration argument",
    "cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. This error may appear if you passed in a non-contiguous input.",
    "CUDA error: CUBLAS_STATUS_INVALID_VALUE when calling `cublasSgemm`",
    "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!",
    "PyTorch is not linked with support for cuda devices",
    "the cuda errors of the past are mentioned here",
    "out of resource: shared memory, Required: 262144, Hardware limit: 232448",
]


@pytest.mark.parametrize("error", MEMORY, ids=lambda error: (str(error) or type(error).__name__)[:40])
def test_memory_that_ran_out_is_told_and_leaves_the_device(error):
    assert is_out_of_memory(error)
    assert not ruins_device(error)


@pytest.mark.parametrize("message", RUINED)
def test_what_ruins_a_device_is_told_from_memory(message):
    kinds = [RuntimeError, getattr(torch, "AcceleratorError", RuntimeError)]
    for error in (kind(message) for kind in kinds):
        assert ruins_device(error)
        assert not is_out_of_memory(error)


@pytest.mark.parametrize("message", USABLE)
def test_other_faults_are_a_runs_own(message):
    assert not ruins_device(RuntimeError(message))
    assert not is_out_of_memory(RuntimeError(message))


def test_what_only_sounds_alike_is_neither():
    for error in (
        ValueError("can't allocate memory"),
        KeyError("CUDA error: device-side assert triggered"),
        OSError(2, ""),
    ):
        assert not is_out_of_memory(error)
        assert not ruins_device(error)
