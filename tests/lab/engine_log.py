"""A model server's log as vLLM or SGLang writes it: prefixes, access lines, tracebacks line by line."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar

from aiops.demo.card import Room
from aiops.demo.server_log import ServerLog

Frame = tuple[str, int, str, str]
"""File, line, function and source line of a traceback."""


class EngineLog(ServerLog):
    """
    The log of one server.

    Args:
        path: Appended to.
    """

    step_frames: ClassVar[Sequence[Frame]] = ()
    """Of the engine's loop, down to the model's forward pass."""

    def from_engine(self, level: str, place: str, text: str) -> None:
        """What the engine process says; every line of *text* by itself."""
        raise NotImplementedError

    def access(self, peer: str, method: str, path: str, status: str) -> None:
        """One answer, as uvicorn logs it."""
        raise NotImplementedError

    def refused(self, request_id: str, limit: int) -> None:
        """The queue is full."""
        raise NotImplementedError

    def died(self, last: str, frames: Sequence[Frame] = ()) -> None:
        """The engine ended with an exception, whose last line is *last*."""
        raise NotImplementedError

    def failed(self, request_id: str, last: str, frames: Sequence[Frame] = ()) -> None:
        """One request failed with an exception."""
        raise NotImplementedError

    def not_started(self, last: str, frames: Sequence[Frame] = ()) -> None:
        """The engine could not be set up."""
        raise NotImplementedError

    def loaded(self, seconds: float, size: int) -> None:
        """The weights, of so many bytes, were read."""
        raise NotImplementedError

    def compiled(self, seconds: float) -> None:
        """Kernels are ready."""
        raise NotImplementedError

    def allocated(self, tokens: int) -> None:
        """The KV cache has its memory."""
        raise NotImplementedError

    def no_room(self, gpu: int, room: Room, share: float) -> str:
        """The last line of the traceback of an engine that wants *share* of a card, which has only *room*."""
        raise NotImplementedError

    def told_to_end(self) -> None:
        """A signal asks the server to end."""
        raise NotImplementedError

    def write(self, lines: Iterable[str]) -> None:
        """Append *lines* as they are."""
        self._file.write("".join(f"{line}\n" for line in lines))


def traceback(frames: Sequence[Frame], last: str) -> list[str]:
    """A traceback as Python prints it."""
    lines = ["Traceback (most recent call last):"]
    for file, number, function, source in frames:
        lines += [f'  File "{file}", line {number}, in {function}', f"    {source}"]
    return [*lines, *last.splitlines()]


def _uvicorn_ends() -> Sequence[str]:
    """What uvicorn says when a signal asks it to end."""
    pid = os.getpid()
    ends = "Shutting down", "Waiting for application shutdown.", "Application shutdown complete."
    return *ends, f"Finished server process [{pid}]"


_VLLM = "/usr/local/lib/python3.12/dist-packages/vllm"


class VllmLog(EngineLog):
    """As vLLM's V1 engine writes it, API server and engine core in one stream."""

    step_frames = (
        (f"{_VLLM}/v1/engine/core.py", 1121, "run_engine_core", "engine_core.run_busy_loop()"),
        (f"{_VLLM}/v1/engine/core.py", 1160, "_process_engine_step", "outputs, model_executed = self.step_fn()"),
        (f"{_VLLM}/v1/engine/core.py", 402, "step", "model_output = future.result()"),
        (f"{_VLLM}/v1/worker/gpu_model_runner.py", 3210, "execute_model", "model_output = self._model_forward("),
    )

    def from_engine(self, level: str, place: str, text: str) -> None:
        self.write(f"(EngineCore pid={os.getpid()}) {self._head(level, place)} {line}" for line in text.splitlines())

    def access(self, peer: str, method: str, path: str, status: str) -> None:
        self.write([f'(APIServer pid={os.getpid()}) INFO:     {peer} - "{method} {path} HTTP/1.1" {status}'])

    def refused(self, request_id: str, limit: int) -> None:
        self.warning("async_llm.py:301", f"Request {request_id} rejected: the engine is currently busy, "
                     f"queue holds max_num_queued_reqs={limit}")  # fmt: skip

    def died(self, last: str, frames: Sequence[Frame] = ()) -> None:
        place = "core.py:1131"
        self.from_engine("ERROR", place, "EngineCore encountered a fatal error.")
        self.from_engine("ERROR", place, "\n".join(traceback([*self.step_frames, *frames], last)))
        dead = (
            "vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue. "
            "See stack trace (above) for the root cause."
        )
        self.error("async_llm.py:708", "AsyncLLM output_handler failed.")
        self.error("async_llm.py:708", dead)

    def failed(self, request_id: str, last: str, frames: Sequence[Frame] = ()) -> None:
        self.error("serving.py:1173", f"Error in preprocessing or executing request {request_id}")
        self.error("serving.py:1173", "\n".join(traceback(frames or self.step_frames, last)))

    def not_started(self, last: str, frames: Sequence[Frame] = ()) -> None:
        self.from_engine("ERROR", "core.py:1122", "EngineCore failed to start.")
        self.from_engine("ERROR", "core.py:1122", "\n".join(traceback(frames, last)))
        head = f"(APIServer pid={os.getpid()})"
        self.write([f"{head} RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {{}}"])  # fmt: skip

    def loaded(self, seconds: float, size: int) -> None:
        self.from_engine("INFO", "default_loader.py:314", f"Loading weights took {seconds:.2f} seconds ({size} bytes)")

    def compiled(self, seconds: float) -> None:
        self.from_engine("INFO", "monitor.py:34", f"torch.compile takes {seconds:.2f} s in total")

    def allocated(self, tokens: int) -> None:
        self.from_engine("INFO", "kv_cache_utils.py:1578", f"GPU KV cache size: {tokens:,} tokens")

    def no_room(self, gpu: int, room: Room, share: float) -> str:
        return (
            f"ValueError: Free memory on device cuda:{gpu} ({room.free / 1024:.2f}/{room.total / 1024:.2f} GiB) on startup is "
            f"less than desired GPU memory utilization ({share}, {room.total * share / 1024:.2f} GiB). Decrease GPU memory "
            "utilization or reduce GPU memory used by other processes."
        )

    def told_to_end(self) -> None:
        self.info("launcher.py:110", "Shutting down FastAPI HTTP server.")
        self.write(f"(APIServer pid={os.getpid()}) INFO:     {text}" for text in _uvicorn_ends())

    def _line(self, level: str, place: str, text: str) -> None:
        self.write(f"(APIServer pid={os.getpid()}) {self._head(level, place)} {line}" for line in text.splitlines())

    @staticmethod
    def _head(level: str, place: str) -> str:
        return f"{level} {time.strftime('%m-%d %H:%M:%S')} [{place}]"


_SGLANG = "/sgl-workspace/sglang/python/sglang/srt"
_KEY_BYTES = 65_536
"""Of a token in a model of seven billion weights; its value is as large."""


class SglangLog(EngineLog):
    """As SGLang writes it."""

    step_frames = (
        (f"{_SGLANG}/managers/scheduler.py", 3204, "run_scheduler_process", "scheduler.event_loop_overlap()"),
        (f"{_SGLANG}/managers/scheduler.py", 1105, "event_loop_overlap", "batch_result = self.run_batch(batch)"),
        (f"{_SGLANG}/managers/tp_worker.py", 463, "forward_batch_generation", "out = self.model_runner.forward("),
    )

    def from_engine(self, level: str, place: str, text: str) -> None:
        first, *rest = text.splitlines()
        self.write([f"[{time.strftime('%Y-%m-%d %H:%M:%S')} TP0] {first}", *rest])

    def access(self, peer: str, method: str, path: str, status: str) -> None:
        self._line("INFO", "", f'INFO:     {peer} - "{method} {path} HTTP/1.1" {status}')

    def refused(self, request_id: str, limit: int) -> None:
        self.from_engine("ERROR", "", f"The request queue is full. max_queued_requests={limit}, rid={request_id}")

    def died(self, last: str, frames: Sequence[Frame] = ()) -> None:
        lines = "\n".join(traceback([*self.step_frames, *frames], last))
        self.from_engine("ERROR", "", f"Scheduler hit an exception: {lines}\n")
        self._line("ERROR", "", "Received sigquit from a child process. It usually means the child failed.")

    def failed(self, request_id: str, last: str, frames: Sequence[Frame] = ()) -> None:
        self._line("ERROR", "", f"[http_server] Error: request {request_id}: {last}")

    def not_started(self, last: str, frames: Sequence[Frame] = ()) -> None:
        lines = "\n".join(traceback([*self.step_frames[:1], *frames], last))
        self.from_engine("ERROR", "", f"Scheduler hit an exception: {lines}\n")
        self._line("ERROR", "", "Received sigquit from a child process. It usually means the child failed.")

    def loaded(self, seconds: float, size: int) -> None:
        text = f"Load weight end. elapsed={seconds:.2f} s, type=LlamaForCausalLM, mem usage={size / 2**30:.2f} GB."
        self.from_engine("INFO", "", text)

    def compiled(self, seconds: float) -> None:
        self.from_engine("INFO", "", f"Capture cuda graph end. Time elapsed: {seconds:.2f} s.")

    def allocated(self, tokens: int) -> None:
        keys = f"{tokens * _KEY_BYTES / 2**30:.2f} GB"
        self.from_engine("INFO", "", f"KV Cache is allocated. #tokens: {tokens}, K size: {keys}, V size: {keys}")

    def no_room(self, gpu: int, room: Room, share: float) -> str:
        return (
            "RuntimeError: Not enough memory. Please try to increase --mem-fraction-static. "
            f"Current value: mem_fraction_static={share}"
        )

    def told_to_end(self) -> None:
        self._line("WARNING", "", "SIGTERM received. signum=None frame=None. Draining requests and shutting down...")
        for text in _uvicorn_ends():
            self._line("INFO", "", f"INFO:     {text}")

    def _line(self, level: str, place: str, text: str) -> None:
        self.write([f"[{time.strftime('%Y-%m-%d %H:%M:%S')}] {text}"])


def open_log(dialect: str, path: Path) -> EngineLog:
    """The log at *path* in the words of *dialect*."""
    return VllmLog(path) if dialect == "vllm" else SglangLog(path)
