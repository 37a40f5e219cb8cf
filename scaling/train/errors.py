"""What an exception says of the device: that its memory ran out, or that nothing more can be computed on it."""

from __future__ import annotations

import errno
import re

import torch

# In RuntimeErrors, lower case. Source: PyTorch's allocators and error macros (c10/core/impl/alloc_cpu.cpp,
# c10/cuda/CUDAException.h, aten/src/ATen/cuda/Exceptions.h, aten/src/ATen/mps/MPSAllocator.mm), NVIDIA's and AMD's
# names of status codes (cuBLAS, cuDNN 9 and others, which allocate beside PyTorch's allocator), NCCL's "Cuda failure 2
# 'out of memory'" and SYCL's; Lightning's is_oom_error and torchtnt.utils.oom have some of them.
# Left out: CUDNN_STATUS_NOT_INITIALIZED, CUBLAS_STATUS_NOT_INITIALIZED and INTERNAL_ERROR, which too little memory may
# cause, and a wrong driver or an earlier fault as well: "use smaller batches" would mislead.
MEMORY_MESSAGES = (
    "out of memory",  # CUDA, HIP, MPS and XPU; "CUDA error: out of memory", "CUDA driver error: out of memory"
    "outofmemory",  # hipErrorOutOfMemory
    "memoryallocation",  # cudaErrorMemoryAllocation
    "alloc_failed",  # CUBLAS_STATUS_, CUDNN_STATUS_, CUSOLVER_STATUS_, CUSPARSE_STATUS_, HIPBLAS_STATUS_, CUFFT_
    "allocation_failed",  # CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ and _HOST_
    "allocfailed",  # miopenStatusAllocFailed
    "out_of_device_memory",
    "out_of_host_memory",
    "out_of_resources",  # UR_RESULT_ERROR_OUT_OF_RESOURCES
    "can't allocate memory",  # DefaultCPUAllocator
    "cannot allocate memory",  # ENOMEM, as mmap's
    "not enough memory",  # DefaultCPUAllocator on Windows
    "std::bad_alloc",
)
DEVICE_MESSAGES = re.compile(
    r"\b(cuda|hip)( driver)? error\b|\b(cudnn|cublas|miopen|cusolver|cusparse|cufft)(_| error)|"
    r"cuda failure|unhandled cuda error|hiperror|device-side assert|uncorrectable ecc|unspecified launch failure|"
    r"illegal (memory access|instruction)|misaligned address"
)
# A call that was refused before it reached the device leaves it usable. All else does not, or may not: of a fault in a
# kernel the CUDA Runtime API says that the process must be terminated and relaunched (cudaErrorIllegalAddress,
# cudaErrorAssert, cudaErrorLaunchFailure, cudaErrorECCUncorrectable, ...).
REFUSED_CALLS = re.compile(
    r"invalid (argument|value|device ordinal|device function|configuration argument|resource handle|device symbol)|"
    r"no kernel image|too many resources requested|not supported|peer access|no cuda-capable device|"
    r"driver version is insufficient|unsupported toolchain|_(not_supported|invalid_value|bad_param|arch_mismatch)"
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, on a GPU or in the process."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(text in str(error).lower() for text in MEMORY_MESSAGES)


def ruins_device(error: BaseException) -> bool:
    """Whether an exception leaves the process without a device that it can compute on, whatever it does next.

    After a fault within a kernel (an assertion, an illegal address, an uncorrectable bit) every later CUDA call of the
    process fails as well: its other runs would fail with it, and only a new process can go on. An unknown error of the
    device counts as one. Memory that ran out does not, nor a call that was refused.
    """
    if is_out_of_memory(error) or not isinstance(error, RuntimeError):
        return False
    text = str(error).lower()
    return DEVICE_MESSAGES.search(text) is not None and REFUSED_CALLS.search(text) is None
