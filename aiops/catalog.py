"""
Every metric this program knows: name, kind, unit, labels, help and where the value comes from.

Names are OpenTelemetry's in Prometheus spelling where OpenTelemetry has one; otherwise ours, in the same grammar. A
collector may only emit names that stand here; rules and causes may only cite them; docs/metrics.md is generated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class MetricKind(StrEnum):
    """How values of a metric follow one another."""

    GAUGE = "gauge"
    COUNTER = "counter"
    """A running total that only falls when its source restarts."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One line of the catalogue."""

    name: str
    kind: MetricKind
    unit: str
    labels: tuple[str, ...]
    help: str
    source: str


_G, _C = MetricKind.GAUGE, MetricKind.COUNTER
_HOST = ("host_name",)
_GPU = ("host_name", "hw_id", "gpu")
_SERVER = ("host_name", "instance", "model", "server")
_GATEWAY = ("host_name", "service")

_METRICS = (
    # host: /proc and /sys
    Metric("system_cpu_utilization_ratio", _G, "ratio", _HOST, "Share of CPU time not idle.", "/proc/stat"),
    Metric("system_cpu_steal_ratio", _G, "ratio", _HOST, "Share of CPU time taken by the hypervisor.", "/proc/stat"),
    Metric("system_cpu_iowait_ratio", _G, "ratio", _HOST, "Share of CPU time idle with disk I/O pending.", "/proc/stat"),
    Metric("system_cpu_load_average_1m", _G, "tasks", _HOST, "Runnable and blocked tasks, one-minute average.", "/proc/loadavg"),
    Metric("system_cpu_logical_count", _G, "cpus", _HOST, "Logical CPUs online.", "/proc/stat"),
    Metric("system_memory_utilization_ratio", _G, "ratio", _HOST, "1 - available / total.", "/proc/meminfo"),
    Metric("system_memory_available_bytes", _G, "bytes", _HOST, "Memory that can be taken without swapping.", "/proc/meminfo"),
    Metric("system_memory_limit_bytes", _G, "bytes", _HOST, "Memory in all.", "/proc/meminfo"),
    Metric("system_memory_oom_kills_total", _C, "kills", _HOST, "Processes killed for want of memory.", "/proc/vmstat"),
    Metric("system_pressure_stalled_ratio", _G, "ratio", ("host_name", "resource", "share"), "Share of time some or all tasks waited for cpu, memory or io.", "/proc/pressure"),
    Metric("system_disk_operations_per_second", _G, "operations", ("host_name", "device", "direction"), "Completed reads or writes a second.", "/proc/diskstats"),
    Metric("system_disk_await_seconds", _G, "seconds", ("host_name", "device"), "Mean time an I/O took, queueing included.", "/proc/diskstats"),
    Metric("system_disk_utilization_ratio", _G, "ratio", ("host_name", "device"), "Share of time with I/O in flight; overstates parallel devices.", "/proc/diskstats"),
    Metric("system_filesystem_utilization_ratio", _G, "ratio", ("host_name", "mountpoint"), "Share of a file system's space in use.", "statvfs"),
    Metric("system_network_receive_bytes_per_second", _G, "bytes", ("host_name", "device"), "Bytes received a second.", "/proc/net/dev"),
    Metric("system_network_transmit_bytes_per_second", _G, "bytes", ("host_name", "device"), "Bytes sent a second.", "/proc/net/dev"),
    Metric("system_network_utilization_ratio", _G, "ratio", ("host_name", "device"), "Busier direction over the link's speed; absent when the speed is unknown.", "/sys/class/net"),
    Metric("system_network_tcp_retransmit_ratio", _G, "ratio", _HOST, "Retransmitted over sent segments; absent under 100 segments.", "/proc/net/snmp"),
    Metric("system_network_tcp_listen_drops_per_second", _G, "connections", _HOST, "Connections dropped at full listen queues.", "/proc/net/netstat"),
    # GPU: NVML or a dcgm-exporter page
    Metric("hw_gpu_up", _G, "bool", _GPU, "1 when the card answers, 0 when it is lost.", "NVML"),
    Metric("hw_gpu_driver_responding", _G, "bool", _HOST, "1 when the last NVML round ended in time, 0 when it hung.", "aiops"),
    Metric("hw_gpu_count", _G, "gpus", _HOST, "Cards that answer.", "NVML"),
    Metric("hw_gpu_utilization_ratio", _G, "ratio", _GPU, "Share of time a kernel ran.", "NVML utilization.gpu"),
    Metric("hw_gpu_memory_controller_utilization_ratio", _G, "ratio", _GPU, "Share of time the memory controller was busy (NVML's \"memory utilization\").", "NVML utilization.memory"),
    Metric("hw_gpu_memory_usage_bytes", _G, "bytes", _GPU, "VRAM in use.", "NVML memory v2"),
    Metric("hw_gpu_memory_limit_bytes", _G, "bytes", _GPU, "VRAM usable: total less reserved.", "NVML memory v2"),
    Metric("hw_gpu_memory_utilization_ratio", _G, "ratio", _GPU, "VRAM used over limit.", "NVML memory v2"),
    Metric("hw_gpu_process_memory_usage_bytes", _G, "bytes", (*_GPU, "pid", "process"), "VRAM one process holds.", "NVML compute processes"),
    Metric("hw_gpu_process_port", _G, "info", (*_GPU, "port"), "1; a TCP port on which a process that holds VRAM of the card listens, or one it descends from.", "NVML compute processes, /proc"),
    Metric("hw_temperature_celsius", _G, "celsius", _GPU, "Core temperature.", "NVML temperature"),
    Metric("hw_temperature_limit_celsius", _G, "celsius", _GPU, "The card's own slowdown temperature.", "NVML temperature threshold"),
    Metric("hw_power_watts", _G, "watts", _GPU, "Power drawn.", "NVML power"),
    Metric("hw_power_limit_watts", _G, "watts", _GPU, "Enforced power limit.", "NVML power limit"),
    Metric("hw_gpu_clock_hertz", _G, "hertz", _GPU, "SM clock.", "NVML clock"),
    Metric("hw_gpu_throttled_ratio", _G, "ratio", (*_GPU, "reason"), "1 while clocks are cut for *reason*: thermal, power, hardware.", "NVML clocks event reasons"),
    Metric("hw_errors_total", _C, "errors", (*_GPU, "error_type"), "Uncorrected or corrected memory errors.", "NVML ECC"),
    # inference servers: their own pages, each with its alias table
    Metric("gen_ai_server_up", _G, "bool", _SERVER, "1 when the page was read, 0 when it could not be.", "scrape"),
    Metric("gen_ai_server_info", _G, "info", (*_SERVER, "version"), "1; the version the server says it is.", "page"),
    Metric("gen_ai_server_start_time_seconds", _G, "seconds", _SERVER, "When the process started, epoch.", "process_start_time_seconds"),
    Metric("gen_ai_server_gpu", _G, "info", ("host_name", "instance", "gpu"), "1; the card a server runs on, where the settings say so.", "settings"),
    Metric("gen_ai_server_requests_running", _G, "requests", _SERVER, "Requests in the batch.", "page"),
    Metric("gen_ai_server_requests_waiting", _G, "requests", _SERVER, "Requests queued in the engine.", "page"),
    Metric("gen_ai_server_kv_cache_utilization_ratio", _G, "ratio", _SERVER, "Share of KV blocks in use.", "page"),
    Metric("gen_ai_server_kv_cache_blocks", _G, "blocks", _SERVER, "KV blocks in all.", "page"),
    Metric("gen_ai_server_preemptions_total", _C, "requests", _SERVER, "Requests put back for want of KV blocks.", "page"),
    Metric("gen_ai_server_requests_finished_total", _C, "requests", _SERVER, "Requests finished.", "page"),
    Metric("gen_ai_server_requests_rejected_total", _C, "requests", _SERVER, "Requests refused at admission.", "page"),
    Metric("gen_ai_server_prompt_tokens_total", _C, "tokens", _SERVER, "Prompt tokens taken in.", "page"),
    Metric("gen_ai_server_prompt_tokens_cached_total", _C, "tokens", _SERVER, "Prompt tokens answered by the prefix cache.", "page"),
    Metric("gen_ai_server_generation_tokens_total", _C, "tokens", _SERVER, "Tokens generated.", "page"),
    Metric("gen_ai_server_time_to_first_token_seconds_sum", _C, "seconds", _SERVER, "Summed time to first token.", "page"),
    Metric("gen_ai_server_time_to_first_token_seconds_count", _C, "requests", _SERVER, "Requests with a first token.", "page"),
    Metric("gen_ai_server_time_to_first_token_p99_seconds", _G, "seconds", _SERVER, "P99 time to first token since the last reading, interpolated in the server's own buckets.", "page"),
    Metric("gen_ai_server_time_per_output_token_seconds_sum", _C, "seconds", _SERVER, "Summed time between output tokens.", "page"),
    Metric("gen_ai_server_time_per_output_token_seconds_count", _C, "tokens", _SERVER, "Output tokens after the first.", "page"),
    Metric("db_client_connection_count", _G, "connections", (*_SERVER, "pool", "state"), "Connections of a pool, state used or idle.", "page"),
    Metric("db_client_connection_max", _G, "connections", (*_SERVER, "pool"), "Connections a pool may open.", "page"),
    Metric("db_client_connection_pending_requests", _G, "requests", (*_SERVER, "pool"), "Callers waiting for a connection.", "page"),
    Metric("db_client_connection_timeouts_total", _C, "timeouts", (*_SERVER, "pool"), "Callers that waited in vain.", "page"),
    # the gateway's access log
    Metric("http_server_requests_total", _C, "requests", (*_GATEWAY, "outcome", "answered_by", "upstream"), "Answers by completion time; probes left out. outcome: ok, 4xx, 503, 5xx, 429, 499, truncated, stalled; answered_by: gateway, upstream.", "access log"),
    Metric("http_server_arrival_rate", _G, "requests", _GATEWAY, "First attempts that arrived in the one-second bucket starting at the sample's time; revised as long requests complete.", "access log"),
    Metric("http_server_retry_rate", _G, "requests", _GATEWAY, "Known retries that arrived in the one-second bucket; revised likewise.", "access log"),
    Metric("http_server_time_to_first_byte_seconds", _G, "seconds", (*_GATEWAY, "upstream", "quantile"), "Upstream header time of the last window's good answers; quantile 0.5 or 0.99.", "access log"),
    Metric("http_server_request_duration_seconds", _G, "seconds", (*_GATEWAY, "upstream", "quantile"), "Whole-request time of the last window's good answers; quantile 0.5 or 0.99.", "access log"),
    Metric("http_server_log_up", _G, "bool", _GATEWAY, "1 while the access log is being read.", "aiops"),
    # logs
    Metric("log_source_up", _G, "bool", ("host_name", "source", "instance"), "1 while a log is being followed.", "aiops"),
    Metric("log_records_total", _C, "lines", ("host_name", "source", "instance", "log_class", "gpu"), "Lines per log class; gpu only where the line names one.", "logs"),
    Metric("log_template_records_total", _C, "lines", ("host_name", "source", "template_id", "log_class", "severity"), "Lines per template, of templates that speak of trouble or were new when they came; template_id others counts those beyond the first 100.", "logs"),
    Metric("log_lines_read_total", _C, "lines", ("host_name", "source"), "Physical lines read of a log file or of standard input, those left out as binary included.", "aiops"),
    Metric("log_lines_skipped_total", _C, "lines", ("host_name", "source", "reason"), "Lines of a log that could not be used: malformed, oversize (read to 64 KiB), future, too_old, binary, flood (too many at once; read and skipped add up to written), overwritten; backlog and rotated_away count occasions.", "aiops"),
    # business
    Metric("business_success_ratio", _G, "ratio", ("service",), "API success rate as the business sees it.", "pushed"),
    Metric("business_complaint_ratio", _G, "ratio", ("service",), "Complaints over users.", "pushed"),
    # this program; its other counters are on /metrics only
    Metric("aiops_collector_up", _G, "bool", ("collector",), "1 when the collector's last run succeeded.", "aiops"),
)  # fmt: skip


def _by_name() -> Mapping[str, Metric]:
    table: dict[str, Metric] = {}
    for metric in _METRICS:
        if metric.name in table:
            message = f"two catalogue lines for {metric.name}"
            raise ValueError(message)
        table[metric.name] = metric
    return MappingProxyType(table)


CATALOG: Mapping[str, Metric] = _by_name()
"""Every metric by name."""
