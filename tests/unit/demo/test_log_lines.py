"""What the end of the demo says of the logs."""

from aiops.demo.scenario import log_lines


def template(count: int, title: str, log_class: str) -> dict[str, object]:
    return {"count": count, "title": title, "template": "withheld", "log_class": log_class}


def test_trouble_is_told_with_its_class():
    """A reader sees what the daemon made of the logs."""
    templates = [template(1_312, "CUDA out of memory", "vram_exhaustion"), template(90, "Statistics", "benign")]

    assert log_lines({"diagnosis": {"templates": templates}}) == [
        "Log lines of that time:",
        "  1,312 × CUDA out of memory  [vram_exhaustion]",
    ]


def test_without_trouble_nothing_is_told():
    """A traffic burst leaves no line; neither does an incident that was not found."""
    assert log_lines({}) == []
    assert log_lines({"diagnosis": {"templates": [template(90, "Statistics", "benign")]}}) == []


def test_a_few_are_enough():
    """It is a summary."""
    templates = [template(i, "", "dns") for i in range(30)]

    assert len(log_lines({"diagnosis": {"templates": templates}})) == 5
