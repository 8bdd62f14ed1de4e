"""What the log path is measured against, and the ways it is measured itself; each takes lines and names their groups."""

from __future__ import annotations

import json
import logging
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from drain3 import TemplateMiner
from drain3.masking import MaskingInstruction
from drain3.template_miner_config import TemplateMinerConfig

from aiops.logs.batch import Batch
from aiops.logs.cluster import DEPTH, MAX_CHILDREN, PARAMETER, SIMILARITY
from aiops.logs.lexicon import Lexicon
from aiops.logs.mask import PASSES

logging.getLogger("drain3").setLevel(logging.ERROR)

EXAMPLE_MASKS = (
    (r"((?<=[^A-Za-z0-9])|^)(([0-9a-f]{2,}:){3,}([0-9a-f]{2,}))((?=[^A-Za-z0-9])|$)", "ID"),
    (r"((?<=[^A-Za-z0-9])|^)(\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3})((?=[^A-Za-z0-9])|$)", "IP"),
    (r"((?<=[^A-Za-z0-9])|^)([0-9a-f]{6,} ?){3,}((?=[^A-Za-z0-9])|$)", "SEQ"),
    (r"((?<=[^A-Za-z0-9])|^)([0-9A-F]{4} ?){4,}((?=[^A-Za-z0-9])|$)", "SEQ"),
    (r"((?<=[^A-Za-z0-9])|^)(0x[a-f0-9A-F]+)((?=[^A-Za-z0-9])|$)", "HEX"),
    (r"((?<=[^A-Za-z0-9])|^)([\-\+]?\d+)((?=[^A-Za-z0-9])|$)", "NUM"),
    (r"(?<=executed cmd )(\".+?\")", "CMD"),
)
"""Of the example settings in drain3's repository."""
EXAMPLE_AFFIXES = ("<:", ":>")


@dataclass
class Groups:
    """What a way found; templates are asked for at the end, when they are as general as they get."""

    names: list[Any] = field(default_factory=list)
    template_of: Callable[[Any], str] = str


Way = Callable[[Groups, Sequence[str]], None]
"""Takes the next lines and names their groups."""


def drain3_default() -> Way:
    return _miner(TemplateMinerConfig(), {})


def drain3_example() -> Way:
    config = TemplateMinerConfig()
    config.mask_prefix, config.mask_suffix = EXAMPLE_AFFIXES
    config.masking_instructions = [MaskingInstruction(pattern, name) for pattern, name in EXAMPLE_MASKS]
    written = {
        f"{EXAMPLE_AFFIXES[0]}{name}{EXAMPLE_AFFIXES[1]}": "<*>" for name in ("*", *(n for _, n in EXAMPLE_MASKS))
    }
    return _miner(config, written)


def _miner(config: TemplateMinerConfig, written: dict[str, str]) -> Way:
    miner = TemplateMiner(config=config)

    def template_of(number: int) -> str:
        template = miner.drain.id_to_cluster[number].get_template()
        for mask, value in written.items():
            template = template.replace(mask, value)
        return template

    def take(groups: Groups, lines: Sequence[str]) -> None:
        groups.template_of = template_of
        groups.names += [miner.add_log_message(line)["cluster_id"] for line in lines]

    return take


def drain3_our_masks() -> Callable[[Sequence[str]], Way]:
    """
    drain3 with our masks, parameters and severities.

    Whether a line is an error is found out beforehand, outside the time that is taken: ours do it within theirs.
    """
    miners: dict[Any, TemplateMiner] = {}
    severity = Lexicon(()).severity

    def miner_of(how_bad: Any) -> TemplateMiner:
        if how_bad not in miners:
            config = TemplateMinerConfig()
            config.mask_prefix = config.mask_suffix = ""
            config.masking_instructions = [MaskingInstruction("(?a)" + pattern, masked) for pattern, masked in PASSES]
            config.drain_depth, config.drain_sim_th, config.drain_max_children = DEPTH, SIMILARITY, MAX_CHILDREN
            miners[how_bad] = TemplateMiner(config=config)
            miners[how_bad].drain.param_str = PARAMETER
        return miners[how_bad]

    def template_of(name: tuple[Any, int]) -> str:
        how_bad, number = name
        return miners[how_bad].drain.id_to_cluster[number].get_template().replace(PARAMETER, "<*>")

    def prepare(all_lines: Sequence[str]) -> Way:
        miner_for = iter([(how_bad, miner_of(how_bad)) for how_bad in (severity(line.encode()) for line in all_lines)])

        def take(groups: Groups, lines: Sequence[str]) -> None:
            groups.template_of = template_of
            for line in lines:
                how_bad, miner = next(miner_for)
                groups.names.append((how_bad, miner.add_log_message(line)["cluster_id"]))

        return take

    return prepare


def batches() -> Way:
    batch = Batch(max_clusters=100_000)

    def take(groups: Groups, lines: Sequence[str]) -> None:
        groups.template_of = lambda cluster: cluster.template
        groups.names += batch.assign(lines)

    return take


def brain(python: str, lines: Sequence[str], limit_s: float) -> dict | None:
    """Brain's groups, templates and CPU time; None if it takes longer or gives no answer for every line."""
    with tempfile.TemporaryDirectory() as folder:
        source, result = Path(folder) / "lines", Path(folder) / "result"
        source.write_text("\n".join(lines) + "\n")
        program = str(Path(__file__).parent / "brain_peer.py")
        try:
            subprocess.run(
                [python, program, str(source), str(result)], check=True, capture_output=True, timeout=limit_s
            )
        except (subprocess.TimeoutExpired, subprocess.CalledProcessError) as error:
            print(f"Brain: {str(error)[:300]}")
            return None
        found = json.loads(result.read_text())
    return found if len(found["groups"]) == len(lines) else None
