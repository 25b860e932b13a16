"""Settings: how values are read, what is refused in which words, what contradicts what."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from srvinit.errors import UsageError
from srvinit.options import GROUPS, SETTINGS, Count, Given, Options, Portion
from srvinit.settings.addresses import Bind, bind_address
from srvinit.settings.meanings import DEFAULT_MEANINGS, SIGNAL_NAMES, meaning, signal_name
from srvinit.settings.nested import flatten
from srvinit.settings.spelling import nearest
from srvinit.settings.values import (
    YEAR_S,
    RefusedError,
    count,
    duration,
    duration_or_off,
    duration_text,
    plain,
    portion,
)

UNHURRIED = settings(deadline=None)  # a busy machine is no fault of the code
DOCS = Path(__file__).parents[2] / "docs"
ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.binary(),
    st.lists(st.text(), max_size=3),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(), st.one_of(st.text(), st.integers(), st.none()), max_size=3),
    st.sampled_from(["auto", "auto*", "auto+", "auto*-1", "off", "none", "%", "[", "fd:", "udp:"]),
    st.from_regex(r"[-+]?[0-9.]{0,5}(ms|s|m|h|%|e\+06)?", fullmatch=True),
)


def faults_of(**named: object) -> list[str]:
    with pytest.raises(UsageError) as raised:
        Options(**named)
    return raised.value.faults


# --- the table -----------------------------------------------------------------------------------


def test_the_founding_settings_keep_their_defaults() -> None:
    """The seven the product began with: others may change, these are relied upon."""
    options = Options()

    assert options.worker_count == Count(0, 4)
    assert options.worker_ignore_sigint is True
    assert options.worker_require == "online"
    assert options.worker_timeout == 2.0
    assert options.recycle_timeout == 15.0
    assert options.shutdown_timeout == 15.0
    assert options.restart_delay == 5.0


def test_the_other_defaults_are_those_of_the_design() -> None:
    options = Options()

    assert options.bind == ()
    assert options.bind_backlog is None
    assert options.bind_nodelay is True
    assert options.bind_mode == "shared"
    assert options.worker_quiesce == 0.3
    assert options.worker_stop_signal == "TERM"
    assert options.worker_signal_group is False
    assert options.worker_cwd is None
    assert options.worker_env == ()
    assert (options.worker_watchdog, options.worker_max_age) == (0, 0)
    assert options.worker_max_memory is None
    assert (options.recycle_max_surge, options.recycle_max_unavailable) == (Portion(1), Portion(0))
    assert (options.recycle_settle, options.recycle_retries) == (1.0, 3)
    assert options.recycle_watch == ()
    assert (options.restart_policy, options.restart_limit) == ("always", 10)
    assert options.restart_reset == 10.0
    assert (options.shutdown_delay, options.shutdown_margin) == (0.0, 1.0)
    assert options.shutdown_grace_period is None
    assert (options.log_format, options.log_level, options.http) == ("auto", "info", None)


def test_the_four_spellings_follow_from_the_attribute() -> None:
    row = SETTINGS["recycle.max_surge"]

    assert row.attribute == "recycle_max_surge"
    assert row.flag == "--recycle-max-surge"
    assert row.variable == "SRVINIT_RECYCLE_MAX_SURGE"
    assert row.group == "recycle"


def test_no_two_settings_share_a_spelling() -> None:
    for spelling in ("name", "attribute", "flag", "variable"):
        assert len({getattr(row, spelling) for row in SETTINGS.values()}) == len(SETTINGS)


def test_every_setting_belongs_to_a_group_that_help_and_docs_show() -> None:
    assert {row.group for row in SETTINGS.values()} == set(GROUPS)


def test_every_default_is_written_as_a_user_could_write_it() -> None:
    """A default goes through the same reader as a value: `Options()` is proof, and no fault."""
    written = {
        row.attribute: row.default for row in SETTINGS.values() if isinstance(row.default, str)
    }

    assert Options(**written).changed(Options()) == []


# --- durations -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("500ms", 0.5),
        ("1500ms", 1.5),
        ("1.5s", 1.5),
        ("15s", 15.0),
        ("2m", 120.0),
        ("1h", 3600.0),
        ("0", 0.0),
        ("0s", 0.0),
        (".5", 0.5),
        ("1000000", 1_000_000.0),
        (15, 15.0),
        (0.25, 0.25),
    ],
)
def test_a_duration_is_seconds(written: object, seconds: float) -> None:
    assert duration(written) == seconds


@pytest.mark.parametrize(
    "written",
    [
        "",
        "-1",
        "nan",
        "inf",
        "10 s",
        " 10s",
        "10s ",
        "s",
        "ms",
        ".",
        "1.2.3",
        "1e3",
        "1e+06",
        "1_000",
        "0x10",
        "+5",
        "1,5",
        "\u0661s",
        "\u00b2",
        "1d",
        "15 sec",
        "1m30s",
        "off",
        "9" * 500,
        "31536001",
        -1,
        -0.5,
        float("nan"),
        float("inf"),
        10**400,
        True,
        None,
        [],
        {},
        b"1s",
    ],
)
def test_a_bad_duration_is_refused(written: object) -> None:
    with pytest.raises(RefusedError, match="expected a duration: 15s, 1500ms, 2m"):
        duration(written)


@UNHURRIED
@given(st.floats(min_value=0, max_value=YEAR_S))
def test_a_duration_written_as_text_is_read_back_the_same(seconds: float) -> None:
    exact = duration(seconds)

    assert duration(duration_text(exact)) == exact


@UNHURRIED
@given(st.integers(min_value=0, max_value=YEAR_S * 1000))
def test_milliseconds_and_seconds_with_decimals_are_the_same(milliseconds: int) -> None:
    whole_part, rest = divmod(milliseconds, 1000)

    assert duration(f"{milliseconds}ms") == duration(f"{whole_part}.{rest:03}s")


@pytest.mark.parametrize("written", ["0", "0s", "off", 0, 0.0, "0ms"])
def test_zero_and_off_switch_off(written: object) -> None:
    assert duration_or_off(written) == 0
    assert Options(worker_max_age=written).worker_max_age == 0


def test_a_start_time_of_nothing_is_refused() -> None:
    """It would kill every worker in the moment it starts."""
    assert "expected more than nothing" in faults_of(worker_timeout="0s")[0]


# --- numbers -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "cpus", "workers"),
    [
        ("1", 8, 1),
        (6, 8, 6),
        (4.0, 8, 4),
        ("auto", 3, 3),
        ("auto*2", 3, 6),
        ("auto+1", 3, 4),
        ("auto*2+1", 3, 7),
        ("auto-1", 3, 2),
        ("auto-1", 1, 1),
    ],
)
def test_a_count_is_a_number_or_follows_the_cpus(written: object, cpus: int, workers: int) -> None:
    made = count(written)

    assert made.resolve(cpus) == workers
    assert made.is_auto == str(written).startswith("auto")
    assert count(str(made)) == made


@pytest.mark.parametrize(
    "written",
    [
        "0",
        "-1",
        "",
        "1.5",
        1.5,
        "1e+06",
        "8080000",
        "auto*",
        "auto+",
        "auto*0",
        "auto+x",
        "auto 1",
        "autos",
        "AUTO",
        "auto*2*2",
        "auto+1+1",
        True,
        None,
        float("nan"),
        float("inf"),
    ],
)
def test_a_bad_count_is_refused(written: object) -> None:
    with pytest.raises(RefusedError, match="expected a whole number from 1 to 10000, auto"):
        count(written)


def test_a_percentage_of_surge_is_rounded_up_and_of_unavailable_down() -> None:
    options = Options(recycle_max_surge="25%", recycle_max_unavailable="25%")

    assert [options.surge(n) for n in (1, 4, 5)] == [1, 1, 2]
    assert [options.unavailable(n) for n in (1, 4, 5)] == [0, 1, 1]


def test_swapping_has_room_for_all_new_workers_beside_all_old_ones() -> None:
    options = Options(bind_mode="swapped", recycle_max_surge=2)

    assert [options.surge(n) for n in (1, 4)] == [2, 4]


def test_portions_that_come_to_nothing_let_one_worker_go() -> None:
    """As a Deployment does: otherwise a recycle would never end."""
    options = Options(recycle_max_surge=0, recycle_max_unavailable="10%")

    assert (options.surge(4), options.unavailable(4)) == (0, 1)


def test_no_more_workers_can_be_missing_than_there_are() -> None:
    assert Options(recycle_max_unavailable=5).unavailable(2) == 2


@pytest.mark.parametrize("written", ["-1", "101%", "%", "1.5%", "", "x", True, None])
def test_a_bad_portion_is_refused(written: object) -> None:
    with pytest.raises(RefusedError, match="or a percentage"):
        portion(written)


def test_a_number_that_a_template_has_bent_is_explained() -> None:
    (fault,) = faults_of(recycle_timeout="1e+06")

    assert "recycle_timeout '1e+06': expected a duration" in fault
    assert "quote it there" in fault


# --- addresses -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "kind", "host", "port"),
    [
        (":8080", "tcp", "", 8080),
        ("*:8080", "tcp", "", 8080),
        ("127.0.0.1:0", "tcp", "127.0.0.1", 0),
        ("localhost:80", "tcp", "localhost", 80),
        ("my-host.example:65535", "tcp", "my-host.example", 65535),
        ("[::]:8080", "tcp", "::", 8080),
        ("[::1]:8080", "tcp", "::1", 8080),
        ("[fe80::1%eth0]:80", "tcp", "fe80::1%eth0", 80),
        ("udp:127.0.0.1:53", "udp", "127.0.0.1", 53),
        ("udp::53", "udp", "", 53),
        ("udp:[::1]:53", "udp", "::1", 53),
    ],
)
def test_an_address_has_a_host_and_a_port(written: str, kind: str, host: str, port: int) -> None:
    assert bind_address(written) == Bind(written, kind, host=host, port=port)


def test_an_address_can_be_a_path_or_an_inherited_descriptor() -> None:
    assert bind_address("unix:/run/a.sock") == Bind("unix:/run/a.sock", "unix", path="/run/a.sock")
    assert bind_address("fd:3") == Bind("fd:3", "fd", fd=3)


def test_an_address_can_have_a_name() -> None:
    assert bind_address("http=:80").name == "http"
    assert bind_address("admin-1=unix:/a=b") == Bind(
        "admin-1=unix:/a=b", "unix", "admin-1", path="/a=b"
    )
    assert bind_address("unix:/a=b") == Bind("unix:/a=b", "unix", path="/a=b")


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("8080", "did you mean :8080?"),
        ("", "expected [NAME=]:PORT"),
        (8080, "expected [NAME=]:PORT"),
        ("localhost", "expected [NAME=]:PORT"),
        (":", "a port from 0 to 65535"),
        (":65536", "a port from 0 to 65535"),
        (":http", "a port from 0 to 65535"),
        (":-1", "a port from 0 to 65535"),
        ("::1:8080", "in brackets: [::1]:8080"),
        ("[::g]:80", "an IPv6 address in the brackets"),
        ("[127.0.0.1]:80", "an IPv6 address in the brackets"),
        ("300.0.0.1:80", "an IPv4 address or a host name"),
        ("1.2.3:80", "an IPv4 address or a host name"),
        ("a b:80", "an IPv4 address or a host name"),
        ("http://x:80", "in brackets"),
        ("unix:", "1 to 107 bytes"),
        ("unix:/" + "x" * 107, "1 to 107 bytes"),
        ("fd:2", "at least 3"),
        ("fd:x", "at least 3"),
        ("=:80", "an IPv4 address or a host name"),
        ("unix:/a\0b", "expected [NAME=]:PORT"),
    ],
)
def test_a_bad_address_is_refused(written: object, words: str) -> None:
    with pytest.raises(RefusedError) as refused:
        bind_address(written)

    assert words in str(refused.value)


def test_an_address_given_twice_is_refused() -> None:
    assert faults_of(bind=[":80", "http=*:80"]) == ["bind: http=*:80 is given twice"]


def test_two_ports_of_the_kernels_choice_are_no_duplicates() -> None:
    assert len(Options(bind=["127.0.0.1:0", "127.0.0.1:0"]).bind) == 2


# --- signals -------------------------------------------------------------------------------------


def test_each_signal_has_one_name() -> None:
    assert sorted(SIGNAL_NAMES.values()) == sorted(map(int, signal.valid_signals()))


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("TERM", "TERM"),
        ("SIGTERM", "TERM"),
        ("sigterm", "TERM"),
        ("15", "TERM"),
        (15, "TERM"),
        ("CLD", "CHLD"),
        ("SIGPOLL", "IO"),
        ("RTMIN", "RTMIN"),
        ("RTMIN+3", "RTMIN+3"),
        (str(int(signal.SIGRTMIN) + 3), "RTMIN+3"),
        ("RTMAX", f"RTMIN+{signal.SIGRTMAX - signal.SIGRTMIN}"),
        ("SIGRTMAX-1", f"RTMIN+{signal.SIGRTMAX - signal.SIGRTMIN - 1}"),
        (f"RTMAX-{signal.SIGRTMAX - signal.SIGRTMIN}", "RTMIN"),
    ],
)
def test_a_signal_is_read_in_every_usual_writing(written: object, name: str) -> None:
    assert signal_name(written) == name


@pytest.mark.parametrize(
    "written",
    ["", "TREM", "0", "65", "32", "RTMIN+99", "RTMAX+1", "RTMAX-x", "RTMAX-99", "SIG", None],
)
def test_an_unknown_signal_is_refused(written: object) -> None:
    with pytest.raises(RefusedError, match=r"name of a signal|no signal of this number"):
        signal_name(written)


def test_an_unknown_signal_is_answered_with_the_nearest() -> None:
    assert "did you mean TERM?" in faults_of(worker_stop_signal="SIGTREM")[0]
    assert "did you mean QUIT?" in faults_of(signal="QIUT=shutdown")[0]
    assert "did you mean shutdown?" in faults_of(signal="QUIT=shutdwon")[0]


def test_signals_mean_what_the_design_says() -> None:
    means = Options().signal

    assert means["TERM"] == "shutdown"
    assert means["INT"] == "interrupt"
    assert means["HUP"] == "recycle"
    assert (means["TTIN"], means["TTOU"]) == ("scale-up", "scale-down")
    assert means["RTMIN+3"] == "shutdown"
    assert (means["WINCH"], means["TSTP"], means["CONT"]) == ("window", "stop-self", "continue")
    assert {means[name] for name in ("USR1", "USR2", "QUIT", "ALRM", "RTMIN", "IO")} == {"forward"}


def test_a_mapping_changes_its_signal_and_no_other() -> None:
    assert Options(signal=["SIGQUIT=shutdown", "USR1=SIGUSR2"]).signal == DEFAULT_MEANINGS | {
        "QUIT": "shutdown",
        "USR1": "USR2",
    }
    assert Options(signal={"QUIT": "ignore"}).signal["QUIT"] == "ignore"


@pytest.mark.parametrize("name", ["KILL", "STOP", "CHLD", "SEGV", "PIPE"])
def test_what_cannot_be_taken_in_cannot_be_mapped(name: str) -> None:
    with pytest.raises(RefusedError, match=f"{name} cannot be mapped"):
        meaning(f"{name}=shutdown")


def test_no_signal_can_be_turned_into_kill() -> None:
    with pytest.raises(RefusedError, match="cannot be turned into"):
        meaning("USR1=KILL")


@pytest.mark.parametrize("written", ["QUIT", "QUIT=", "=shutdown", "", 3, None, "QUIT==x"])
def test_a_bad_mapping_is_refused(written: object) -> None:
    with pytest.raises(RefusedError):
        meaning(written)


def test_a_signal_mapped_twice_is_refused() -> None:
    faults = faults_of(signal=["QUIT=shutdown", "SIGQUIT=recycle"])

    assert faults == ["signal: QUIT is given twice"]


@pytest.mark.parametrize("name", ["KILL", "STOP", "CHLD"])
def test_what_no_program_can_take_as_a_request_is_no_stop_signal(name: str) -> None:
    assert f"{name} cannot ask a worker to stop" in faults_of(worker_stop_signal=name)[0]


# --- workers' environment ------------------------------------------------------------------------


def test_variables_for_workers_come_as_pairs_or_as_a_table() -> None:
    expected = (("A", "1=2"), ("B", ""))

    assert Options(worker_env=["A=1=2", "B="]).worker_env == expected
    assert Options(worker_env={"A": "1=2", "B": ""}).worker_env == expected
    assert Options(worker_env={"PORT": 80}).worker_env == (("PORT", "80"),)


@pytest.mark.parametrize(
    "entries", ["s3cr3t", ["=s3cr3t"], ["A=s3cr3t\0"], {"A": ["s3cr3t"]}, {"": "s3cr3t"}]
)
def test_a_fault_never_shows_a_variables_value(entries: object) -> None:
    (fault,) = faults_of(worker_env=entries)

    assert fault.startswith("worker_env (not shown): expected NAME=VALUE")
    assert "s3cr3t" not in fault


def test_a_description_names_variables_and_shows_no_value() -> None:
    options = Options(worker_env=["TOKEN=s3cr3t"], bind=[":80"], signal="QUIT=shutdown")

    described = options.describe()

    assert described["worker.env"] == ["TOKEN"]
    assert described["bind"] == [":80"]
    assert described["signal"] == {"QUIT": "shutdown"}
    assert described["worker.count"] == "4"
    assert set(described) == set(SETTINGS)
    assert "s3cr3t" not in repr(options) + str(described)


# --- contradictions ------------------------------------------------------------------------------


def test_the_time_to_stop_is_what_the_budget_leaves() -> None:
    options = Options(shutdown_grace_period="30s", shutdown_delay="5s")

    assert options.shutdown_timeout == 24.0


def test_a_budget_that_just_fits_is_accepted_whatever_its_fractions() -> None:
    options = Options(
        shutdown_grace_period="0.6s",
        shutdown_delay="100ms",
        shutdown_timeout="200ms",
        shutdown_margin="300ms",
    )

    assert options.shutdown_timeout == 0.2


def test_a_budget_that_does_not_fit_is_refused_with_its_sum() -> None:
    (fault,) = faults_of(
        shutdown_grace_period=20, shutdown_delay=5, shutdown_timeout="15s", shutdown_margin="1500ms"
    )

    assert fault.startswith(
        "shutdown.delay 5s + shutdown.timeout 15s + shutdown.margin 1.5s = 21.5s "
        "does not fit into shutdown.grace_period 20s, it is 1.5s too much "
    )
    assert "shutdown.grace_period: shutdown_grace_period" in fault


def test_a_budget_that_leaves_nothing_is_refused() -> None:
    (fault,) = faults_of(shutdown_grace_period=10, shutdown_delay=9)

    assert "= 10s leaves no time to stop workers in shutdown.grace_period 10s" in fault
    assert "shutdown.margin: default" in fault


def test_a_recycle_that_can_neither_start_nor_stop_a_worker_is_refused() -> None:
    (fault,) = faults_of(recycle_max_surge="0%", recycle_max_unavailable=0)

    assert "recycle.max_surge and recycle.max_unavailable are both 0" in fault


def test_swapping_without_room_for_new_workers_is_refused() -> None:
    (fault,) = faults_of(bind_mode="swapped", recycle_max_surge=0, recycle_max_unavailable=1)

    assert "recycle.max_surge 0 leaves no room" in fault
    assert "bind.mode: bind_mode" in fault


def test_a_watchdog_without_notify_is_refused() -> None:
    assert "worker.watchdog 3s needs worker.require notify" in faults_of(worker_watchdog=3)[0]
    assert Options(worker_watchdog=3, worker_require="notify").worker_watchdog == 3.0


def test_listen_without_a_socket_is_refused() -> None:
    """It could never become ready."""
    assert "worker.require listen needs a socket" in faults_of(worker_require="listen")[0]
    assert Options(worker_require="listen", bind=":80").worker_require == "listen"


def test_nothing_is_concluded_from_a_value_that_was_refused() -> None:
    """One mistake is one line, not two."""
    assert len(faults_of(shutdown_grace_period=10, shutdown_delay="20 s")) == 1
    assert len(faults_of(worker_require="listen", bind="8080")) == 1


# --- amounts of memory ---------------------------------------------------------------------------

MIB = 1 << 20


@pytest.mark.parametrize(
    ("written", "amount"),
    [
        ("512MiB", 512 * MIB),
        ("512Mi", 512 * MIB),
        ("1.5GiB", 1536 * MIB),
        ("1.5GB", 1_500_000_000),
        ("1500M", 1_500_000_000),
        ("1G", 1_000_000_000),
        ("2048KiB", 2 * MIB),
        ("2000kB", 2_000_000),
        ("536870912", 512 * MIB),
        (536870912, 512 * MIB),
    ],
)
def test_an_amount_of_memory_has_a_unit_or_is_bytes(written: object, amount: int) -> None:
    size = Options(worker_max_memory=written).worker_max_memory
    assert size is not None
    assert size.of(0) == amount


@pytest.mark.parametrize("written", ["off", 0, "0"])
def test_no_amount_of_memory_is_off(written: object) -> None:
    assert Options(worker_max_memory=written).worker_max_memory is None


def test_a_percentage_is_of_the_limit() -> None:
    size = Options(worker_max_memory="40%").worker_max_memory
    assert size is not None
    assert size.of(1000) == 400
    assert str(size) == "40%"


@pytest.mark.parametrize(
    "written",
    ["512", 512, "1023KiB", "512 MiB", "512mib", "-1MiB", "1.5", "nan", "", "MiB", ".", "1..5GB",
     "0%", "101%", "50.5%", "9999999GiB", True, None, 1.5e9 + 0.5, ["1GiB"]],
)  # fmt: skip
def test_what_is_no_amount_of_memory_is_refused(written: object) -> None:
    """512 is a number whose unit was forgotten."""
    (fault,) = faults_of(worker_max_memory=written)
    assert fault.startswith(f'worker_max_memory {written!r}: expected "off", an amount of memory')


# --- paths ---------------------------------------------------------------------------------------


def test_paths_are_watched_in_their_order() -> None:
    assert Options(recycle_watch=["/etc/b", "a.toml"]).recycle_watch == ("/etc/b", "a.toml")
    assert Options(recycle_watch="/etc/b").recycle_watch == ("/etc/b",)


def test_a_path_that_is_none_or_stands_twice_is_refused() -> None:
    assert faults_of(recycle_watch=["/a", "/b", "/a"]) == ["recycle_watch: /a is given twice"]
    assert faults_of(recycle_watch=[""]) == ["recycle_watch '': expected a path"]
    assert faults_of(recycle_watch=["/a\0b"]) == ["recycle_watch '/a\\x00b': expected a path"]


# --- faults --------------------------------------------------------------------------------------


def test_all_faults_come_at_once() -> None:
    faults = faults_of(
        recycle_timout=1, worker_count=0, bind=["x", ":99999", ":1"], log_level="loud"
    )

    assert len(faults) == 5
    assert faults[0] == "recycle_timout: unknown setting, did you mean recycle_timeout?"


def test_nested_tables_are_the_same_as_attributes() -> None:
    nested = {
        "recycle": {"timeout": 15, "max_surge": "50%"},
        "bind": [":80"],
        "worker": {"env": {"A": "b"}},
        "signal": {"QUIT": "shutdown"},
    }

    same = Options(
        recycle_timeout="15s",
        recycle_max_surge="50%",
        bind=":80",
        worker_env=["A=b"],
        signal="QUIT=shutdown",
    )
    assert Options.from_dict(nested).changed(same) == []


def test_a_nested_bind_table_has_its_addresses_and_its_details() -> None:
    options = Options.from_dict({"bind": {"address": [":80"], "backlog": 511}})

    assert [str(bind) for bind in options.bind] == [":80"]
    assert options.bind_backlog == 511


def test_unknown_keys_of_nested_tables_are_refused() -> None:
    with pytest.raises(UsageError) as raised:
        Options.from_dict({"recycle": {"timout": 1}, "restart": 3, "margin": "1s", "foo": 1})

    assert raised.value.faults == [
        "recycle.timout: unknown setting, did you mean recycle.timeout?",
        "restart 3: expected a table of settings",
        "margin: unknown setting, did you mean shutdown.margin?",
        "foo: unknown setting",
    ]


def test_the_settings_that_changed_are_named() -> None:
    assert Options(worker_count=2).changed(Options(worker_count=3, bind=":1")) == [
        "worker.count",
        "bind",
    ]


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("recycle.timout", "recycle.timeout"),
        ("recylce.timeout", "recycle.timeout"),
        ("xyz", None),
        ("", None),
    ],
)
def test_the_nearest_name_is_found_by_slips_of_the_finger(word: str, meant: str | None) -> None:
    assert nearest(word, SETTINGS) == meant


@UNHURRIED
@given(st.sampled_from(sorted(SETTINGS)), ANYTHING)
def test_no_value_brings_anything_but_a_fault(name: str, value: object) -> None:
    """One printable line a fault, whatever the value; never another exception."""
    faults: list[str] = []

    SETTINGS[name].value_of(Given(value, "here"), faults)

    assert all(fault.startswith("here") and fault.isprintable() for fault in faults)


@UNHURRIED
@given(st.dictionaries(st.text() | st.sampled_from(sorted(GROUPS)), ANYTHING, max_size=4))
def test_no_table_brings_anything_but_a_fault(table: dict[str, object]) -> None:
    faults: list[str] = []

    found = flatten(table, plain, faults)

    assert set(found) <= set(SETTINGS)
    assert all(fault.isprintable() for fault in faults)
