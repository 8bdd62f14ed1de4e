"""Packets are lost by whatever this kernel has for it, and the truth says by what."""

from tests.lab.cell import CellError
from tests.lab.loss import Loss


class Shell:
    """Notes commands; those with a word of *missing* fail."""

    def __init__(self, *missing: str) -> None:
        self.done: list[str] = []
        self._missing = missing

    def __call__(self, *argv: str, check: bool = True) -> str:
        line = " ".join(argv)
        if check and set(argv) & set(self._missing):
            raise CellError(line)
        self.done.append(line)
        return ""


def test_netem_loses_a_share_of_everything_where_no_port_is_named():
    shell = Shell()

    assert Loss(shell).begin(0.034, []) == "netem"
    assert shell.done == ["tc qdisc add dev lo root netem loss 3.4%"]


def test_netem_loses_what_comes_from_and_goes_to_the_ports_and_nothing_else():
    shell = Shell()

    assert Loss(shell).begin(0.1, [8001]) == "netem"
    assert shell.done == [
        "tc qdisc add dev lo root handle 1: prio bands 4",
        "tc qdisc add dev lo parent 1:4 handle 40: netem loss 10.0%",
        "tc filter add dev lo parent 1: protocol ip u32 match ip dport 8001 0xffff flowid 1:4",
        "tc filter add dev lo parent 1: protocol ip u32 match ip sport 8001 0xffff flowid 1:4",
    ]


def test_a_kernel_without_netem_or_without_its_filter_drops_by_nftables():
    for missing in ("netem", "prio", "u32"):
        shell = Shell(missing)

        assert Loss(shell).begin(0.05, [8001, 8002]) == "nft"
        assert shell.done[-5:] == [
            "tc qdisc del dev lo root",  # nothing of the try is left
            "nft add table inet loss",
            "nft add chain inet loss in { type filter hook input priority 0 ; }",
            "nft add rule inet loss in tcp dport { 8001, 8002 } numgen random mod 1000 < 50 counter drop",
            "nft add rule inet loss in tcp sport { 8001, 8002 } numgen random mod 1000 < 50 counter drop",
        ]


def test_the_end_takes_away_what_either_tool_has_made():
    shell = Shell()

    Loss(shell).end()

    assert shell.done == ["tc qdisc del dev lo root", "nft delete table inet loss"]
