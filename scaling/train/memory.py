"""What memory a step needs, what is said when there was too little or the device is lost, and how it is given back."""

from __future__ import annotations

import ctypes
import errno
import gc
import math
import re
import sys
from typing import TYPE_CHECKING

import torch

from scaling.data.subsets import run_images
from scaling.models.cost import training_memory
from scaling.records import ResultsStore, run_record
from scaling.specs.horizon import steps_per_epoch
from scaling.specs.objective import objective_spec

if TYPE_CHECKING:
    from scaling.data.images import ImageData
    from scaling.specs.run import RunSpec
    from scaling.storage import Storage

GIB = 2**30
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


def largest_batch(run: RunSpec, n_samples: int) -> int:
    """Images of the largest global batch."""
    spec = run.training.for_samples(n_samples)
    if spec.order == "nested":
        return min(n_samples, spec.batch_size)
    return math.ceil(n_samples / steps_per_epoch(n_samples, spec.batch_size))


def images_at_once(run: RunSpec, n_samples: int) -> int:
    """Images, views counted, of a worker's largest pass: its share of a batch, or a micro-batch of it."""
    share = math.ceil(largest_batch(run, n_samples) / run.resources.least_workers)
    if run.resources.micro_batch is not None:
        share = math.ceil(share / math.ceil(share / run.resources.micro_batch))
    return share * objective_spec(run.objective).views


def step_memory(run: RunSpec, image_size: int, n_classes: int, n_samples: int) -> int:
    """Bytes that a step needs on one worker, see `models.cost.training_memory`."""
    images = images_at_once(run, n_samples)
    return training_memory(run.model, image_size, n_classes, images, run.training.optimizer)


def out_of_memory_reason(run: RunSpec, n_samples: int, estimate: int, error: BaseException) -> str:
    """The estimate, what the allocator said and the remedy, on one line."""
    images = images_at_once(run, n_samples)
    said = " ".join(str(error).split())[:300] or type(error).__name__
    return (
        f"out of memory: a step of {images:,} images on a worker needs about {estimate / GIB:.2f} GiB for weights, "
        f"gradients, optimizer and activations ({said}); set resources.micro_batch below {images:,}, add workers, or "
        "lower training.batch_size"
    )


def record_out_of_memory(run: RunSpec, data: ImageData, storage: Storage, error: BaseException) -> None:
    """The run's record once its memory ran out: the estimate, what the allocator said, the remedy."""
    n_samples = len(run_images(data.train.labels, run)[0])
    estimate = step_memory(run, data.image_size, data.n_classes, n_samples)
    reason = out_of_memory_reason(run, n_samples, estimate, error)
    ResultsStore(storage).write_run(run_record(run, "out_of_memory", reason, n_samples=n_samples))


def release_memory() -> None:
    """Give back what a run that has ended held, in a process that goes on to another: call it between runs.

    Whoever held the run's generator, its exceptions or its tracebacks lets go of them first. What is in reference
    cycles is collected, compiled code is dropped (else later models would meet torch's limit of recompilations), and
    the GPU's and the C library's free blocks go back to the device and the system, for the other processes there.
    """
    if "torch._dynamo" in sys.modules:
        torch.compiler.reset()
    gc.collect()
    if not gc.get_freeze_count():
        gc.freeze()  # what outlives a run (modules, caches) is not gone through again: .25 s a collection
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    _trim_heap()


def _trim_heap() -> None:
    """glibc keeps freed memory for itself; other C libraries have no such function."""
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)


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
    return DEVICE_MESSAGES.search(text) is not None and REFUSED_CALLS.search(text.partition("\n")[0]) is None
