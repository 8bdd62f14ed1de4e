"""Packets lost at random: by ``tc netem`` where the kernel has it, otherwise dropped by nftables on arrival."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tests.lab.cell import CellError

_TABLE = "loss"
_ROOT = ("dev", "lo")
_BAND = "1:4"
"""The fourth of a prio queue, into which nothing comes by itself: its three usual ones are chosen by type of service."""


class Loss:
    """
    Loses packets on the loopback device of a cell, so that TCP sends them again.

    Args:
        run: A command in the cell, raising `CellError` when it fails: `tests.lab.cell.Cell.run`.
    """

    def __init__(self, run: Callable[..., str]) -> None:
        self._run = run

    def begin(self, share: float, ports: Sequence[int]) -> str:
        """
        Lose *share* of the packets from and to *ports*, or of all where none is given; which tool does it.

        Raises:
            CellError: neither does.
        """
        try:
            self._netem(share, ports)
        except CellError:  # sch_netem, or the queue and filter that choose packets for it, are not in every kernel
            self._run("tc", "qdisc", "del", *_ROOT, "root", check=False)
            self._nft(share, ports)
            return "nft"
        return "netem"

    def end(self) -> None:
        """Lose nothing any more."""
        self._run("tc", "qdisc", "del", *_ROOT, "root", check=False)
        self._run("nft", "delete", "table", "inet", _TABLE, check=False)

    def _netem(self, share: float, ports: Sequence[int]) -> None:
        loss = ("netem", "loss", f"{share:.1%}")
        if not ports:
            self._run("tc", "qdisc", "add", *_ROOT, "root", *loss)
            return
        self._run("tc", "qdisc", "add", *_ROOT, "root", "handle", "1:", "prio", "bands", "4")
        self._run("tc", "qdisc", "add", *_ROOT, "parent", _BAND, "handle", "40:", *loss)
        chosen = [("ip", side, str(port), "0xffff") for port in ports for side in ("dport", "sport")]
        for match in chosen:
            self._run(
                "tc", "filter", "add", *_ROOT, "parent", "1:", "protocol", "ip", "u32", "match", *match, "flowid", _BAND
            )

    def _nft(self, share: float, ports: Sequence[int]) -> None:
        lost = f"numgen random mod 1000 < {round(share * 1000)} counter drop"
        named = "{ " + ", ".join(map(str, ports)) + " }"
        chosen = [f"tcp dport {named}", f"tcp sport {named}"] if ports else ["meta l4proto tcp"]
        self._run("nft", "add", "table", "inet", _TABLE)
        self._run("nft", f"add chain inet {_TABLE} in {{ type filter hook input priority 0 ; }}")
        for match in chosen:
            self._run("nft", f"add rule inet {_TABLE} in {match} {lost}")
