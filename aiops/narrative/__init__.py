"""
An incident in words, shared by messages and the incident page.

`phrases` holds every word in English and Chinese, `sentences` says one thing each, `message` puts them together.
"""

from aiops.narrative.message import compose, compose_test, compose_tickets, from_memory, links
from aiops.narrative.sentences import (
    cause_name,
    cause_sentence,
    chain_sentence,
    finding,
    headline,
    impact_sentence,
    movers_sentence,
    over_sentence,
    ruled_out_sentence,
    unnamed_sentence,
)

__all__ = [
    "cause_name",
    "cause_sentence",
    "chain_sentence",
    "compose",
    "compose_test",
    "compose_tickets",
    "finding",
    "from_memory",
    "headline",
    "impact_sentence",
    "links",
    "movers_sentence",
    "over_sentence",
    "ruled_out_sentence",
    "unnamed_sentence",
]
