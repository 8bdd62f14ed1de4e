"""
The words of messages, once in English and once in Chinese.

Every phrase stands in both tables under the same key, with the same placeholders; a test holds them to it. Sentences
are whole phrases, never glued from parts whose order a language may want otherwise. What cause files and alert rules
say (evidence, advice, summaries) is quoted as it is written there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from aiops.units import format_duration

_EN: Final = {
    # what users feel
    "symptom.503": "503",
    "symptom.5xx": "5xx errors",
    "symptom.429": "429",
    "symptom.499": "Clients giving up (499)",
    "symptom.truncated": "Truncated answers",
    "symptom.stalled": "Stalled answers",
    "symptom.slow": "Slow answers",
    "symptom.still": "Engine standing still",
    "symptom.down": "Server not answering",
    "symptom.other": "Failing requests",
    "service.unknown": "this node",
    # titles
    "title.named": "{symptom} on {service}: {cause}",
    "title.pending": "{symptom} on {service}: cause not yet known",
    "title.undetermined": "{symptom} on {service}: cause undetermined",
    "title.resolved": "Resolved: {symptom} on {service} ({cause})",
    "title.resolved.unknown": "Resolved: {symptom} on {service}",
    "title.tickets": "{count} quiet alerts: {first}",
    "title.ticket": "Quiet alert: {first}",
    "title.tickets.over": "Quiet alerts over: {first}",
    "title.test": "Test message: everything is fine",
    # impact
    "impact.share": "{share} of requests fail ({failed} of {requests}) since {clock}.",
    "impact.by_both": "{by_gateway} were answered by the gateway itself, {by_upstream} by a replica.",
    "impact.by_gateway": "All were answered by the gateway itself.",
    "impact.by_upstream": "All were answered by a replica.",
    "impact.unknown": "Requests fail since {clock}.",
    "impact.felt.slow": "Answers are slow since {clock}.",
    "impact.felt.still": "An engine with requests makes no token since {clock}.",
    "impact.felt.down": "A server does not answer since {clock}.",
    "impact.over": "It lasted {lasted}, from {clock} to {end}: {failed} of {requests} requests failed.",
    "impact.over.unknown": "It lasted {lasted}, from {clock} to {end}.",
    # cause
    "cause.on": "{title} on {place}",
    "cause.at": "{title} ({place})",
    "cause.and": "{one} and {other}",
    "cause.named": "Cause ({probability}): {cause}.",
    "cause.pending": "The cause is not known yet; evidence is being collected every second.",
    "cause.undetermined": "The evidence does not single out a cause.",
    "cause.stayed": "The cause stayed undetermined.",
    "cause.beside": "It holds only a part of the rise in load: no cause is named for {terms}.",
    "term.arrivals": "more requests",
    "term.work": "more work a request",
    "term.pace": "slower work at equal batch",
    "term.capacity": "fewer ready replicas or KV blocks",
    "cause.closest": "Closest: {cause}, {probability}: not enough to name it.",
    "chain": "Chain: {chain}.",
    "ruled_out": "Ruled out: {causes}.",
    "not_testable": "Not testable here: {causes}.",
    "list.more": "{some} and {count} more",
    "list.comma": ", ",
    "list.semicolon": "; ",
    "sentences": "{one} {other}",
    "advice": "What to do: {advice}",
    "movers": "Moved first: {movers}.",
    "mover.when": "{text}, {when}",
    "mover.alike": "{text} (and {count} more like it)",
    "notes": "Limits: {note}",
    # times
    "first.503": "the first 503",
    "first.other": "the first failure",
    "first.felt": "the symptom",
    "when.before": "{span} before {first}",
    "when.after": "{span} after {first}",
    "when.with": "as {first} came",
    "clock": "{clock} UTC",
    "clock.unknown": "an unknown time",
    "text.when": "{text} ({when}).",
    # quiet rows
    "ticket.since": "{summary} (since {clock})",
    "ticket.over": "Over: {summary} (since {clock})",
    "ticket.more": "And {count} more on the page.",
    # fields
    "field.service": "Service",
    "field.failing": "Failing",
    "field.first": "First failure",
    "field.place": "Where",
    "field.probability": "Probability",
    "field.lasted": "Lasted",
    "field.incident": "Incident",
    # the message itself
    "unsaved": "This node could not save its state (disk full or hanging): this message was sent from memory and may not be followed by others.",
    "test.text": "This is a test of the receiver {receiver}. Nothing is wrong, and nothing needs to be done.",
    "link.page": "Open the page",
    "link.runbook": "Runbook",
}  # fmt: skip

_ZH: Final = {
    "symptom.503": "503",
    "symptom.5xx": "5xx 错误",
    "symptom.429": "429",
    "symptom.499": "客户端放弃请求（499）",
    "symptom.truncated": "回答被截断",
    "symptom.stalled": "回答停滞",
    "symptom.slow": "回答缓慢",
    "symptom.still": "引擎停滞",
    "symptom.down": "推理服务无响应",
    "symptom.other": "请求失败",
    "service.unknown": "本节点",
    "title.named": "{service} 出现 {symptom}：{cause}",
    "title.pending": "{service} 出现 {symptom}：原因尚不明确",
    "title.undetermined": "{service} 出现 {symptom}：原因无法确定",
    "title.resolved": "已恢复：{service} 的 {symptom}（{cause}）",
    "title.resolved.unknown": "已恢复：{service} 的 {symptom}",
    "title.tickets": "{count} 条低优先级告警：{first}",
    "title.ticket": "低优先级告警：{first}",
    "title.tickets.over": "低优先级告警已恢复：{first}",
    "title.test": "测试消息：一切正常",
    "impact.share": "自 {clock} 起，{share} 的请求失败（{requests} 个中的 {failed} 个）。",
    "impact.by_both": "其中网关直接返回 {by_gateway} 个，副本返回 {by_upstream} 个。",
    "impact.by_gateway": "全部由网关直接返回。",
    "impact.by_upstream": "全部由副本返回。",
    "impact.unknown": "自 {clock} 起有请求失败。",
    "impact.felt.slow": "自 {clock} 起回答缓慢。",
    "impact.felt.still": "自 {clock} 起有引擎持有请求但不再产出 token。",
    "impact.felt.down": "自 {clock} 起有推理服务无响应。",
    "impact.over": "持续 {lasted}（{clock} 至 {end}）：{requests} 个请求中有 {failed} 个失败。",
    "impact.over.unknown": "持续 {lasted}（{clock} 至 {end}）。",
    "cause.on": "{place} {title}",
    "cause.at": "{title}（{place}）",
    "cause.and": "{one}，以及{other}",
    "cause.named": "原因（{probability}）：{cause}。",
    "cause.pending": "原因尚不明确，正在逐秒收集证据。",
    "cause.undetermined": "现有证据不足以指明单一原因。",
    "cause.stayed": "最终未能确定原因。",
    "cause.beside": "它只占负载上升的一部分：另有{terms}，其原因未能指明。",
    "term.arrivals": "请求增多",
    "term.work": "单个请求的工作量增加",
    "term.pace": "相同批量下处理变慢",
    "term.capacity": "就绪副本或 KV 块减少",
    "cause.closest": "最接近的是：{cause}，{probability}，但不足以认定。",
    "chain": "因果链：{chain}。",
    "ruled_out": "已排除：{causes}。",
    "not_testable": "此处无法检验：{causes}。",
    "list.more": "{some} 等，另有 {count} 项",
    "list.comma": "、",
    "list.semicolon": "；",
    "sentences": "{one}{other}",
    "advice": "建议：{advice}",
    "movers": "最先异动：{movers}。",
    "mover.when": "{text}，{when}",
    "mover.alike": "{text}（另有 {count} 个类似）",
    "notes": "局限：{note}",
    "first.503": "首个 503",
    "first.other": "首次失败",
    "first.felt": "症状出现",
    "when.before": "{first}之前 {span}",
    "when.after": "{first}之后 {span}",
    "when.with": "与{first}同时",
    "clock": "{clock} UTC",
    "clock.unknown": "未知时间",
    "text.when": "{text}（{when}）。",
    "ticket.since": "{summary}（自 {clock} 起）",
    "ticket.over": "已恢复：{summary}（自 {clock} 起）",
    "ticket.more": "页面上还有 {count} 条。",
    "field.service": "服务",
    "field.failing": "失败比例",
    "field.first": "首次失败",
    "field.place": "位置",
    "field.probability": "概率",
    "field.lasted": "持续时间",
    "field.incident": "事件",
    "unsaved": "本节点无法保存状态（磁盘已满或无响应）：此消息直接从内存发出，后续消息可能缺失。",
    "test.text": "这是对接收方 {receiver} 的测试。没有任何故障，无需处理。",
    "link.page": "打开页面",
    "link.runbook": "处置手册",
}  # fmt: skip

PHRASES: Mapping[str, Mapping[str, str]] = MappingProxyType({"en": MappingProxyType(_EN), "zh": MappingProxyType(_ZH)})
"""Every phrase by language and key."""

_TITLES_ZH: Final = {
    "client_errors": "租户侧的客户端错误",
    "cold_start": "冷启动",
    "connection_pool_exhaustion": "连接池耗尽",
    "cpu_saturation": "CPU 饱和",
    "deploy_regression": "新版本变慢",
    "disk_full": "磁盘已满",
    "disk_io_saturation": "磁盘 I/O 饱和",
    "engine_crash": "推理引擎崩溃",
    "engine_stall": "推理引擎停滞",
    "frontend_cpu": "前端进程 CPU 不足",
    "gateway_limit": "网关限流",
    "gateway_timeout": "网关超时",
    "gpu_compute_saturation": "GPU 算力饱和",
    "gpu_fault": "GPU 硬件故障",
    "gpu_thermal_throttle": "GPU 过热降频",
    "host_memory_exhaustion": "主机内存耗尽",
    "host_memory_leak": "主机内存泄漏",
    "keepalive_race": "长连接超时竞争",
    "kv_cache_exhaustion": "KV 缓存已满",
    "kv_transfer_failure": "KV 传输失败",
    "long_prompt_shift": "请求变长",
    "model_load_failure": "模型加载失败",
    "network_retransmits": "网络重传",
    "nic_saturation": "网卡饱和",
    "prefix_cache_collapse": "前缀缓存失效",
    "probe_kill_loop": "探针反复重启",
    "queue_limit": "达到队列上限",
    "rollout_capacity_loss": "发布期间容量不足",
    "slow_node": "单个副本变慢",
    "socket_exhaustion": "套接字耗尽",
    "thread_blocking": "线程阻塞",
    "traffic_burst": "流量突增",
    "upstream_unreachable": "依赖不可达",
    "vram_exhaustion": "显存耗尽",
    "vram_leak": "显存泄漏",
}
_UNITS_ZH: Final = {"ms": "毫秒", "s": "秒", "min": "分钟", "h": "小时", "d": "天"}
_UNIT = re.compile(r"\b(?:ms|s|min|h|d)\b")


def say(language: str, key: str, **values: object) -> str:
    """The phrase under *key* with *values* filled in; English where the language is not known."""
    return PHRASES.get(language, _EN)[key].format(**values)


def title_of(cause: str, title: str, language: str) -> str:
    """A cause's title; the file's own where this language has no other."""
    return _TITLES_ZH.get(cause, title) if language == "zh" else title


def span(seconds: float, language: str) -> str:
    """A duration in words."""
    text = format_duration(seconds)
    return _UNIT.sub(lambda found: _UNITS_ZH[found[0]], text) if language == "zh" else text
