"""
An incident in words, shared by messages and the incident page.

`phrases` holds every word in English and Chinese, `sentences` says one thing each, `message` puts them together;
`withheld` says what of it may be shown.
"""

from aiops.narrative.message import compose, compose_test, compose_tickets, from_memory, links

__all__ = ["compose", "compose_test", "compose_tickets", "from_memory", "links"]
