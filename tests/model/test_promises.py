"""DESIGN section 4's and 7a's promises, under any interleaving that hypothesis can think of.

The same simulated processes as in the simulator, but hypothesis chooses what happens, and shrinks
what fails; the failure is printed as a unit test to paste.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import oracle
import seats
import swapped
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from replay import DrawnOptions, Recording
from simulated import KILLED, Behaviour, World

from srvinit.lifecycle import events

if TYPE_CHECKING:
    from srvinit.lifecycle.events import Event

CRASH = 1 << 8
BEHAVIOURS = {
    "quick": Behaviour(),
    "slow": Behaviour(ready_after=1.2, stops_after=0.8),
    "never ready": Behaviour(ready_after=None, stops_after=None),
    "stubborn": Behaviour(stops_after=None),
    "lingering": Behaviour(stops_after=3.0),
    "crashing at start": Behaviour(ready_after=None, ends_after=0.3, ends_with=CRASH),
    "crashing before it settled": Behaviour(ends_after=0.4, ends_with=CRASH),
    "crashing later": Behaviour(ends_after=2.5, ends_with=KILLED),
    "max-requests": Behaviour(ends_after=2.5),
    "ending at once": Behaviour(ready_after=0.0, ends_after=0.1),
    "forking": Behaviour(orphans=2),
    "exec fails": Behaviour(exec_status=127, ends_after=0.2),
    "fork fails": Behaviour(fails_to_spawn=True),
    "unkillable": Behaviour(stops_after=None, killed_after=None),
    "hanging": Behaviour(pings_every=0.5, hangs_after=1.0, aborts=False),
    "pinging": Behaviour(pings_every=0.5, repeats_ready=True),
    "busy": Behaviour(seat_empties_after=0.7),
    "stuck": Behaviour(seat_empties_after=None),
    "stuck and crashing": Behaviour(seat_empties_after=None, ends_after=2.5, ends_with=KILLED),
}
SETTINGS = st.fixed_dictionaries(
    {
        "recycle_max_surge": st.sampled_from((1, 0, 2, "50%", "100%")),
        "recycle_max_unavailable": st.sampled_from((1, 2, "50%")),
        "recycle_settle": st.sampled_from((1, 0)),
        "recycle_timeout": st.sampled_from((2, 0)),
        "recycle_retries": st.sampled_from((2, 1)),
        "restart_delay": st.sampled_from((1, 0)),
        "restart_limit": st.sampled_from((0, 3)),
        "restart_reset": st.sampled_from((2, 0)),
        "restart_policy": st.sampled_from(("always", "on-failure", "never")),
        "shutdown_delay": st.sampled_from((0, 1)),
        "shutdown_timeout": st.sampled_from((2, 0)),
        "shutdown_margin": st.sampled_from((1, 0)),
        "worker_quiesce": st.sampled_from((1, 0, 4)),
        "worker_max_queue": st.sampled_from((10, "off")),
        "worker_watchdog": st.sampled_from((0, 1)),
        "worker_max_age": st.sampled_from((0, 4)),
        "worker_require": st.just("notify"),
    },
    optional={"bind": st.just([":8099"])},
)
COUNTS = st.integers(1, 4)
NAMES = ("HUP", "TTIN", "TTOU", "TERM", "INT", "USR1", "CONT", "WINCH")


class Promises(RuleBasedStateMachine):
    """A world that hypothesis plays with, and an oracle that watches."""

    def __init__(self) -> None:
        super().__init__()
        self.kind = "quick"
        self.config: Event | None = None

    @initialize(
        drawn=SETTINGS,
        count=COUNTS,
        kind=st.sampled_from(sorted(BEHAVIOURS)),
        mode=st.sampled_from(("shared", "steered", "swapped")),
    )
    def begin(self, drawn: dict[str, Any], count: int, kind: str, mode: str) -> None:
        self.kind, self.mode = kind, mode
        is_steered = mode != "shared"
        self.drawn = drawn = self._fit(drawn) | ({"bind": [":8099"]} if is_steered else {})
        options = DrawnOptions(**drawn)
        self.world = World(options, count, lambda *_: BEHAVIOURS[self.kind])
        self.world.keeps_history = False
        self.world.is_steered = is_steered
        self.world.next_config = self._next_config
        self.world.waits_on = lambda seat: (0.0, None, 0.4)[seat % 3]
        self.recording = Recording(self.world.pool)
        self.oracle = oracle.Oracle(self.world)
        self.world.begin()

    def _fit(self, drawn: dict[str, Any]) -> dict[str, Any]:
        """Have settings fit the mode, which no file can change."""
        if self.mode != "swapped":
            return drawn
        surge = drawn["recycle_max_surge"] or 1
        return drawn | {"bind_mode": "swapped", "recycle_max_surge": surge}

    def _next_config(self) -> Event:
        config, self.config = self.config, None
        pool = self.world.pool
        return config or events.ConfigRead(pool.options, pool.configured_count)

    def is_alive(self) -> bool:
        return self.world.exit is None

    # --- what may happen ----------------------------------------------------------------------

    @rule(seconds=st.sampled_from((0.0, 0.1, 0.5, 1.0, 3.0)))
    def time_passes(self, seconds: float) -> None:
        self.world.run(seconds)

    @rule(seconds=st.sampled_from((0.5, 20.0)))
    @precondition(is_alive)
    def srvinit_is_suspended(self, seconds: float) -> None:
        self.world.suspend(seconds)
        self.world.run(0.0)

    @rule(kind=st.sampled_from(sorted(BEHAVIOURS)))
    @precondition(is_alive)
    def new_workers_are(self, kind: str) -> None:
        self.kind = kind

    @rule(name=st.sampled_from(NAMES), by_terminal=st.booleans())
    @precondition(is_alive)
    def a_signal_arrives(self, name: str, *, by_terminal: bool) -> None:
        self.world.signal(name, by_terminal=by_terminal)

    @rule(times=st.integers(2, 5))
    @precondition(is_alive)
    def several_sighups_arrive(self, times: int) -> None:
        for _ in range(times):
            self.world.signal("HUP")

    @rule()
    @precondition(is_alive)
    def a_watched_path_changes(self) -> None:
        self.world.feed(events.PathsChanged(["/etc/app"]))

    @rule(which=st.integers(0, 7), status=st.sampled_from((KILLED, 0, CRASH)))
    @precondition(is_alive)
    def a_worker_ends(self, which: int, status: int) -> None:
        pids = self.world.pids()
        if pids:
            self.world.kill(pids[which % len(pids)], status)

    @rule()
    @precondition(is_alive)
    def all_workers_end(self) -> None:
        for pid in self.world.pids():
            self.world.kill(pid)

    @rule(which=st.integers(0, 7))
    @precondition(is_alive)
    def a_worker_is_stopped(self, which: int) -> None:
        pids = self.world.pids()
        if pids:
            self.world.stop(pids[which % len(pids)])

    @rule(which=st.integers(0, 7), size=st.integers(101, 103))
    @precondition(is_alive)
    def a_worker_is_too_large(self, which: int, size: int) -> None:
        pids = self.world.pids()
        if pids:
            self.world.feed(events.TooLarge(pids[which % len(pids)], size, 100))

    @rule(which=st.integers(0, 7), drains=st.booleans())
    @precondition(is_alive)
    def a_queue_is_stuck_or_has_drained(self, which: int, *, drains: bool) -> None:
        seats = sorted(self.world.steered_to | self.world.pool.seats.stuck)
        if self.mode != "swapped" and seats and self.world.pool.options.worker_max_queue:
            seat = seats[which % len(seats)]
            self.world.feed(events.QueueDrained(seat) if drains else events.QueueStuck(seat, 10))

    @rule(drawn=SETTINGS, count=COUNTS)
    @precondition(is_alive)
    def the_file_changes(self, drawn: dict[str, Any], count: int) -> None:
        kept = {"bind": self.drawn["bind"]} if "bind" in self.drawn else {}
        own = {name: value for name, value in self._fit(drawn).items() if name != "bind"}
        self.config = events.ConfigRead(DrawnOptions(**own, **kept), count)

    @rule()
    @precondition(is_alive)
    def the_file_becomes_faulty(self) -> None:
        self.config = events.ConfigRejected(["recycle.tiemout: unknown setting"])

    def teardown(self) -> None:
        """Whatever has happened, it ends within its budget when asked to."""
        if not hasattr(self, "world"):
            return
        if self.world.exit is None:
            self.world.signal("TERM")
            self.world.run(60.0)
            assert self.world.exit is not None, self._as_test("it did not end")
        for promise in oracle.PROMISES:
            self._holds(promise)

    # --- what must hold -----------------------------------------------------------------------

    def _holds(self, *promises: str) -> None:
        for promise in promises:
            broken = self.oracle.broken.get(promise)
            assert not broken, self._as_test(f"{promise}: {broken}")

    def _as_test(self, failure: str) -> str:
        return f"\n\n{self.recording.as_test('found_by_hypothesis', failure)}\n"

    @invariant()
    def a_recycle_never_takes_ready_workers_below_count_minus_max_unavailable(self) -> None:
        """Nor live ones above count + max_surge, outside a shutdown."""
        self._holds(oracle.READY_FLOOR, oracle.LIVE_CEILING)

    @invariant()
    def a_recycle_whose_new_workers_fail_recycle_retries_times_is_given_up(self) -> None:
        """Old workers stay, `recycle.failed` says why; the next SIGHUP starts afresh."""
        self._holds(oracle.GIVES_UP)

    @invariant()
    def any_number_of_sighups_during_a_recycle_causes_exactly_one_further_pass(self) -> None:
        """Begun after the last of them."""
        self._holds(oracle.ONE_MORE_RECYCLE)

    @invariant()
    def a_slot_has_at_most_one_replacement_under_way(self) -> None:
        """And a pid is signalled only while it is unreaped; each stop signal is sent once."""
        self._holds(oracle.ONE_REPLACEMENT, oracle.UNREAPED_ONLY, oracle.ONE_STOP_SIGNAL)

    @invariant()
    def once_shutting_down_nothing_is_spawned_and_the_pool_is_done_by_its_deadline(self) -> None:
        """Whatever the workers do; further TERMs change nothing."""
        self._holds(oracle.NO_SPAWN, oracle.DONE_IN_TIME, oracle.HONEST_STATUS)

    @invariant()
    def only_a_workers_exit_counts_as_a_workers_failure(self) -> None:
        """But an orphan's status never does: the core is told of workers alone."""
        self._holds(oracle.SUMS)

    @invariant()
    def every_worker_is_logged_once_as_started_and_once_as_exited(self) -> None:
        """With slot, generation, pid, status and reason."""
        self._holds(oracle.LOGGED_ONCE)

    @invariant()
    def the_manager_is_told_once_and_nothing_spins_or_piles_up(self) -> None:
        self._holds(oracle.READY_ONCE, oracle.NO_BUSY_LOOP, oracle.BOUNDED)

    # --- where sockets are steered ------------------------------------------------------------

    @invariant()
    def a_worker_gets_its_stop_signal_only_after_its_queue_was_seen_empty(self) -> None:
        """And worker.quiesce has passed since; or half of its time, or three seconds, force it."""
        self._holds(seats.QUIESCED_FIRST, seats.LESS_TIME)

    @invariant()
    def each_queue_that_is_to_empty_is_looked_at_once_the_rotation_avoids_it(self) -> None:
        self._holds(seats.LOOKED_AFTER)

    @invariant()
    def every_ready_unretired_worker_is_in_the_rotation_and_nobody_else(self) -> None:
        self._holds(seats.IN_ROTATION)

    @invariant()
    def the_rotation_is_never_empty_while_anyone_is_ready_and_not_retired(self) -> None:
        """Not even between two orders of one step."""
        self._holds(seats.NEVER_EMPTY)

    @invariant()
    def a_seat_is_held_by_one_live_worker_at_a_time(self) -> None:
        """And never used again, but after a crash."""
        self._holds(seats.ONE_AT_A_TIME)

    @invariant()
    def with_nobody_ready_newcomers_wait_where_somebody_will_read(self) -> None:
        """Never with those who are on their way out."""
        self._holds(seats.WHERE_SOMEBODY_READS)

    @invariant()
    def a_crashed_workers_seat_goes_to_the_next_worker_that_is_started(self) -> None:
        """And the rotation avoids it until that is ready; if nobody would come, somebody does."""
        self._holds(seats.HANDED_ON, seats.RELIEVED)

    @invariant()
    def a_seat_is_closed_once_no_living_or_coming_worker_has_it(self) -> None:
        self._holds(seats.CLOSED_UNUSED)

    @invariant()
    def the_sockets_are_closed_only_after_no_worker_is_quiescing(self) -> None:
        """And at once then."""
        self._holds(seats.SOCKETS_LAST)

    @invariant()
    def the_door_is_shut_when_the_workers_are_asked_to_stop_and_not_before(self) -> None:
        self._holds(seats.DOOR)

    # --- where all share a seat that a recycle swaps --------------------------------------------

    @invariant()
    def all_workers_share_a_seat_and_in_a_recycle_all_new_ones_another(self) -> None:
        self._holds(swapped.ONE_QUEUE)

    @invariant()
    def a_seat_joins_the_rotation_only_when_its_whole_group_has_settled(self) -> None:
        """Or when nobody serves at the other."""
        self._holds(swapped.JOINS_WHOLE)

    @invariant()
    def who_stops_where_newcomers_come_leaves_somebody_there_who_serves(self) -> None:
        self._holds(swapped.LEAVES_OTHERS)

    @invariant()
    def shared_sockets_have_nobody_to_steer(self) -> None:
        """No seats, and no door."""
        self._holds(seats.UNSTEERED)


TestPromises = Promises.TestCase
TestPromises.settings = settings(
    max_examples=600,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
