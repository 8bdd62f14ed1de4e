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
_PROCESS = ("host_name", "instance", "process")
_GPU = ("host_name", "hw_id", "gpu")
_SERVER = ("host_name", "instance", "model", "server")
_GATEWAY = ("host_name", "service")
_PROXY = ("host_name", "instance", "gateway")
_CLUSTER = (*_PROXY, "cluster")
_WORKLOAD = ("host_name", "namespace", "kind", "workload")

_METRICS = (
    # host: /proc and /sys; in brackets: the cause of which it is a signature
    Metric("system_cpu_utilization_ratio", _G, "ratio", _HOST, "Share of CPU time not idle.", "/proc/stat"),
    Metric("system_cpu_mode_ratio", _G, "ratio", (*_HOST, "mode"), "Share of CPU time in mode user, nice, system or interrupt.", "/proc/stat"),
    Metric("system_cpu_steal_ratio", _G, "ratio", _HOST, "Share of CPU time taken by the hypervisor (cpu_saturation).", "/proc/stat"),
    Metric("system_cpu_iowait_ratio", _G, "ratio", _HOST, "Share of CPU time idle with disk I/O pending.", "/proc/stat"),
    Metric("system_cpu_busiest_utilization_ratio", _G, "ratio", _HOST, "Share of time the busiest CPU was not idle: one full CPU hides in the mean of all.", "/proc/stat"),
    Metric("system_cpu_full_cpus", _G, "cpus", _HOST, "CPUs busy at least 95 % of the time.", "/proc/stat"),
    Metric("system_cpu_runnable_tasks", _G, "tasks", _HOST, "Run queue (cpu_saturation): tasks that run or wait for a CPU, without the one that reads this.", "/proc/stat procs_running"),
    Metric("system_blocked_tasks", _G, "tasks", _HOST, "Tasks in uninterruptible sleep, mostly on disk I/O.", "/proc/stat procs_blocked"),
    Metric("system_cpu_load_average_1m", _G, "tasks", _HOST, "Runnable and blocked tasks, one-minute average.", "/proc/loadavg"),
    Metric("system_cpu_logical_count", _G, "cpus", _HOST, "Logical CPUs online.", "/proc/stat"),
    Metric("system_memory_utilization_ratio", _G, "ratio", _HOST, "1 - available / total.", "/proc/meminfo"),
    Metric("system_memory_available_bytes", _G, "bytes", _HOST, "Memory that can be taken without swapping (host_memory_exhaustion).", "/proc/meminfo"),
    Metric("system_memory_limit_bytes", _G, "bytes", _HOST, "Memory in all.", "/proc/meminfo"),
    Metric("system_memory_dirty_bytes", _G, "bytes", _HOST, "Memory that waits to be written to disk.", "/proc/meminfo"),
    Metric("system_memory_writeback_bytes", _G, "bytes", _HOST, "Memory being written to disk.", "/proc/meminfo"),
    Metric("system_memory_hugepages_utilization_ratio", _G, "ratio", _HOST, "Share of reserved huge pages in use; absent without any.", "/proc/meminfo"),
    Metric("system_memory_oom_kills_total", _C, "kills", _HOST, "Processes killed for want of memory anywhere on the machine, in containers and groups of others, too (host_memory_exhaustion); those of a server are process_cgroup_memory_events_total.", "/proc/vmstat oom_kill"),
    Metric("system_memory_program_usage_bytes", _G, "bytes", (*_HOST, "program"), "Resident memory of all processes of a program, of the three that hold most; shared pages count in each; once a minute (host_memory_leak). After 16 different names, new ones are called other.", "/proc/pid/statm"),
    Metric("system_paging_utilization_ratio", _G, "ratio", _HOST, "Share of swap space in use; absent without any.", "/proc/meminfo"),
    Metric("system_paging_operations_per_second", _G, "pages", (*_HOST, "direction"), "Pages swapped in or out a second.", "/proc/vmstat pswpin, pswpout"),
    Metric("system_paging_major_faults_per_second", _G, "faults", _HOST, "Page faults a second that waited for a disk; weights mapped from files cause them too.", "/proc/vmstat pgmajfault"),
    Metric("system_pressure_stalled_ratio", _G, "ratio", (*_HOST, "resource", "share"), "Share of time some or all tasks waited for cpu, memory or io.", "/proc/pressure"),
    Metric("system_disk_operations_per_second", _G, "operations", (*_HOST, "device", "direction"), "Completed reads, writes or discards a second (disk_io_saturation).", "/proc/diskstats"),
    Metric("system_disk_io_bytes_per_second", _G, "bytes", (*_HOST, "device", "direction"), "Bytes read or written a second.", "/proc/diskstats"),
    Metric("system_disk_operation_seconds", _G, "seconds", (*_HOST, "device", "direction"), "Mean time a read or a write took, queueing included; absent without any.", "/proc/diskstats"),
    Metric("system_disk_await_seconds", _G, "seconds", (*_HOST, "device"), "Mean time an I/O took, queueing included (disk_io_saturation).", "/proc/diskstats"),
    Metric("system_disk_flush_seconds", _G, "seconds", (*_HOST, "device"), "Mean time a cache flush took; an fsync waits for one.", "/proc/diskstats"),
    Metric("system_disk_queue_length", _G, "operations", (*_HOST, "device"), "Mean number of I/Os in flight.", "/proc/diskstats"),
    Metric("system_disk_utilization_ratio", _G, "ratio", (*_HOST, "device"), "Share of time with I/O in flight; overstates parallel devices.", "/proc/diskstats"),
    Metric("system_filesystem_utilization_ratio", _G, "ratio", (*_HOST, "mountpoint"), "Share of a file system's space in use (disk_full).", "statvfs"),
    Metric("system_filesystem_free_bytes", _G, "bytes", (*_HOST, "mountpoint"), "Space an ordinary user may still take.", "statvfs"),
    Metric("system_filesystem_inodes_utilization_ratio", _G, "ratio", (*_HOST, "mountpoint"), "Share of a file system's inodes in use (disk_full); absent where their number has no limit.", "statvfs"),
    Metric("system_filesystem_responding", _G, "bool", (*_HOST, "mountpoint"), "1 when the file system answers, 0 while it hangs or is broken, as an NFS mount whose server is dead.", "statvfs"),
    Metric("system_filesystem_read_only", _G, "bool", (*_HOST, "mountpoint"), "1 while a file system that was writable is mounted read-only.", "/proc/self/mounts"),
    Metric("system_network_receive_bytes_per_second", _G, "bytes", (*_HOST, "device"), "Bytes received a second.", "/proc/net/dev"),
    Metric("system_network_transmit_bytes_per_second", _G, "bytes", (*_HOST, "device"), "Bytes sent a second.", "/proc/net/dev"),
    Metric("system_network_utilization_ratio", _G, "ratio", (*_HOST, "device"), "Busier direction over the link's speed (nic_saturation); absent when the speed is unknown.", "/sys/class/net speed"),
    Metric("system_network_errors_per_second", _G, "errors", (*_HOST, "device", "direction"), "Packets a second that were damaged; direction receive or transmit.", "/proc/net/dev"),
    Metric("system_network_dropped_packets_per_second", _G, "packets", (*_HOST, "device", "direction"), "Packets a second the card or its driver dropped; direction receive or transmit.", "/proc/net/dev"),
    Metric("system_network_carrier_changes_total", _C, "changes", (*_HOST, "device"), "Times the link went up or down.", "/sys/class/net carrier_changes"),
    Metric("system_infiniband_port_active", _G, "bool", (*_HOST, "device", "port"), "1 when an InfiniBand or RoCE port is active.", "/sys/class/infiniband state"),
    Metric("system_infiniband_receive_bytes_per_second", _G, "bytes", (*_HOST, "device", "port"), "Bytes received a second.", "/sys/class/infiniband port_rcv_data"),
    Metric("system_infiniband_transmit_bytes_per_second", _G, "bytes", (*_HOST, "device", "port"), "Bytes sent a second.", "/sys/class/infiniband port_xmit_data"),
    Metric("system_infiniband_utilization_ratio", _G, "ratio", (*_HOST, "device", "port"), "Busier direction over the port's rate (nic_saturation).", "/sys/class/infiniband rate"),
    Metric("system_infiniband_errors_total", _C, "errors", (*_HOST, "device", "port", "error_type"), "error_type: symbol, link_recovered, link_downed, receive, transmit_discarded.", "/sys/class/infiniband counters"),
    Metric("system_network_tcp_retransmit_ratio", _G, "ratio", _HOST, "Retransmitted over sent segments (network_retransmits); absent under 100 segments.", "/proc/net/snmp"),
    Metric("system_network_tcp_retransmits_per_second", _G, "segments", _HOST, "Segments sent again a second, SYNs among them; less those, what got lost in connections (network_retransmits).", "/proc/net/snmp RetransSegs"),
    Metric("system_network_tcp_timeouts_per_second", _G, "segments", _HOST, "Segments a second, SYNs among them, whose time ran out before they were acknowledged.", "/proc/net/netstat TCPTimeouts"),
    Metric("system_network_tcp_syn_retransmits_per_second", _G, "segments", _HOST, "SYNs sent again a second: the other end does not answer connects (upstream_unreachable).", "/proc/net/netstat TCPSynRetrans"),
    Metric("system_network_tcp_lost_retransmits_per_second", _G, "segments", _HOST, "Retransmits lost again a second.", "/proc/net/netstat TCPLostRetransmit"),
    Metric("system_network_tcp_resets_per_second", _G, "resets", (*_HOST, "direction"), "Resets a second: sent, or (receive) that ended established connections (keepalive_race).", "/proc/net/snmp OutRsts, EstabResets"),
    Metric("system_network_tcp_connect_failures_per_second", _G, "connections", _HOST, "Connection attempts that failed a second (upstream_unreachable).", "/proc/net/snmp AttemptFails"),
    Metric("system_network_tcp_listen_drops_per_second", _G, "connections", _HOST, "Connections dropped at full listen queues (socket_exhaustion).", "/proc/net/netstat ListenDrops"),
    Metric("system_network_tcp_listen_overflows_per_second", _G, "connections", _HOST, "Those of the drops that found the accept queue full: the server does not accept.", "/proc/net/netstat ListenOverflows"),
    Metric("system_network_tcp_sockets", _G, "sockets", (*_HOST, "state"), "TCP sockets in_use, orphan or in time_wait.", "/proc/net/sockstat"),
    Metric("system_network_tcp_memory_utilization_ratio", _G, "ratio", _HOST, "TCP's buffers over the most they may take (socket_exhaustion).", "/proc/net/sockstat, tcp_mem"),
    Metric("system_network_ephemeral_ports_utilization_ratio", _G, "ratio", _HOST, "An estimate: sockets in use and in time-wait over the range of ephemeral ports. An upper bound, near only where one remote end is talked to (socket_exhaustion).", "/proc/net/sockstat, ip_local_port_range"),
    Metric("system_network_congestion_control_info", _G, "info", (*_HOST, "algorithm"), "1; the congestion control of new connections: a loss-based one suffers most from retransmits.", "tcp_congestion_control"),
    Metric("system_network_qdisc_info", _G, "info", (*_HOST, "qdisc"), "1; the queue that new links get.", "default_qdisc"),
    Metric("system_network_softnet_dropped_per_second", _G, "packets", _HOST, "Packets a second dropped at a CPU's full backlog.", "/proc/net/softnet_stat"),
    Metric("system_network_softnet_squeezed_per_second", _G, "rounds", _HOST, "Times a second that a CPU ended its round of packets before there were no more.", "/proc/net/softnet_stat"),
    Metric("system_network_conntrack_entries", _G, "connections", _HOST, "Tracked connections; absent where none are tracked.", "nf_conntrack_count"),
    Metric("system_network_conntrack_utilization_ratio", _G, "ratio", _HOST, "Tracked connections over the most there may be (socket_exhaustion).", "nf_conntrack_max"),
    Metric("system_open_files", _G, "files", _HOST, "Open files of all processes.", "/proc/sys/fs/file-nr"),
    Metric("system_open_files_utilization_ratio", _G, "ratio", _HOST, "Open files over what the kernel allows (socket_exhaustion).", "/proc/sys/fs/file-nr"),
    # processes of inference servers; process: server, router, engine, worker, detokenizer or child, numbered from the second on
    Metric("process_cpu_usage_cores", _G, "cpus", _PROCESS, "CPU a process takes, in whole CPUs; below half of one it blocks or waits (thread_blocking).", "/proc/pid/stat"),
    Metric("process_busiest_thread_ratio", _G, "ratio", _PROCESS, "CPU of the busiest thread over one core: one full thread (thread_blocking, frontend_cpu). An upper bound, the whole process's CPU, where that is below half a core.", "/proc/pid/task/tid/stat"),
    Metric("process_blocked_threads", _G, "threads", _PROCESS, "Threads in uninterruptible sleep, of the main and the eight busiest ones.", "/proc/pid/task/tid/stat"),
    Metric("process_thread_count", _G, "threads", _PROCESS, "Threads.", "/proc/pid/stat"),
    Metric("process_memory_usage_bytes", _G, "bytes", _PROCESS, "Resident memory.", "/proc/pid/status VmRSS"),
    Metric("process_memory_anonymous_bytes", _G, "bytes", _PROCESS, "Resident memory of its own, without files and shared pages (host_memory_leak).", "/proc/pid/status RssAnon"),
    Metric("process_memory_shared_bytes", _G, "bytes", _PROCESS, "Resident shared memory, counted in each process that has it.", "/proc/pid/status RssShmem"),
    Metric("process_memory_swap_bytes", _G, "bytes", _PROCESS, "Memory of its own that is swapped out.", "/proc/pid/status VmSwap"),
    Metric("process_paging_major_faults_per_second", _G, "faults", _PROCESS, "Page faults a second that waited for a disk; weights mapped from files cause them (cold_start).", "/proc/pid/stat"),
    Metric("process_disk_read_bytes_per_second", _G, "bytes", _PROCESS, "Bytes fetched from storage a second: weights being read (cold_start).", "/proc/pid/io read_bytes"),
    Metric("process_read_bytes_per_second", _G, "bytes", _PROCESS, "Bytes read a second from files and sockets, the page cache included (cold_start).", "/proc/pid/io rchar"),
    Metric("process_context_switches_per_second", _G, "switches", (*_PROCESS, "kind"), "Context switches a second of its main thread, voluntary or involuntary.", "/proc/pid/status"),
    Metric("process_open_files", _G, "files", _PROCESS, "Open files and sockets.", "/proc/pid/fd"),
    Metric("process_open_files_utilization_ratio", _G, "ratio", _PROCESS, "Open files over the soft limit (socket_exhaustion).", "/proc/pid/limits"),
    Metric("process_uptime_seconds", _G, "seconds", _PROCESS, "How long ago the process started (cold_start, engine_crash).", "/proc/pid/stat"),
    Metric("process_restarts_total", _C, "restarts", _PROCESS, "Times another process took this one's place (engine_crash, probe_kill_loop).", "/proc"),
    Metric("process_followed_processes", _G, "processes", (*_HOST, "instance"), "Processes of a server that are followed.", "/proc"),
    Metric("process_cgroup_memory_usage_bytes", _G, "bytes", (*_HOST, "instance"), "Memory charged to the server's control group, page cache included.", "cgroup memory.current"),
    Metric("process_cgroup_memory_limit_bytes", _G, "bytes", (*_HOST, "instance"), "The tightest memory limit above the server (host_memory_exhaustion); absent without one.", "cgroup memory.max"),
    Metric("process_cgroup_memory_high_bytes", _G, "bytes", (*_HOST, "instance"), "Where the kernel begins to slow the group down; absent without one.", "cgroup memory.high"),
    Metric("process_cgroup_memory_utilization_ratio", _G, "ratio", (*_HOST, "instance"), "Memory that cannot be dropped at once (usage less inactive files) over the limit.", "cgroup memory.stat"),
    Metric("process_cgroup_memory_events_total", _C, "events", (*_HOST, "instance", "event"), "Processes of the server's own group that the kernel killed for want of memory (oom_kill); how often the group with the tightest limit ran out (oom), was slowed down (high) or met its limit (max).", "cgroup memory.events, memory.failcnt"),
    Metric("process_cgroup_cpu_limit_cores", _G, "cpus", (*_HOST, "instance"), "The tightest CPU quota above the server, in whole CPUs; absent without one.", "cgroup cpu.max"),
    Metric("process_cgroup_cpu_throttled_ratio", _G, "ratio", (*_HOST, "instance"), "Share of quota periods in which the server's group, or one that a child of it has for itself, was throttled; of the worst (cpu_saturation, frontend_cpu).", "cgroup cpu.stat"),
    Metric("process_cgroup_tasks", _G, "tasks", (*_HOST, "instance"), "Processes and threads in the group.", "cgroup pids.current"),
    Metric("process_cgroup_tasks_utilization_ratio", _G, "ratio", (*_HOST, "instance"), "Processes and threads over the most the group may have.", "cgroup pids.max"),
    Metric("process_cgroup_pressure_stalled_ratio", _G, "ratio", (*_HOST, "instance", "resource", "share"), "Share of time some or all tasks of the server's group waited for cpu, memory or io.", "cgroup *.pressure"),
    # GPU: NVML or a dcgm-exporter page
    Metric("hw_gpu_up", _G, "bool", _GPU, "1 when the card answers, 0 when it is lost.", "NVML"),
    Metric("hw_gpu_driver_responding", _G, "bool", _HOST, "1 when the last NVML round ended in time, 0 when it hung.", "aiops"),
    Metric("hw_gpu_count", _G, "gpus", _HOST, "Cards that answer.", "NVML"),
    Metric("hw_gpus_expected", _G, "gpus", _HOST, "Cards seen since the start of this program: more than answer means that one is gone (gpu_fault).", "NVML"),
    Metric("hw_gpu_utilization_ratio", _G, "ratio", _GPU, "Share of time a kernel ran.", "NVML utilization.gpu"),
    Metric("hw_gpu_memory_controller_utilization_ratio", _G, "ratio", _GPU, "Share of time the memory controller was busy (NVML's \"memory utilization\").", "NVML utilization.memory"),
    Metric("hw_gpu_memory_usage_bytes", _G, "bytes", _GPU, "VRAM in use.", "NVML memory v2"),
    Metric("hw_gpu_memory_limit_bytes", _G, "bytes", _GPU, "VRAM usable: total less reserved.", "NVML memory v2"),
    Metric("hw_gpu_memory_utilization_ratio", _G, "ratio", _GPU, "VRAM used over limit.", "NVML memory v2"),
    Metric("hw_gpu_process_memory_usage_bytes", _G, "bytes", (*_GPU, "pid", "process"), "VRAM one process holds.", "NVML compute processes"),
    Metric("hw_gpu_process_port", _G, "info", (*_GPU, "port"), "1; a TCP port on which a process that holds VRAM of the card listens, or one it descends from.", "NVML compute processes, /proc"),
    Metric("hw_gpu_process_instance", _G, "info", (*_GPU, "instance"), "1; a server one of whose processes holds VRAM of the card, where no port shows it: in a container's network, of another user, a worker of Ray.", "NVML compute processes, /proc"),
    Metric("hw_gpu_mig_enabled", _G, "bool", _GPU, "1 while the card is cut into MIG instances; its utilisation is then absent.", "NVML MIG mode"),
    Metric("hw_gpu_instance_memory_usage_bytes", _G, "bytes", (*_GPU, "gpu_instance"), "VRAM in use of a MIG instance.", "NVML memory v2"),
    Metric("hw_gpu_instance_memory_limit_bytes", _G, "bytes", (*_GPU, "gpu_instance"), "VRAM usable of a MIG instance.", "NVML memory v2"),
    Metric("hw_gpu_instance_memory_utilization_ratio", _G, "ratio", (*_GPU, "gpu_instance"), "VRAM used over limit of a MIG instance (vram_exhaustion).", "NVML memory v2"),
    Metric("hw_temperature_celsius", _G, "celsius", _GPU, "Core temperature.", "NVML temperature"),
    Metric("hw_temperature_limit_celsius", _G, "celsius", _GPU, "The card's own slowdown temperature.", "NVML temperature threshold or margin"),
    Metric("hw_temperature_shutdown_limit_celsius", _G, "celsius", _GPU, "The temperature at which the card turns itself off.", "NVML temperature threshold or margin"),
    Metric("hw_gpu_memory_temperature_celsius", _G, "celsius", _GPU, "Temperature of the card's memory; absent without a sensor.", "NVML field MEMORY_TEMP"),
    Metric("hw_gpu_memory_temperature_limit_celsius", _G, "celsius", _GPU, "The memory's own highest temperature.", "NVML temperature threshold"),
    Metric("hw_power_watts", _G, "watts", _GPU, "Power drawn.", "NVML power"),
    Metric("hw_power_limit_watts", _G, "watts", _GPU, "Enforced power limit.", "NVML power limit"),
    Metric("hw_gpu_clock_hertz", _G, "hertz", _GPU, "SM clock.", "NVML clock"),
    Metric("hw_gpu_clock_limit_hertz", _G, "hertz", _GPU, "The card's highest SM clock: what pace is normalised by (gpu_thermal_throttle).", "NVML max clock"),
    Metric("hw_gpu_memory_clock_hertz", _G, "hertz", _GPU, "Memory clock.", "NVML clock"),
    Metric("hw_gpu_throttled_ratio", _G, "ratio", (*_GPU, "reason"), "1 while clocks are cut for *reason*: thermal, power, hardware; apart: thermal_software, thermal_hardware, power_cap, power_brake.", "NVML clocks event reasons"),
    Metric("hw_errors_total", _C, "errors", (*_GPU, "error_type"), "Uncorrected or corrected memory errors since the driver was loaded (gpu_fault).", "NVML ECC, volatile"),
    Metric("hw_errors_lifetime_total", _C, "errors", (*_GPU, "error_type"), "Uncorrected or corrected memory errors in the card's life.", "NVML ECC, aggregate"),
    Metric("hw_gpu_remapped_rows_total", _C, "rows", (*_GPU, "error_type"), "Memory rows replaced after corrected or uncorrected errors; since Ampere.", "NVML remapped rows"),
    Metric("hw_gpu_row_remap_pending", _G, "bool", _GPU, "1 when a row waits for a reset of the card to be replaced.", "NVML remapped rows"),
    Metric("hw_gpu_row_remap_failed", _G, "bool", _GPU, "1 when a row could not be replaced: the card must be (gpu_fault).", "NVML remapped rows"),
    Metric("hw_gpu_retired_pages_total", _C, "pages", (*_GPU, "error_type"), "Memory pages given up after corrected or uncorrected errors; before Ampere.", "NVML fields RETIRED"),
    Metric("hw_gpu_page_retirement_pending", _G, "bool", _GPU, "1 when a page waits for a reset to be given up.", "NVML field RETIRED_PENDING"),
    Metric("hw_gpu_recovery_needed", _G, "bool", _GPU, "1 when the driver asks for a reset of the card or a reboot (gpu_fault).", "NVML field GPU_RECOVERY_ACTION"),
    Metric("hw_gpu_xid_errors_total", _C, "errors", (*_GPU, "xid"), "Xids since the start of this program (gpu_fault); the same one within ten seconds counts once, the 17th of a card and further ones as other.", "NVML events, kernel log"),
    Metric("hw_gpu_pcie_replays_total", _C, "packets", _GPU, "Packets sent again over PCIe.", "NVML PCIe"),
    Metric("hw_gpu_pcie_link_lanes", _G, "lanes", _GPU, "PCIe lanes in use.", "NVML PCIe"),
    Metric("hw_gpu_pcie_link_lanes_limit", _G, "lanes", _GPU, "PCIe lanes that card and slot have.", "NVML PCIe"),
    Metric("hw_gpu_pcie_link_generation", _G, "generation", _GPU, "PCIe generation in use; an idle card lowers it to save power.", "NVML PCIe"),
    Metric("hw_gpu_pcie_link_generation_limit", _G, "generation", _GPU, "PCIe generation that card and slot have.", "NVML PCIe"),
    Metric("hw_gpu_nvlinks_active", _G, "links", _GPU, "NVLinks that are up.", "NVML NVLink state"),
    Metric("hw_gpu_nvlinks_expected", _G, "links", _GPU, "The most NVLinks that were up since the start of this program.", "NVML NVLink state"),
    Metric("hw_gpu_nvlink_errors_total", _C, "errors", (*_GPU, "error_type"), "Errors of all NVLinks of a card: crc, replay, recovery; on NVLink 5 receive, integrity, recovery.", "NVML NVLink"),
    # inference servers: their own pages, each with its alias table
    Metric("gen_ai_server_up", _G, "bool", _SERVER, "1 when the page was read, 0 when it could not be.", "scrape"),
    Metric("gen_ai_server_page_timed_out", _G, "bool", _SERVER, "1 when the page was given up at its deadline while the connection stood: the server is blocked or overloaded; 0 when it was read, refused or cut off.", "scrape"),
    Metric("gen_ai_server_info", _G, "info", (*_SERVER, "version"), "1; the version the server says it is.", "page"),
    Metric("gen_ai_server_start_time_seconds", _G, "seconds", _SERVER, "When the process started, epoch.", "process_start_time_seconds"),
    Metric("gen_ai_server_gpu", _G, "info", ("host_name", "instance", "gpu"), "1; the card a server runs on, where the settings say so.", "settings"),
    Metric("gen_ai_server_ready", _G, "bool", _SERVER, "1 while the page is read, the engine is awake and its health path does not refuse; a health path that is merely slow does not count.", "page, health path"),
    Metric("gen_ai_server_loading", _G, "bool", _SERVER, "1 while the health path answers 503 and says that the model is being loaded, 0 once it answers 200.", "health path"),
    Metric("gen_ai_server_health_up", _G, "bool", _SERVER, "1 when the health path answered 200 in time; absent where it never answered.", "health path"),
    Metric("gen_ai_server_health_seconds", _G, "seconds", _SERVER, "Time until the health path answered, or until it was given up.", "health path"),
    Metric("gen_ai_server_health_status_code", _G, "code", _SERVER, "HTTP status of the health path; absent when it did not answer.", "health path"),
    Metric("gen_ai_server_asleep", _G, "bool", _SERVER, "1 while the engine sleeps with its weights put away.", "page"),
    Metric("gen_ai_server_no_progress_seconds", _G, "seconds", _SERVER, "For how long requests have run on an engine of the server while none of its token and step counters moved; 0 while they move, or nothing runs.", "page"),
    Metric("gen_ai_server_replicas_healthy", _G, "replicas", _SERVER, "Replicas behind the page that pass their health check, where it shows several.", "page"),
    Metric("gen_ai_server_requests_running", _G, "requests", _SERVER, "Requests in the batch.", "page"),
    Metric("gen_ai_server_requests_waiting", _G, "requests", _SERVER, "Requests queued in the engine.", "page"),
    Metric("gen_ai_server_requests_waiting_by_reason", _G, "requests", (*_SERVER, "reason"), "Requests queued: capacity waits for room in the batch or the KV cache, deferred for something else (a KV transfer, a peer, a grammar).", "page"),
    Metric("gen_ai_server_kv_cache_utilization_ratio", _G, "ratio", _SERVER, "Share of KV blocks in use.", "page"),
    Metric("gen_ai_server_kv_cache_blocks", _G, "blocks", _SERVER, "KV blocks in all.", "page"),
    Metric("gen_ai_server_preemptions_total", _C, "requests", _SERVER, "Requests put back for want of KV blocks.", "page"),
    Metric("gen_ai_server_requests_finished_total", _C, "requests", _SERVER, "Requests finished.", "page"),
    Metric("gen_ai_server_requests_rejected_total", _C, "requests", _SERVER, "Requests refused at admission.", "page"),
    Metric("gen_ai_server_requests_failed_total", _C, "requests", (*_SERVER, "reason"), "Requests that ended badly: abort (the client went away, or it was cut off), error, other.", "page"),
    Metric("gen_ai_server_prompt_tokens_total", _C, "tokens", _SERVER, "Prompt tokens taken in.", "page"),
    Metric("gen_ai_server_prompt_tokens_cached_total", _C, "tokens", _SERVER, "Prompt tokens answered by the prefix cache.", "page"),
    Metric("gen_ai_server_generation_tokens_total", _C, "tokens", _SERVER, "Tokens generated.", "page"),
    Metric("gen_ai_server_time_to_first_token_seconds_sum", _C, "seconds", _SERVER, "Summed time to first token.", "page"),
    Metric("gen_ai_server_time_to_first_token_seconds_count", _C, "requests", _SERVER, "Requests with a first token.", "page"),
    Metric("gen_ai_server_time_to_first_token_p99_seconds", _G, "seconds", _SERVER, "P99 time to first token since the last reading, interpolated in the server's own buckets.", "page"),
    Metric("gen_ai_server_time_per_output_token_seconds_sum", _C, "seconds", _SERVER, "Summed time between output tokens.", "page"),
    Metric("gen_ai_server_time_per_output_token_seconds_count", _C, "tokens", _SERVER, "Output tokens after the first.", "page"),
    Metric("gen_ai_server_request_queue_seconds_sum", _C, "seconds", _SERVER, "Summed time requests waited in the engine.", "page"),
    Metric("gen_ai_server_request_queue_seconds_count", _C, "requests", _SERVER, "Requests that have left the queue.", "page"),
    Metric("gen_ai_server_request_prefill_seconds_sum", _C, "seconds", _SERVER, "Summed time of prefill.", "page"),
    Metric("gen_ai_server_request_prefill_seconds_count", _C, "requests", _SERVER, "Prefills; batches where the engine counts those.", "page"),
    Metric("gen_ai_server_request_decode_seconds_sum", _C, "seconds", _SERVER, "Summed time of decoding.", "page"),
    Metric("gen_ai_server_request_decode_seconds_count", _C, "requests", _SERVER, "Requests decoded; batches where the engine counts those.", "page"),
    Metric("gen_ai_server_request_duration_seconds_sum", _C, "seconds", _SERVER, "Summed time of whole requests.", "page"),
    Metric("gen_ai_server_request_duration_seconds_count", _C, "requests", _SERVER, "Requests whose time was taken.", "page"),
    Metric("gen_ai_server_request_duration_p99_seconds", _G, "seconds", _SERVER, "P99 time of whole requests since the last reading, interpolated in the server's own buckets.", "page"),
    Metric("gen_ai_server_kv_transfer_failures_total", _C, "failures", (*_SERVER, "stage"), "KV transfers between prefill and decode that failed: bootstrap, transfer, notification, expired, store.", "page"),
    Metric("gen_ai_server_kv_transfer_seconds_sum", _C, "seconds", _SERVER, "Summed time of KV transfers.", "page"),
    Metric("gen_ai_server_kv_transfer_seconds_count", _C, "transfers", _SERVER, "KV transfers.", "page"),
    Metric("gen_ai_server_speculative_tokens_drafted_total", _C, "tokens", _SERVER, "Tokens proposed by speculative decoding.", "page"),
    Metric("gen_ai_server_speculative_tokens_accepted_total", _C, "tokens", _SERVER, "Proposed tokens that were accepted.", "page"),
    Metric("db_client_connection_count", _G, "connections", (*_SERVER, "pool", "state"), "Connections of a pool, state used or idle.", "page"),
    Metric("db_client_connection_max", _G, "connections", (*_SERVER, "pool"), "Connections a pool may open.", "page"),
    Metric("db_client_connection_pending_requests", _G, "requests", (*_SERVER, "pool"), "Callers waiting for a connection.", "page"),
    Metric("db_client_connection_timeouts_total", _C, "timeouts", (*_SERVER, "pool"), "Callers that waited in vain.", "page"),
    # the gateway's own page
    Metric("http_gateway_up", _G, "bool", _PROXY, "1 when the page was read, 0 when it could not be.", "scrape"),
    Metric("http_gateway_requests_total", _C, "requests", (*_PROXY, "cluster", "status_class"), "Requests by class of answer (2xx to 5xx); empty where the page does not tell.", "Envoy upstream_rq_xx, nginx requests"),
    Metric("http_gateway_unavailable_total", _C, "requests", _CLUSTER, "Requests answered 503, by the gateway or an upstream.", "Envoy upstream_rq"),
    Metric("http_gateway_requests_active", _G, "requests", _CLUSTER, "Requests under way to upstreams.", "Envoy upstream_rq_active"),
    Metric("http_gateway_requests_pending", _G, "requests", _CLUSTER, "Requests that wait for a connection.", "Envoy upstream_rq_pending_active"),
    Metric("http_gateway_pending_overflow_total", _C, "requests", _CLUSTER, "Requests refused by a circuit breaker.", "Envoy upstream_rq_pending_overflow"),
    Metric("http_gateway_no_healthy_upstream_total", _C, "requests", _CLUSTER, "Connections not made because no upstream was healthy.", "Envoy upstream_cx_none_healthy"),
    Metric("http_gateway_connect_failures_total", _C, "connections", _CLUSTER, "Connections to upstreams that failed.", "Envoy upstream_cx_connect_fail"),
    Metric("http_gateway_timeouts_total", _C, "requests", _CLUSTER, "Requests that timed out waiting for an answer.", "Envoy upstream_rq_timeout"),
    Metric("http_gateway_resets_total", _C, "connections", _CLUSTER, "Connections closed by the upstream under a request.", "Envoy upstream_cx_destroy_remote_with_active_rq"),
    Metric("http_gateway_upstreams", _G, "hosts", _CLUSTER, "Upstream hosts.", "Envoy membership_total"),
    Metric("http_gateway_upstreams_healthy", _G, "hosts", _CLUSTER, "Upstream hosts the gateway holds healthy.", "Envoy membership_healthy"),
    Metric("http_gateway_circuit_open", _G, "bool", (*_CLUSTER, "limit"), "1 while a circuit breaker's limit is reached: connections, pending, requests, retries.", "Envoy circuit_breakers"),
    Metric("http_gateway_upstream_duration_seconds_sum", _C, "seconds", _CLUSTER, "Summed time upstreams took.", "Envoy upstream_rq_time"),
    Metric("http_gateway_upstream_duration_seconds_count", _C, "requests", _CLUSTER, "Requests upstreams answered.", "Envoy upstream_rq_time"),
    Metric("http_gateway_upstream_duration_p99_seconds", _G, "seconds", _CLUSTER, "P99 of the time upstreams took since the last reading, interpolated in the gateway's own buckets.", "Envoy upstream_rq_time"),
    Metric("http_gateway_connections", _G, "connections", (*_PROXY, "state"), "Client connections: active, and of those reading, writing, waiting.", "nginx stub_status"),
    Metric("http_gateway_connections_dropped_total", _C, "connections", _PROXY, "Connections accepted and not handled: worker_connections is used up.", "nginx stub_status"),
    # the gateway's access log
    Metric("http_server_requests_total", _C, "requests", (*_GATEWAY, "outcome", "answered_by", "upstream"), "Answers by completion time; probes left out. outcome: ok, 4xx, 503, 5xx, 429, 499, truncated, stalled; answered_by: gateway, upstream. That an answer was truncated nginx's error log may tell alone.", "access log; nginx's error log"),
    Metric("http_server_arrival_rate", _G, "requests", _GATEWAY, "First attempts that arrived in the one-second bucket starting at the sample's time; revised as long requests complete.", "access log"),
    Metric("http_server_retry_rate", _G, "requests", _GATEWAY, "Known retries that arrived in the one-second bucket; revised likewise.", "access log"),
    Metric("http_server_time_to_first_byte_seconds", _G, "seconds", (*_GATEWAY, "upstream", "quantile"), "Upstream header time of the last window's good answers; quantile 0.5, 0.95 or 0.99.", "access log"),
    Metric("http_server_request_duration_seconds", _G, "seconds", (*_GATEWAY, "upstream", "quantile"), "Whole-request time of the last window's good answers; quantile 0.5, 0.95 or 0.99.", "access log"),
    Metric("http_server_route_requests_total", _C, "requests", (*_GATEWAY, "route", "model", "status"), "Answers by completion time; probes left out. route: the API's path, ids folded, at most 32 a service; model unknown where the log names none; what is beyond 128 combinations is other, its status 5xx and the like.", "access log"),
    Metric("http_server_route_time_to_first_byte_seconds", _G, "seconds", (*_GATEWAY, "route", "quantile"), "As http_server_time_to_first_byte_seconds, by route instead of upstream.", "access log"),
    Metric("http_server_route_duration_seconds", _G, "seconds", (*_GATEWAY, "route", "quantile"), "As http_server_request_duration_seconds, by route instead of upstream.", "access log"),
    Metric("http_server_refusals_total", _C, "requests", (*_GATEWAY, "reason", "upstream"), "Answers 429 and 5xx, and those nginx's error log says broke off (reset, timeout), by reason, where the log tells who answered: upstream (its own answer), rate_limited, unexplained (503, nobody asked: a limit or a configured 503), overflow, no_healthy_upstream, connect_failure, no_route, timeout, reset_early (within 0.1 s), reset, unanswered (reached or not, the log does not say), gateway.", "access log; nginx's error log"),
    Metric("http_server_failed_duration_pile_ratio", _G, "ratio", (*_GATEWAY, "outcome"), "Share of the last minute's answers of a bad outcome whose durations lie within 2 % of one value; absent under 5 answers.", "access log"),
    Metric("http_server_failed_duration_pile_seconds", _G, "seconds", (*_GATEWAY, "outcome"), "That value: a time-out where the share is high and the value round.", "access log"),
    Metric("http_server_log_up", _G, "bool", _GATEWAY, "1 while the access log is being read.", "aiops"),
    # logs
    Metric("log_source_up", _G, "bool", ("host_name", "source", "instance"), "1 while a log is being followed.", "aiops"),
    Metric("log_records_total", _C, "lines", ("host_name", "source", "instance", "log_class", "gpu"), "Lines per log class; gpu only where the line names one.", "logs"),
    Metric("log_template_records_total", _C, "lines", ("host_name", "source", "template_id", "log_class", "severity"), "Lines per template, of templates that speak of trouble or were new when they came; template_id others counts those beyond the first 100.", "logs"),
    Metric("log_lines_read_total", _C, "lines", ("host_name", "source"), "Physical lines read of a log file or of standard input, those left out as binary included.", "aiops"),
    Metric("log_lines_skipped_total", _C, "lines", ("host_name", "source", "reason"), "Lines of a log that could not be used: malformed, oversize (read to 64 KiB), future, too_old, binary, flood (too many at once; read and skipped add up to written), overwritten; undated (written while nobody looked, without a time); backlog and rotated_away count occasions.", "aiops"),
    # business
    Metric("business_success_ratio", _G, "ratio", ("service",), "API success rate as the business sees it.", "pushed or pulled"),
    Metric("business_complaint_ratio", _G, "ratio", ("service",), "Complaints over users.", "pushed or pulled"),
    Metric("business_request_rate", _G, "requests", ("service",), "Requests a second as the business counts them.", "pushed or pulled"),
    Metric("business_revenue_per_second", _G, "currency", ("service",), "Revenue a second, in the business's own currency.", "pushed or pulled"),
    Metric("business_lag_seconds", _G, "seconds", ("service", "metric"), "Age of a business metric's newest value when it arrived here.", "aiops"),
    # changes
    Metric("change_feed_up", _G, "bool", (*_HOST, "feed"), "1 while a change would be seen: by kubernetes (its API answers), files (all can be read), replicas, replicas_elsewhere (every server, read here or by a Prometheus, tells when it started, and none restarted within an hour without telling why). Without one and without pushed events, no deploy seen means nothing.", "aiops"),
    Metric("k8s_workload_pods_desired", _G, "pods", _WORKLOAD, "Pods a Deployment or StatefulSet should have.", "Kubernetes API"),
    Metric("k8s_workload_pods_updated", _G, "pods", _WORKLOAD, "Pods that have its newest template: a rollout's progress.", "Kubernetes API"),
    Metric("k8s_workload_pods_available", _G, "pods", _WORKLOAD, "Pods that are ready.", "Kubernetes API"),
    # the error budget, kept from the gateway's counters for longer than memory holds them
    Metric("slo_objective_ratio", _G, "ratio", _GATEWAY, "Promised share of good answers.", "settings"),
    Metric("slo_error_budget_remaining_ratio", _G, "ratio", _GATEWAY, "Share left of the failures that the objective allows among the answers seen in the last 30 days; below 0: overspent; absent until these allow ten failures.", "aiops"),
    Metric("slo_burn_rate", _G, "times", (*_GATEWAY, "window"), "Speed at which the budget was spent in the window, 1 spends it exactly on time; window: 5m, 30m, 1h, 6h, 3d; absent until half of it was seen.", "aiops"),
    Metric("slo_failed_requests", _G, "requests", (*_GATEWAY, "window"), "Failed answers seen in the window.", "aiops"),
    # this program; its other counters are on /metrics only
    Metric("aiops_feed_refused_series", _G, "series", (*_HOST, "server"), "Series of a Prometheus server's last answer that was refused because there were too many; 0 when it was taken.", "aiops"),
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
