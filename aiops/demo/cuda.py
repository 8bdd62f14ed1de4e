"""
Memory of a real card through the CUDA driver, without a library beside it: a context, allocations, their return.

Nothing is computed; only memory is held. A call may hang when the driver is sick, so the first calls of a demo are
made by a child with a deadline (`cuda_probe`).
"""

from __future__ import annotations

import ctypes
import uuid
from collections.abc import Sequence
from typing import Any

LIBRARY = "libcuda.so.1"
_OUT_OF_MEMORY = 2
_INTEGRATED, _COMPUTE_MODE = 18, 20
"""Numbers of CUdevice_attribute."""
_MIB = 2**20


class CudaError(Exception):
    """The driver refused a call."""

    def __init__(self, call: str, code: int) -> None:
        super().__init__(f"{call} failed with CUDA error {code}")


class OutOfDeviceMemory(CudaError):
    """CUDA_ERROR_OUT_OF_MEMORY: the card has not that much free."""


class Driver:
    """
    The loaded and initialised library.

    Args:
        library: Its name, looked for as the system does.

    Raises:
        OSError: there is none.
        CudaError: it does not start.
    """

    def __init__(self, library: str = LIBRARY) -> None:
        self._library = ctypes.CDLL(library)
        self.call("cuInit", ctypes.c_uint(0))

    def call(self, name: str, *arguments: Any) -> None:
        """
        Call function *name*.

        Raises:
            CudaError: it failed, or this driver is too old to have it.
        """
        try:
            function = getattr(self._library, name)
        except AttributeError as error:
            raise CudaError(name, 500) from error  # CUDA_ERROR_NOT_FOUND
        if code := function(*arguments):
            raise OutOfDeviceMemory(name, code) if code == _OUT_OF_MEMORY else CudaError(name, code)

    def devices(self) -> Sequence[tuple[str, int]]:
        """UUID, spelled as NVML does, and handle of each device; a slice of a card (MIG) has a UUID of its own."""
        count = ctypes.c_int()
        self.call("cuDeviceGetCount", ctypes.byref(count))
        found: list[tuple[str, int]] = []
        for ordinal in range(count.value):
            device, name = ctypes.c_int(), (ctypes.c_ubyte * 16)()
            self.call("cuDeviceGet", ctypes.byref(device), ctypes.c_int(ordinal))
            self.call("cuDeviceGetUuid_v2", name, device)
            found.append((f"GPU-{uuid.UUID(bytes=bytes(name))}", device.value))
        return found

    def shares_host_memory(self, device: int) -> bool:
        """Whether the card has no memory of its own."""
        return bool(self._attribute(_INTEGRATED, device))

    def admits_several(self, device: int) -> bool:
        """Whether more than one process may use the card at a time."""
        return self._attribute(_COMPUTE_MODE, device) == 0

    def _attribute(self, number: int, device: int) -> int:
        value = ctypes.c_int()
        self.call("cuDeviceGetAttribute", ctypes.byref(value), ctypes.c_int(number), ctypes.c_int(device))
        return value.value


class CudaCard:
    """This process's context on one card, made current for this thread. Use `open`."""

    def __init__(self, driver: Driver, device: int) -> None:
        self._driver, self._device = driver, ctypes.c_int(device)
        context = ctypes.c_void_p()
        driver.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), self._device)
        driver.call("cuCtxSetCurrent", context)

    @classmethod
    def open(cls, name: str) -> CudaCard:
        """
        The card with the UUID *name*.

        Raises:
            OSError: there is no driver.
            CudaError: it refuses.
            LookupError: it shows no such card.
        """
        driver = Driver()
        return cls(driver, dict(driver.devices())[name])

    def room_mib(self) -> tuple[float, float]:
        """Free memory and all of it."""
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self._driver.call("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
        return free.value / _MIB, total.value / _MIB

    def alloc(self, mib: float) -> int:
        """
        A pointer to *mib* of new memory.

        Raises:
            OutOfDeviceMemory: there is not that much free.
            CudaError: it failed otherwise.
        """
        pointer = ctypes.c_uint64()
        self._driver.call("cuMemAlloc_v2", ctypes.byref(pointer), ctypes.c_size_t(int(mib * _MIB)))
        return pointer.value

    def free(self, pointer: int) -> None:
        """Give back what `alloc` took."""
        self._driver.call("cuMemFree_v2", ctypes.c_uint64(pointer))

    def close(self) -> None:
        """End the context; its memory is free again."""
        self._driver.call("cuDevicePrimaryCtxRelease_v2", self._device)
