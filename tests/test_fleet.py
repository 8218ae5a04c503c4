"""The simulation behind docs/scale.md agrees with queueing theory and with itself."""

from __future__ import annotations

from math import factorial, isclose

import pytest

from benchmarks.fleet import day, report, steps
from benchmarks.fleet.day import Day, play
from benchmarks.fleet.pools import Simulation
from benchmarks.fleet.queues import Line, erlang_c, mean_wait
from benchmarks.fleet.steps import LADDER, READ_MOSTLY, Fleet, Step, most_instances
from benchmarks.fleet.worker import Server, Settings

STEPS = [*LADDER, *READ_MOSTLY]


def conserved(found: Day) -> bool:
    """Tell whether every request of a day is accounted for."""
    parts = (found.served, found.refused, found.waiting)
    return min(parts) > -1e-9 * found.arrived and isclose(found.arrived, sum(parts), rel_tol=1e-9)


def as_text(step: Step) -> str:
    """Name a step."""
    return step.name.replace(" ", "_")


# queueing theory


@pytest.mark.parametrize(("servers", "load"), [(1, 0.3), (2, 1.5), (5, 4.5), (48, 40.0)])
def test_erlang_c_is_what_the_birth_death_chain_gives(servers: int, load: float) -> None:
    """The textbook's sum, with its factorials, in place of the recurrence."""
    full = load**servers / factorial(servers) * servers / (servers - load)
    states = [load**busy / factorial(busy) for busy in range(servers)]

    assert erlang_c(servers, load) == pytest.approx(full / (sum(states) + full), rel=1e-12)


def test_one_server_waits_as_m_m_1_does() -> None:
    """Its formula is rho / (1 - rho) times the service time."""
    assert mean_wait(1, 80.0, 0.01) == pytest.approx(0.8 / 0.2 * 0.01)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(("connections", "load"), [(1, 0.5), (5, 0.5), (5, 0.8), (15, 0.9)])
def test_a_played_pool_waits_as_erlang_says(seed: int, connections: int, load: float) -> None:
    """Within twice the doubt that its own runs show, which is small."""
    played = report.play_pool(seed, connections, load, requests=40_000)

    assert played.doubt < 0.5 * played.expected
    assert played.wait == pytest.approx(played.expected, abs=2 * played.doubt)


def test_a_played_pool_keeps_littles_law() -> None:
    """Who waits, averaged over time, is rate x mean wait: counted in two ways."""
    played = report.play_pool(4, 5, 0.9, requests=100_000)
    rate = sum(run.arrived for run in played.runs) / played.seconds / len(played.runs)

    assert played.waiting == pytest.approx(rate * played.wait, rel=0.02)


# single pools


@pytest.mark.parametrize("until", [5.0, 20.5, 29.9, 31.0, 60.0])
def test_every_request_of_a_restart_is_served_refused_or_waiting(until: float) -> None:
    """Whenever the simulation is stopped: before, in and after the outage."""
    server = Server(limit=997, connect=0.02, down=(20, 30))
    simulation = Simulation(5, 40, Settings(), server)
    counts = simulation.run(until)

    assert counts.arrived > 100
    assert counts.arrived == counts.served + counts.refused + simulation.waiting


def test_a_pool_opens_its_overflow_and_no_more() -> None:
    """With more threads than places, who waits for pool_timeout is refused."""
    settings = Settings(threads=300, pool_timeout=0.05, rate=1800.0, hold=0.01)
    counts = Simulation(6, 1, settings, Server(limit=97, connect=0.0001)).run(40.0)

    assert counts.most_open == settings.pool_size + settings.max_overflow == 15
    # 1,500 a second are served of 1,800
    assert counts.refused / counts.arrived == pytest.approx(1 / 6, abs=0.01)


def test_with_as_many_threads_as_connections_nobody_is_timed_out() -> None:
    """The line is for a thread, where no pool_timeout counts: a full worker has no end of it."""
    settings = Settings(pool_timeout=0.05, rate=600.0, hold=0.01)
    simulation = Simulation(7, 1, settings, Server(limit=97, connect=0.0001))
    counts = simulation.run(40.0)

    assert counts.refused == 0
    assert counts.most_open == 5
    assert simulation.waiting == pytest.approx(40 * (600 - 500), rel=0.2)


def test_the_server_is_never_asked_to_hold_more_than_its_limit() -> None:
    """The workers that came first have theirs; the others are refused."""
    server = Server(limit=97, connect=0.001)
    counts = Simulation(8, 40, Settings(), server).run(30.0)

    assert counts.most_open == 97
    assert counts.refused / counts.arrived == pytest.approx(1 - 97 / 200, abs=0.05)


# the fluid


@pytest.mark.parametrize("after", [8.0, 30.0])
@pytest.mark.parametrize("connect", [0.00066, 0.02, 0.1])
def test_the_fluid_restarts_as_the_pools_do(connect: float, after: float) -> None:
    """50 instances, played in both ways, refuse the same number of requests."""
    before = 20.0  # seconds that are looked at
    down = (before, before + day.OUTAGE)
    server = Server(limit=997, connect=connect, down=down)
    instances = 50
    counts = Simulation(7, 2 * instances, Settings(), server).run(down[1] + after)
    found = play(Fleet(LADDER[1], instances), restart=True, connect=connect)
    moments = [one for one in found.moments if -before <= one.time < day.OUTAGE + after]
    refused = sum(one.refused for one in moments) * day.FINE * instances * steps.RATE

    assert refused > 4_900
    assert counts.refused == pytest.approx(refused, rel=0.05)


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("step", STEPS, ids=as_text)
def test_every_request_of_a_day_is_served_refused_or_waiting(step: Step, restart: bool) -> None:
    """On every step, within its size and far beyond."""
    for instances in (1, 90, 30_000):
        found = play(Fleet(step, instances), restart=restart)
        assert found.arrived == pytest.approx(0.6 * instances * steps.RATE * day.DAY, rel=1e-3)
        assert conserved(found)


def test_no_request_is_lost_when_connecting_is_slow() -> None:
    """Neither those that gave up connecting, nor those that waited for a thread."""
    found = play(Fleet(LADDER[1], 50), restart=True, connect=0.1)

    assert found.refused > 10_000
    assert conserved(found)


def test_a_server_is_back_with_no_more_connections_than_it_grants() -> None:
    """Twice as many are asked for."""
    found = play(Fleet(LADDER[1], 200), restart=True)

    assert found.moments[-1].open == pytest.approx(997)
    assert max(moment.open for moment in found.moments) == pytest.approx(997)


@pytest.mark.parametrize("step", STEPS, ids=as_text)
def test_a_step_carries_what_it_says_and_no_more(step: Step) -> None:
    """No request of a day is refused up to there; some are beyond."""
    most = most_instances(step)
    within = play(Fleet(step, most), restart=False)
    beyond = play(Fleet(step, most * 6 // 5 + 1), restart=False)

    assert within.refused == pytest.approx(0, abs=1e-6 * within.arrived)
    assert beyond.refused > 1e-4 * beyond.arrived


def test_each_step_carries_more_than_the_one_before() -> None:
    """So each is worth taking."""
    carried = [most_instances(step) for step in LADDER]

    assert carried == sorted(set(carried))


def test_a_line_serves_in_order_and_loses_who_waits_too_long() -> None:
    """Nobody is lost from sight."""
    line = Line(patience=10.0)
    line.advance(0.0, 5.0, 2.0)
    line.advance(5.0, 1.0, 0.0)
    assert (line.served, line.waiting, line.age(5.0)) == (2.0, 4.0, 5.0)
    line.advance(11.0, 0.0, 0.0)
    assert (line.served, line.refused, line.waiting) == (2.0, 3.0, 1.0)


def test_reconnecting_takes_as_long_as_the_server_needs_to_accept() -> None:
    """All connections x the time of each, once it is back."""
    direct = Step("direct", max_connections=100_000)
    found = play(Fleet(direct, 4_000), restart=True)
    at = {round(one.time, 1): one.open for one in found.moments}

    assert at[9.9] == 0
    assert at[20.0] == pytest.approx(10 / day.CONNECT, rel=0.05)


def test_a_day_is_busiest_at_noon() -> None:
    """A fifth of that at midnight."""
    assert day.rate_at(day.NOON) == pytest.approx(1)
    assert day.rate_at(0) == pytest.approx(0.2)
