"""Logs and their formats by nginx's own configuration."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from aiops.collect.nginx_conf import NginxConf, definition_of

MAIN = """
user www-data;  # access_log /not/this.log;
http {
    log_format main '$remote_addr "$request" '
                    '$status';
    log_format own escape=json '{"a":"$status","b":"it\\'s"}';
    access_log /var/log/nginx/access.log main;
    access_log off;
    access_log syslog:server=10.0.0.1 main;
    access_log /var/log/$host.log main;
    access_log /dev/stdout main;
    include conf.d/*.conf;
    include /etc/nginx/nginx.conf;
    server { location ~ "^/a{2}" { access_log /srv/api.log own buffer=32k flush=1s if=$x; } }
}
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    conf = tmp_path / "etc/nginx"
    (conf / "conf.d").mkdir(parents=True)
    (conf / "nginx.conf").write_text(MAIN)
    (conf / "conf.d/a.conf").write_text(
        "log_format late '$msec $status';\nserver { access_log /srv/api.log late; access_log /srv/plain.log; }"
    )
    return tmp_path


def looked(root: Path) -> NginxConf:
    conf = NginxConf(root, ("/etc/none.conf", "/etc/nginx/nginx.conf"))
    conf.look()
    return conf


def test_each_log_has_the_formats_it_is_written_in(root: Path) -> None:
    """Two servers may write one file in two formats."""
    conf = looked(root)

    assert conf.logs == {
        str(root / "var/log/nginx/access.log"): ('$remote_addr "$request" $status',),
        str(root / "srv/api.log"): ("$msec $status", '{"a":"$status","b":"it\'s"}'),
        str(root / "srv/plain.log"): (),
    }
    assert conf.definitions(str(root / "srv/../srv/api.log")) == conf.logs[str(root / "srv/api.log")]


def test_of_two_logs_of_the_same_requests_the_one_that_says_less_is_a_double(root: Path) -> None:
    """Whoever adds the suggested format beside the old log would be paged twice for one outage."""
    (root / "etc/nginx/nginx.conf").write_text(
        """
        log_format more '$status $msec $request_time $upstream_status $uri';
        access_log /both.log; access_log /more.log more;
        server { access_log /shared.log; access_log /own.log more; include part.conf; }
        server { access_log /shared.log; }
        server { access_log /poor.log; include part.conf; }
        """
    )
    (root / "etc/nginx/part.conf").write_text("access_log /rich.log more;")

    conf = looked(root)

    assert set(conf.logs) == {
        str(root / name) for name in ("both.log", "more.log", "shared.log", "own.log", "poor.log", "rich.log")
    }
    assert {Path(path).name for path in conf.doubles} == {"both.log", "poor.log"}


def test_a_changed_configuration_is_read_again_and_only_then(root: Path) -> None:
    """Looked at twice a minute; a deploy of nginx changes what its logs say."""
    conf = looked(root)
    assert not conf.look()

    part = root / "etc/nginx/conf.d/a.conf"
    part.write_text("")
    os.utime(part, (1.0, 1.0))

    assert conf.look()
    assert str(root / "srv/plain.log") not in conf.logs


def test_a_configuration_that_appears_later_is_found(tmp_path: Path) -> None:
    """Nginx may be installed after us."""
    conf = NginxConf(tmp_path, ("/etc/nginx/nginx.conf",))
    assert conf.look()
    assert conf.logs == {}
    assert not conf.look()

    (tmp_path / "etc/nginx").mkdir(parents=True)
    (tmp_path / "etc/nginx/nginx.conf").write_text("access_log /a.log;")

    assert conf.look()
    assert list(conf.logs) == [str(tmp_path / "a.log")]


def test_a_name_without_a_slash_is_looked_for_where_nginx_keeps_its_logs(root: Path) -> None:
    """It is relative to a prefix that only the running nginx knows."""
    (root / "etc/nginx/nginx.conf").write_text("access_log logs/a.log; access_log logs/none.log;")
    (root / "etc/logs").mkdir()
    (root / "etc/logs/a.log").touch()

    assert list(looked(root).logs) == [str(root / "etc/logs/a.log")]


@pytest.mark.parametrize(
    "text",
    ["", "}}}{{{;;;", "access_log", "access_log;", "log_format x;", '"', "'" * 9, "\0" * 99, "include;", "include /*;", "include ../../*; include \0;", "a" * 100_000],
)  # fmt: skip
def test_rubbish_is_no_configuration(root: Path, text: str) -> None:
    """What cannot be understood tells nothing, and stops nothing."""
    (root / "etc/nginx/nginx.conf").write_text(text)

    assert looked(root).logs == {}


def test_a_whole_directive_in_the_settings_is_its_format() -> None:
    """People copy what stands in nginx.conf."""
    assert definition_of("log_format main escape=none '$a '\n  \"$status\";") == "$a $status"
    assert definition_of("log_format main '$status'") == "$status"
    assert definition_of(r'log_format main "$status\t$msec";') == "$status\t$msec"
    assert definition_of("$a $status\n") == "$a $status"
