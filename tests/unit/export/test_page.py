"""The HTML pages: whole, safe, and readable without a script."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from aiops.errors import StateError
from aiops.model import Alert, AlertState, Chart, Labels, Line, Severity, Sight, TimelineEntry
from tests.sample_incident import FIRST_BAD_S, sample_incident, sample_undetermined
from tests.unit.export.conftest import NOW_S

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'><style>*{}</style>{{7*7}}"
VOID = {"meta", "link", "img", "br", "wbr", "input", "hr"}


class Page(HTMLParser):
    """Collects tags and texts, and insists that tags nest."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        assert self.open == [], "tags left open"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def having(self, attribute: str) -> list[str | None]:
        return [attrs[attribute] for _, attrs in self.tags if attribute in attrs]


@pytest.fixture
def full(site):
    site.incidents.held = [
        sample_incident(),
        sample_incident(resolved=True, incident_id="older"),
        sample_undetermined(),
    ]
    site.status.seen = [
        Sight("inference", "vLLM at 10.0.0.11:8000", seen=True, detail="model example"),
        Sight("kernel_log", "kernel log", seen=False, detail="permission denied", hint="Join group adm."),
    ]
    site.status.alerts = list(sample_incident().symptoms)
    return site


PATHS = ["/", f"/incidents/{sample_incident().id}", "/incidents/older", "/incidents/20251009-101500-embed"]


@pytest.mark.parametrize("path", PATHS)
def test_pages_nest_load_nothing_foreign_and_hold_no_script_or_style(full, path):
    """What the policy forbids must not be there to be blocked: a blocked style is an ugly page."""
    page = Page(full.get(path).text)

    assert {"script", "style", "iframe", "object", "form"}.isdisjoint(tag for tag, _ in page.tags)
    assert page.having("style") == []
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]
    sources = page.having("src") + [a["href"] for t, a in page.tags if t == "link"]
    assert all(source.startswith("/static/") for source in sources)


@pytest.mark.parametrize("path", PATHS)
def test_every_local_link_leads_somewhere(full, path):
    """A dead link at three in the morning costs trust."""
    page = Page(full.get(path).text)

    local = {href.split("#")[0] for href in page.having("href") if href and href.startswith(("/", "?"))}
    for href in local:
        assert full.get(href if href.startswith("/") else path + href).status_code == 200, href


@pytest.mark.parametrize("path", PATHS)
def test_ids_are_unique_and_charts_are_named_for_screen_readers(full, path):
    """An aria reference to a doubled id reads the wrong chart's name."""
    page = Page(full.get(path).text)

    ids = page.having("id")
    assert len(ids) == len(set(ids))
    for reference in page.having("aria-labelledby"):
        assert set(reference.split()) <= set(ids)


def test_the_incident_page_holds_everything_the_model_knows(full):
    """Nothing that was found out may be lost between model and page."""
    incident = sample_incident()
    text = Page(full.get(f"/incidents/{incident.id}").text).text

    for hypothesis in incident.diagnosis.hypotheses:
        assert hypothesis.title in text
        assert hypothesis.reason in text
    for evidence in incident.diagnosis.hypotheses[0].evidence:
        assert evidence.text in text
    for chart in incident.diagnosis.charts:
        assert chart.title in text
    for entry in incident.timeline:
        assert entry.text in text
    for note in incident.diagnosis.notes:
        assert note in text
    assert incident.diagnosis.hypotheses[0].advice in text
    assert "1,204" in text
    assert "my private diary" not in text


def test_the_first_page_shows_incidents_alerts_sights_and_blind_spots(full):
    """What is watched, and what is not, must be seen before one is needed."""
    text = Page(full.get("/").text).text

    for expected in (
        "503 on chat: Traffic burst", "503 on embed: cause undetermined", "19 % of answers of chat are 503",
        "vLLM at 10.0.0.11:8000", "Blind spots", "permission denied", "Join group adm.",
    ):  # fmt: skip
        assert expected in text


def test_an_empty_first_page_says_what_to_do(site):
    """A new user must not stare at an empty table."""
    text = Page(site.get("/").text).text

    assert "No incident yet" in text
    assert "aiops demo" in text


def test_while_starting_the_page_does_not_claim_that_all_is_quiet(site):
    """Nothing seen yet is not nothing wrong."""
    site.status.is_ready = False
    text = Page(site.get("/").text).text

    assert "All quiet" not in text
    assert "first round of collection" in text


def test_hostile_text_from_logs_labels_and_rules_stays_text(site):
    """Log lines, replica names and posted events are written by strangers."""
    incident = sample_incident()
    diagnosis = incident.diagnosis
    root = diagnosis.hypotheses[0]
    hostile = replace(
        incident, service=HOSTILE, timeline=(TimelineEntry(FIRST_BAD_S, HOSTILE, HOSTILE),),
        diagnosis=replace(
            diagnosis, notes=(HOSTILE,),
            hypotheses=(
                replace(root, title=HOSTILE, place=HOSTILE, reason=HOSTILE, advice=HOSTILE, leads_to=(HOSTILE,),
                        evidence=tuple(replace(e, text=HOSTILE) for e in root.evidence)),
                *(replace(h, title=HOSTILE, reason=HOSTILE, place=HOSTILE) for h in diagnosis.hypotheses[1:]),
            ),
            templates=tuple(replace(t, template=HOSTILE, title="", log_class=HOSTILE) for t in diagnosis.templates),
            movers=tuple(replace(m, text=HOSTILE, series=replace(m.series, metric=HOSTILE, labels=Labels.of(a=HOSTILE)))
                         for m in diagnosis.movers),
            charts=(Chart(HOSTILE, HOSTILE, (Line(HOSTILE, (FIRST_BAD_S, FIRST_BAD_S + 1), (1.0, 2.0)),)),),
        ),
    )  # fmt: skip
    site.incidents.held = [hostile]
    site.status.seen = [Sight("c", HOSTILE, seen=False, detail=HOSTILE, hint=HOSTILE)]
    site.status.alerts = [
        Alert(HOSTILE, Labels.of(a=HOSTILE), Severity.PAGE, True, AlertState.FIRING, NOW_S, NOW_S, 1.0, 1.0, HOSTILE)
    ]
    site.series.put("hw_gpu_up", Labels.of(gpu=HOSTILE), {NOW_S: 0.0})

    for path in ("/", f"/incidents/{incident.id}"):
        html = site.get(path).text
        page = Page(html)
        assert {"script", "style"}.isdisjoint(tag for tag, _ in page.tags)
        assert [attrs for tag, attrs in page.tags if tag == "img" and attrs.get("src") == "x"] == []
        assert page.having("onerror") == []
        assert HOSTILE in page.text  # shown as it is, neither run nor hidden
        assert "49" not in re.findall(r"\{?\{?7\*7|49", page.text)


def test_an_open_incident_refreshes_by_itself_until_asked_to_stand_still(full):
    """The page updates without a script; somebody reading can stop it."""
    path = f"/incidents/{sample_incident().id}"

    assert full.get(path).headers["refresh"] == "5"
    still = full.get(path + "?still")
    assert "refresh" not in still.headers
    assert "resume" in still.text


def test_a_resolved_incident_stands_still(full):
    """Nothing will change any more."""
    answer = full.get("/incidents/older")

    assert "refresh" not in answer.headers
    assert "resume" not in answer.text


def test_the_first_page_looks_again_sooner_while_something_is_open(full, site):
    """Left open on a wall it must neither miss a new incident nor hurry for nothing."""
    assert full.get("/").headers["refresh"] == "5"
    site.incidents.held = []
    assert site.get("/").headers["refresh"] == "30"
    assert "refresh" not in site.get("/?still").headers


def test_an_unknown_incident_is_a_404_page_with_a_way_back(site):
    """Links live longer than the retention."""
    answer = site.get("/incidents/gone")

    assert answer.status_code == 404
    assert "No such incident" in answer.text
    assert "/" in Page(answer.text).having("href")


def test_static_files_are_cached_for_ever_under_an_address_that_changes_with_them(site):
    """A page that refreshes every five seconds must not fetch its style each time."""
    (href,) = [h for h in Page(site.get("/").text).having("href") if "page.css" in h]

    answer = site.get(href)
    assert re.fullmatch(r"/static/page\.css\?v=[0-9a-f]{8}", href)
    assert answer.headers["content-type"].startswith("text/css")
    assert "immutable" in answer.headers["cache-control"]
    assert "url(" not in answer.text
    assert "@import" not in answer.text


@pytest.mark.parametrize("name", ["..%2fpage.py", "page.py", "%2e%2e/web.py", "", "page.css%00"])
def test_no_other_file_can_be_had_through_static(site, name):
    """Only files known by name are served."""
    assert site.get(f"/static/{name}").status_code == 404


def test_an_unreadable_state_file_is_told_on_the_page(site):
    """The reader should know that it is our disk, not his incident, that is gone."""
    site.incidents.error = StateError("disk I/O error")

    assert site.get("/incidents/any").status_code == 503
