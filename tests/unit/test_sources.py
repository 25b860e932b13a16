"""Where settings come from: precedence, spellings, typing errors, and the words of each fault."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from srvinit.errors import UsageError
from srvinit.options import SETTINGS, Options
from srvinit.settings.file import LARGEST_FILE_BYTES, line_numbers, parse_file
from srvinit.settings.sources import Arguments, Sources
from srvinit.settings.variables import read_environment

if TYPE_CHECKING:
    from pathlib import Path

UNHURRIED = settings(deadline=None)  # a busy machine is no fault of the code
COMMAND = ["--", "web"]


def load(*argv: str, **environ: str) -> Options:
    return Sources([*argv, *COMMAND], environ).load()


def faults_of(argv: list[str], environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(UsageError) as raised:
        Sources(argv, environ or {}).load()
    return raised.value.faults


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "srvinit.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


# --- the command line ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "argv",
    [
        ["-w", "3"],
        ["-w3"],
        ["--worker-count", "3"],
        ["--worker-count=3"],
    ],
)
def test_a_flag_takes_its_value_in_every_usual_way(argv: list[str]) -> None:
    assert str(load(*argv).worker_count) == "3"


@pytest.mark.parametrize(
    ("argv", "command"),
    [
        (["--", "web", "-w", "3"], ["web", "-w", "3"]),
        (["web", "-w", "3"], ["web", "-w", "3"]),
        (["-w", "2", "web", "--", "x"], ["web", "--", "x"]),
        (["--", "--", "x"], ["--", "x"]),
        (["-w", "2", "--", "-x"], ["-x"]),
        (["-"], ["-"]),
    ],
)
def test_options_end_at_two_dashes_or_at_the_first_other_word(
    argv: list[str], command: list[str]
) -> None:
    sources = Sources(argv, {})

    assert sources.command == command
    assert sources.load()


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("--worker-ignore-sigint", True),
        ("--no-worker-ignore-sigint", False),
        ("--worker-ignore-sigint=false", False),
        ("--worker-ignore-sigint=true", True),
    ],
)
def test_a_switch_can_be_set_and_unset(word: str, *, value: bool) -> None:
    assert load(word).worker_ignore_sigint is value


def test_a_repeatable_flag_keeps_its_order() -> None:
    options = load("-b", ":2", "--bind=:1", "-b:3")

    assert [bind.port for bind in options.bind] == [2, 1, 3]


@pytest.mark.parametrize(
    ("argv", "fault"),
    [
        ([], "no command: expected srvinit [options] -- COMMAND [ARG...]"),
        (["--"], "no command: expected srvinit [options] -- COMMAND [ARG...]"),
        (["--", ""], "the command is empty: expected srvinit [options] -- COMMAND [ARG...]"),
        (["-w", "--", "x"], "-w: expected N after it"),
        (["-w", "-b", ":80", "--", "x"], "-w: expected N after it"),
        (["-w", "2", "--worker-count=3", "x"], "--worker-count '3': given twice, first as -w '2'"),
        (
            ["--no-worker-signal-group", "--worker-signal-group", "x"],
            "--worker-signal-group 'true': given twice, first as --no-worker-signal-group 'false'",
        ),
        (["--worker-cuont", "3", "--", "x"], "--worker-cuont: unknown option, did you mean "),
        (["--workers", "3", "--", "x"], "--workers: unknown option, did you mean --worker-count?"),
        (["--margin=1", "x"], "--margin: unknown option, did you mean --shutdown-margin?"),
        (["--hepl", "--", "x"], "--hepl: unknown option, did you mean --help?"),
        (["-x", "--", "x"], "-x: unknown option"),
        (["--no-worker-count", "x"], "--no-worker-count: --worker-count is no switch, it takes N"),
        (["--no-bind-nodelay=1", "x"], "--no-bind-nodelay '1': expected no value; use --bind-nod"),
        (["-c", "", "x"], "-c '': expected a path"),
    ],
)
def test_a_wrong_command_line_is_refused(argv: list[str], fault: str) -> None:
    (found,) = faults_of(argv)

    assert found.startswith(fault)


def test_a_switch_followed_by_a_truth_value_does_not_run_the_program_of_that_name() -> None:
    """/bin/false exists; `--flag false -- web` would run it for ever."""
    (fault,) = faults_of(["--worker-signal-group", "false", "--", "web"])

    assert fault.startswith("--worker-signal-group 'false': expected --worker-signal-group=false")


def test_an_unknown_options_value_is_not_taken_for_the_command() -> None:
    faults = faults_of(["--unheard-of", "3", "-w", "x", "--", "web"])

    assert [fault.partition(":")[0] for fault in faults] == ["--unheard-of", "-w 'x'"]


def test_an_unknown_options_value_is_never_shown() -> None:
    faults = faults_of(["--worker-evn=TOKEN=s3cr3t", "--pass", "s3cr3t", "-zs3cr3t", "--", "web"])

    assert len(faults) == 3
    assert "s3cr3t" not in str(faults)


def test_bytes_that_are_no_text_survive() -> None:
    path = b"/run/\xff.sock".decode("utf-8", "surrogateescape")

    sources = Sources(["-b", f"unix:{path}", "--", path], {})

    assert sources.load().bind[0].path == path
    assert sources.command == [path]


def test_bytes_that_are_no_text_are_shown_as_such() -> None:
    (fault,) = faults_of(["-w", "\udcff", "--", "x"])

    assert fault.startswith(r"-w '\udcff'")


@pytest.mark.parametrize(
    ("argv", "asked"),
    [
        (["-h"], "help"),
        (["--version"], "version"),
        (["-w", "x", "--help"], "help"),
        (["x", "-h"], ""),
    ],
)
def test_help_and_version_are_asked_for_among_the_options(argv: list[str], asked: str) -> None:
    assert Sources(argv, {}).asks_for == asked


@UNHURRIED
@given(
    st.lists(st.text(max_size=6) | st.sampled_from(["--", "-w", "-b", "--no-", "--=", "-=", "-w="]))
)
def test_no_command_line_brings_anything_but_faults(argv: list[str]) -> None:
    arguments = Arguments(argv)

    assert arguments.faults or arguments.command == argv[len(argv) - len(arguments.command) :]
    assert all(fault.isprintable() for fault in arguments.faults)


# --- precedence ----------------------------------------------------------------------------------


def test_the_command_line_goes_over_the_environment_over_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, '[recycle]\ntimeout = "1s"\nsettle = "1s"\nretries = 1\n')

    options = load(
        "--recycle-timeout=3s",
        SRVINIT_CONFIG=path,
        SRVINIT_RECYCLE_TIMEOUT="2s",
        SRVINIT_RECYCLE_SETTLE="2s",
    )

    assert (options.recycle_timeout, options.recycle_settle, options.recycle_retries) == (3, 2, 1)
    assert options.sources == {
        "recycle.timeout": "--recycle-timeout",
        "recycle.settle": "SRVINIT_RECYCLE_SETTLE",
        "recycle.retries": f"{path}: recycle.retries",
    }


def test_a_list_is_taken_whole_from_one_source() -> None:
    options = load("-b", ":1", SRVINIT_BIND=":2,:3")

    assert [bind.port for bind in options.bind] == [1]


def test_a_value_that_is_overridden_must_still_be_a_good_one() -> None:
    """It would come to light on the day the flag is taken away."""
    assert faults_of(["-w", "2", *COMMAND], {"SRVINIT_WORKER_COUNT": "x"})[0].startswith(
        "SRVINIT_WORKER_COUNT 'x'"
    )


def test_the_flag_for_the_file_goes_over_the_variable(tmp_path: Path) -> None:
    path = written(tmp_path, "[worker]\ncount = 7\n")

    assert str(load("-c", path, SRVINIT_CONFIG="/nonexistent").worker_count) == "7"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("1.5s", 1.5), ("2m", 120.0), ("15", 15.0), ("0", 0.0)],
)
def test_a_duration_is_the_same_by_all_ways(tmp_path: Path, text: str, seconds: float) -> None:
    path = written(tmp_path, f'[restart]\ndelay = "{text}"\n')

    assert load("--restart-delay", text).restart_delay == seconds
    assert load(SRVINIT_RESTART_DELAY=text).restart_delay == seconds
    assert load("-c", path).restart_delay == seconds


@pytest.mark.parametrize("text", ["-1", "nan", "", "10 s", "1e+06"])
def test_a_bad_duration_is_refused_by_all_ways(tmp_path: Path, text: str) -> None:
    path = written(tmp_path, f'[restart]\ndelay = "{text}"\n')

    for argv, environ, source in (
        (["--restart-delay", text], {}, "--restart-delay"),
        ([], {"SRVINIT_RESTART_DELAY": text}, "SRVINIT_RESTART_DELAY"),
        (["-c", path], {}, f"{path}:2: restart.delay"),
    ):
        (fault,) = faults_of([*argv, *COMMAND], environ)
        assert fault.startswith(f"{source} {text!r}: expected a duration: 15s, ")


@pytest.mark.parametrize("setting", SETTINGS)
def test_every_setting_is_read_from_every_source(tmp_path: Path, setting: str) -> None:
    """Proven by a value that none takes: each source refuses it under its own name for it."""
    row = SETTINGS[setting]
    group, _, name = setting.partition(".")
    path = written(tmp_path, f"[{group}]\n{name} = -1\n" if name else f"\n{group} = -1\n")

    assert faults_of([f"{row.flag}=", *COMMAND])[0].startswith(f"{row.flag} ")
    assert faults_of(COMMAND, {row.variable: ""})[0].startswith(f"{row.variable} ")
    assert faults_of(["-c", path, *COMMAND])[0].startswith(f"{path}:2: {setting} ")


# --- the environment -----------------------------------------------------------------------------


def test_lists_in_the_environment_are_separated_by_commas_or_line_ends() -> None:
    assert [bind.port for bind in load(SRVINIT_BIND=":1, :2\n:3\n").bind] == [1, 2, 3]
    assert load(SRVINIT_SIGNAL="QUIT=shutdown,USR1=ignore").signal["USR1"] == "ignore"


def test_variables_for_workers_are_separated_by_line_ends_alone() -> None:
    options = load(SRVINIT_WORKER_ENV="NO_PROXY=a,b\nB= 2\n")

    assert options.worker_env == (("NO_PROXY", "a,b"), ("B", " 2"))


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("SRVINIT_RECYCLE_TIMOUT", ", did you mean SRVINIT_RECYCLE_TIMEOUT?"),
        ("SRVINIT_WORKER_COUTN", ", did you mean SRVINIT_WORKER_COUNT?"),
        ("SRVINIT_WORKERS", ", did you mean SRVINIT_WORKER_COUNT?"),
        ("SRVINIT_CONFGI", ", did you mean SRVINIT_CONFIG?"),
        ("SRVINIT_MARGIN", ", did you mean SRVINIT_SHUTDOWN_MARGIN?"),
        ("srvinit_worker_count", ", did you mean SRVINIT_WORKER_COUNT?"),
        ("SRVINIT_RECYCLE_SOMETHING_ELSE", ""),
        ("SRVINIT_HTTP_PORT", ""),
    ],
)
def test_a_name_close_to_a_settings_is_refused(name: str, hint: str) -> None:
    assert faults_of(COMMAND, {name: "8080"}) == [f"{name}: unknown variable{hint}"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("SRVINIT_PORT", "tcp://10.0.0.1:80"),
        ("SRVINIT_SERVICE_HOST", "10.0.0.1"),
        ("SRVINIT_SERVICE_PORT", "80"),
        ("SRVINIT_SERVICE_PORT_HTTP", "80"),
        ("SRVINIT_PORT_80_TCP", "tcp://10.0.0.1:80"),
        ("SRVINIT_PORT_80_TCP_PROTO", "tcp"),
        ("SRVINIT_PORT_80_TCP_PORT", "80"),
        ("SRVINIT_PORT_80_TCP_ADDR", "10.0.0.1"),
        ("SRVINIT_PORT_53_UDP_ADDR", "10.0.0.1"),
        ("SRVINIT_HTTP_PORT", "tcp://10.0.0.1:80"),
        ("SRVINIT_WORKER_SERVICE_HOST", "10.0.0.1"),
        ("SRVINIT_LOG_PORT_9090_TCP_PORT", "9090"),
    ],
)
def test_what_kubernetes_injects_for_a_service_is_left_alone(name: str, text: str) -> None:
    """A Service called srvinit, or srvinit-http and the like."""
    assert load(**{name: text}).sources == {}


@pytest.mark.parametrize(
    "name", ["SRVINIT_WORKER", "SRVINIT_GENERATION", "SRVINIT_IMAGE", "SRVINI"]
)
def test_other_variables_are_left_alone(name: str) -> None:
    assert load(**{name: "1"}).sources == {}


@UNHURRIED
@given(st.dictionaries(st.text().map("SRVINIT_{}".format), st.text()))
def test_no_environment_brings_anything_but_faults(environ: dict[str, str]) -> None:
    faults: list[str] = []

    read_environment(environ, faults)

    assert all(fault.isprintable() for fault in faults)


def test_inherited_sockets_can_be_listened_on() -> None:
    assert load("--worker-require=listen", LISTEN_FDS="1", LISTEN_PID="1").bind == ()


# --- the file ------------------------------------------------------------------------------------

EVERY_FORM = """\
# settings
bind = [
    ":8080",  # the site
    "admin=127.0.0.1:9000",
]
recycle.timeout = 20

[worker]
count = "auto*2"
env = { A = "1", B = 2 }
signal_group = true

[signal]
QUIT = "shutdown"
"""


def test_a_file_holds_every_form(tmp_path: Path) -> None:
    options = load("-c", written(tmp_path, EVERY_FORM))

    assert [bind.name for bind in options.bind] == ["", "admin"]
    assert options.recycle_timeout == 20.0
    assert options.worker_count.resolve(3) == 6
    assert options.worker_env == (("A", "1"), ("B", "2"))
    assert options.worker_signal_group is True
    assert options.signal["QUIT"] == "shutdown"


def test_a_bind_table_has_its_addresses(tmp_path: Path) -> None:
    options = load("-c", written(tmp_path, '[bind]\naddress = [":80"]\nbacklog = 511\n'))

    assert ([bind.port for bind in options.bind], options.bind_backlog) == ([80], 511)


def test_the_line_of_every_key_is_known() -> None:
    lines = line_numbers(EVERY_FORM)

    assert lines["bind"] == 2
    assert lines["recycle.timeout"] == 6
    assert (lines["worker"], lines["worker.count"], lines["worker.env"]) == (8, 9, 10)
    assert lines["signal.QUIT"] == 14


def test_keys_inside_long_texts_are_no_keys() -> None:
    text = 'a = """\n[recycle]\nx = 1\n"""\n[recycle]\nx = 2\n[[list]]\ny = 1\n'

    assert line_numbers(text) == {"a": 1, "recycle": 5, "recycle.x": 6, "list": 7, "list.y": 8}


def test_a_value_of_very_many_lines_costs_line_numbers_not_time() -> None:
    """PID 1 reads the file; nothing it holds may keep PID 1 for seconds."""
    faults: list[str] = []

    parse_file("srvinit.toml", "foo = [\n" + "1,\n" * 15_000 + "]\nbar = 1\n", faults)

    assert faults == [f"srvinit.toml: {key}: unknown setting" for key in ("foo", "bar")]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[recycle]\n\nsettel = 1\n", ":3: recycle.settel: unknown setting, did you mean recyc"),
        ("\nfoo = 1\n", ":2: foo: unknown setting"),
        ("[worker]\ncount = 0\n", ":2: worker.count 0: expected a whole number from 1"),
        ("[worker]\ncount = 1\ncount = 2\n", ":3: Cannot overwrite a value; expected TOML"),
        ("[worker\n", ":1: "),
        ("x = \n", ":1: Invalid value; expected TOML"),
        ('x = "', ":1: "),
        ('bind = [":80",\n  "x",\n]\n', ":1: bind 'x': expected [NAME=]:PORT"),
        ("worker = 4\n", ":1: worker 4: expected a table of settings"),
        ("[[bind]]\naddress = ':80'\n", ":1: bind {'address': ':80'}: expected [NAME=]"),
        ("[restart]\ndelay = nan\n", ":2: restart.delay nan: expected a duration"),
        ("[restart]\ndelay = 1979-05-27\n", ":2: restart.delay datetime.date(1979, 5, 27): exp"),
        ("[worker]\nenv = { TOKEN = ['s3cr3t'] }\n", ":2: worker.env (not shown): expected NAME"),
        ("config = 'x'\n", ":1: config: unknown setting"),
        ("x = " + "[" * 5000 + "\n", ":1: nested too deeply; expected TOML"),
        ('"a\\nb" = 1\n', ":1: 'a\\nb': unknown setting"),
    ],
)
def test_a_fault_in_a_file_names_file_line_and_key(text: str, fault: str) -> None:
    faults: list[str] = []

    found = parse_file("srvinit.toml", text, faults)
    if not faults:
        with pytest.raises(UsageError) as raised:
            Options.from_given(found, faults)
        faults = raised.value.faults

    assert faults[0].startswith(f"srvinit.toml{fault}")
    assert len(faults) == 1


def test_the_file_is_read_anew_by_every_load(tmp_path: Path) -> None:
    """What SIGHUP relies on: a changed value, then a faulty file, then a good one again."""
    path = written(tmp_path, "[worker]\ncount = 2\n")
    sources = Sources(["-c", path, *COMMAND], {})
    assert str(sources.load().worker_count) == "2"

    written(tmp_path, "[worker]\ncount = 4\n")
    assert str(sources.load().worker_count) == "4"

    written(tmp_path, "[worker]\ncuont = 4\n")
    with pytest.raises(UsageError) as raised:
        sources.load()
    assert raised.value.faults == [
        f"{path}:2: worker.cuont: unknown setting, did you mean worker.count?"
    ]

    written(tmp_path, "[worker]\ncount = 1\n")
    assert str(sources.load().worker_count) == "1"


def test_what_is_no_readable_file_is_refused(tmp_path: Path) -> None:
    missing = str(tmp_path / "/".join(["a-folder-with-a-long-name"] * 8) / "missing.toml")
    long = written(tmp_path, "#" * (LARGEST_FILE_BYTES + 1))
    latin = tmp_path / "latin.toml"
    latin.write_bytes(b"\n# caf\xe9\n")

    assert faults_of(["-c", missing, *COMMAND]) == [
        f"-c '{missing}': cannot be read: No such file or directory"
    ]
    assert faults_of(["-c", str(tmp_path), *COMMAND])[0].endswith("expected a regular file")
    assert faults_of(["-c", long, *COMMAND])[0].endswith("of at most 65536 bytes")
    assert faults_of(["-c", str(latin), *COMMAND]) == [f"{latin}:2: not UTF-8; expected TOML"]
    assert faults_of(COMMAND, {"SRVINIT_CONFIG": ""}) == ["SRVINIT_CONFIG '': expected a path"]


def test_a_device_without_an_end_does_not_hold_the_start_up() -> None:
    assert faults_of(["-c", "/dev/zero", *COMMAND])[0].endswith("expected a regular file")


@UNHURRIED
@given(st.text())
def test_no_text_in_a_file_brings_anything_but_faults(text: str) -> None:
    faults: list[str] = []

    parse_file("srvinit.toml", text, faults)

    assert all(fault.isprintable() for fault in faults)


def test_faults_of_all_sources_come_together(tmp_path: Path) -> None:
    path = written(tmp_path, "[worker]\nfoo = 1\n")

    faults = faults_of(
        ["-c", path, "--bnid", ":1", "-w", "x", "--", "web"],
        {"SRVINIT_RECYCLE_TIMOUT": "1", "SRVINIT_LOG_LEVEL": "loud"},
    )

    assert [fault.split(maxsplit=1)[0] for fault in faults] == [
        "--bnid:",
        "SRVINIT_RECYCLE_TIMOUT:",
        f"{path}:2:",
        "-w",
        "SRVINIT_LOG_LEVEL",
    ]


def test_toml_is_not_imported_without_a_file() -> None:
    kept = sys.modules.pop("tomllib", None)
    try:
        assert load("-w", "4", "-b", ":8080", SRVINIT_LOG_LEVEL="debug").log_level == "debug"
        assert "tomllib" not in sys.modules
    finally:
        if kept:
            sys.modules["tomllib"] = kept
