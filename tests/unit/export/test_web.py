"""The web application's routes and its guard."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from starlette.routing import Route

from aiops.errors import StateError
from aiops.model import Incident, Labels, Sample, Sight, from_json
from tests.sample_incident import sample_incident


def test_healthz_answers_while_the_loop_lives_even_if_nothing_is_ready(site):
    """A liveness probe that fails during start would kill the daemon for ever."""
    site.status.is_ready = False
    site.incidents.error = StateError("disk gone")

    assert site.get("/healthz").status_code == 200


def test_readyz_is_503_until_ready_and_says_what_is_missing(make_site):
    """Whoever looks at a rollout that hangs should not have to guess."""
    site = make_site(unready=lambda: ("GPU collector has not answered",))
    site.status.is_ready = False

    answer = site.get("/readyz")
    assert (answer.status_code, answer.text) == (503, "not ready: GPU collector has not answered\n")
    site.status.is_ready = True
    assert site.get("/readyz").status_code == 200


def test_readyz_says_something_even_when_no_part_can_tell(site):
    """An empty 503 is a riddle."""
    site.status.is_ready = False

    assert "first round of collection" in site.get("/readyz").text


def test_metrics_are_served_as_prometheus_text(site):
    """Prometheus 3 refuses a page without a content type it knows."""
    site.exposition.render([Sample("hw_gpu_up", Labels.of(gpu="0"), 1.0, 1.0)])

    answer = site.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert 'hw_gpu_up{gpu="0"} 1.0' in answer.text


def test_the_api_gives_an_incident_back_as_it_is_in_the_model(site):
    """Whoever reads the API reads what the page shows."""
    incident = sample_incident()
    site.incidents.held = [incident]

    read = from_json(site.get(f"/api/v1/incidents/{incident.id}").content, Incident)

    assert (read.id, read.diagnosis.hypotheses) == (incident.id, incident.diagnosis.hypotheses)
    assert [i["id"] for i in site.get("/api/v1/incidents").json()["incidents"]] == [incident.id]


def test_the_api_withholds_templates_seen_in_few_lines(site):
    """A template seen once is the raw line, and may be somebody's prompt."""
    site.incidents.held = [incident] = [sample_incident()]
    rare = next(t for t in incident.diagnosis.templates if t.distinct < 20)
    common = next(t for t in incident.diagnosis.templates if t.distinct >= 20)

    text = site.get(f"/api/v1/incidents/{incident.id}").text

    assert json.dumps(rare.template) not in text
    assert json.dumps(common.template, ensure_ascii=False) in text


def test_incidents_can_be_filtered_and_limited(site):
    """A script that waits for the end of an incident asks for the open ones."""
    site.incidents.held = [sample_incident(), sample_incident(resolved=True, incident_id="older")]

    def ids(query: str) -> list[str]:
        return [i["id"] for i in site.get(f"/api/v1/incidents{query}").json()["incidents"]]

    assert ids("?state=resolved") == ["older"]
    assert ids("?state=open") == ids("?limit=1") == [sample_incident().id]
    assert ids("?state=resolved&limit=1") == ["older"], "the limit counts what was asked for"


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=-1", "limit=x", "limit=501", "limit=9999999999", "limit=٣", "state=x"]
)
def test_wrong_parameters_are_400_and_named(site, query):
    """Silence would return something else than what was asked for."""
    answer = site.get(f"/api/v1/incidents?{query}")

    assert answer.status_code == 400
    assert answer.json()["error"].startswith(query.split("=")[0])


@pytest.mark.parametrize("hostile", ["..%2f..%2fetc%2fpasswd", "a'--", "x" * 81, "-x", "%00", "a%0ab", "<script>"])
def test_an_id_that_can_be_none_never_reaches_the_state_file(site, hostile):
    """Ids are validated before they are used."""
    for path in (f"/incidents/{hostile}", f"/api/v1/incidents/{hostile}"):
        answer = site.get(path)
        assert answer.status_code == 404
        assert "<script>" not in answer.text
    assert site.incidents.asked == []


def test_alerts_and_status_tell_the_state_of_the_daemon(site):
    """`aiops` commands about a running daemon read these."""
    incident = sample_incident()
    site.incidents.held = [incident]
    site.status.alerts = list(incident.symptoms)
    site.status.seen = [Sight("kernel_log", "kernel log", seen=False, detail="no permission", hint="join group adm")]

    status = site.get("/api/v1/status").json()

    assert site.get("/api/v1/alerts").json()["alerts"][0]["rule"] == incident.symptoms[0].rule
    assert (status["host"], status["version"], status["ready"]) == ("node-7", "9.9.9", True)
    assert status["open_incidents"] == [incident.id]
    assert (status["outbox_waiting"], status["dead_letters"]) == (2, 1)
    assert status["sights"][0]["hint"] == "join group adm"


def test_the_openapi_document_lists_every_route_and_no_other(site):
    """A document that lies is worse than none."""
    document = site.get("/api/v1/openapi.json").json()

    documented = {(path, method.upper()) for path, operations in document["paths"].items() for method in operations}
    served = {
        (route.path, method)
        for route in site.app.routes
        if isinstance(route, Route) and not route.path.startswith("/static")
        for method in route.methods - {"HEAD"}
    }
    assert documented == served
    text = json.dumps(document)
    for ref in re.findall(r'"#/components/schemas/(\w+)"', text):
        assert ref in document["components"]["schemas"]
    assert not re.search(r"https?://(?!json-schema)", text)


def test_the_openapi_statuses_cover_what_the_endpoints_answer(site):
    """A client generated from the document must know each answer it can get."""
    document = site.get("/api/v1/openapi.json").json()
    posts = document["paths"]["/api/v1/events"]["post"]["responses"]

    assert set(posts) == {"202", "400", "401", "408", "413", "503"}
    incident = document["components"]["schemas"]["Incident"]
    assert set(incident["properties"]) == set(Incident.__dataclass_fields__)


@pytest.mark.parametrize(
    "path", ["/", "/healthz", "/metrics", "/nowhere", "/api/v1/status", "/incidents/none", "/api/x"]
)
def test_every_answer_carries_the_security_headers(site, path):
    """One page without them is the one that gets used."""
    headers = site.get(path).headers

    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:9477",
        "localhost:9477",
        "LOCALHOST",
        "[::1]:9477",
        "10.0.0.5:9477",
        "node-7:9477",
        "aiops.example:443",
    ],
)
def test_our_own_names_and_addresses_are_served(make_site, host):
    """Prometheus scrapes by address, people come by name."""
    site = make_site(public_url="https://aiops.example/")

    assert site.ask("GET", "/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "", "x:y:z", "[::1", "node-7.evil", "a@b@c"],
)
def test_a_foreign_host_name_is_turned_away(site, host):
    """DNS rebinding: a web page must not read this port through the visitor's browser."""
    for path in ("/", "/incidents/x", "/static/page.css", "/api/v1/incidents", "/metrics/", "//metrics", "/nothing"):
        assert site.ask("GET", path, headers={"Host": host}).status_code == 421
    assert site.ask("POST", "/api/v1/events", headers={"Host": host}).status_code == 421


@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/readyz"])
@pytest.mark.parametrize("host", ["node-7.prod.example:9477", "evil.example", ""])
def test_what_programs_poll_answers_under_any_name(site, host, path):
    """Prometheus scrapes by the host name that its service discovery knows; a 421 would be a node without metrics."""
    answer = site.ask("GET", path, headers={"Host": host})

    assert answer.status_code in {200, 503}
    assert "host name" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_state_file_that_cannot_be_read_is_a_503_that_says_so(site):
    """The page is most wanted when the machine is sick."""
    site.incidents.error = StateError("database disk image is malformed")

    page, api = site.get("/"), site.get("/api/v1/incidents")

    assert (page.status_code, api.status_code) == (503, 503)
    assert "state file" in page.text
    assert "state file" in api.json()["error"]
    assert page.headers["retry-after"] == "5"


def test_a_crash_shows_no_traceback_and_keeps_the_security_headers(site):
    """What went wrong is for the log, not for the visitor."""
    site.incidents.error = RuntimeError("secret detail")

    answer = site.get("/api/v1/incidents")

    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_errors_under_api_are_json_and_elsewhere_text(site):
    """A script parses, a person reads."""
    assert site.get("/api/v1/nothing").json() == {"error": "Not Found"}
    assert site.ask("DELETE", "/api/v1/events").status_code == 405
    assert site.get("/api/v1/events").json() == {"error": "Method Not Allowed"}


def test_jinja_and_numpy_are_not_loaded_before_the_first_page():
    """They cost memory and start-up time that a node without visitors need not pay, and a probe must not wait for."""
    program = (
        "import sys, aiops.export.web as web; print('numpy' in sys.modules, 'jinja2' in sys.modules);"
        "from tests.unit.export.conftest import Site; s = Site(); s.get('/healthz'); s.get('/metrics');"
        "print('jinja2' in sys.modules); s.get('/'); print('jinja2' in sys.modules)"
    )

    root = Path(__file__).parents[3]
    said = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, check=True, timeout=60).stdout

    assert said.split() == [b"False", b"False", b"False", b"True"]
