"""The simulation behind docs/scale.md agrees with queueing theory and with itself."""

from __future__ import annotations

from itertools import pairwise
from math import factorial, isclose

import pytest

from benchmarks import fleet
from benchmarks.fleet import LADDER, Fleet, Line, Step, mean_wait, most_instances, play


@pytest.mark.parametrize(("servers", "load"), [(1, 0.8), (2, 1.5), (5, 4.5), (48, 40.0)])
def test_mean_wait_is_what_the_birth_death_chain_gives(servers: int, load: float) -> None:
    """The textbook's sum, with its factorials, in place of the recurrence."""
    full = load**servers / factorial(servers) * servers / (servers - load)
    states = sum(load**busy / factorial(busy) for busy in range(servers))
    waits = full / (states + full)

    assert mean_wait(servers, load, 0.01) == pytest.approx(waits * 0.01 / (servers - load))


@pytest.mark.parametrize(("connections", "load"), [(1, 0.5), (5, 0.8), (15, 0.7)])
def test_a_played_pool_waits_as_erlang_says(connections: int, load: float) -> None:
    """On average of ten runs; each seed plays other requests."""
    waits = [fleet.play_pool(seed, connections, load, 40_000) for seed in range(10)]

    assert len(set(waits)) == 10
    expected = mean_wait(connections, load * connections, fleet.HOLD)
    assert sum(waits) / 10 == pytest.approx(expected, rel=0.1)


def test_clients_leave_a_pool_that_is_asked_for_too_much() -> None:
    """At twice what it serves the line grows until it takes as long as clients stay."""
    wait = fleet.play_pool(1, 5, 2.0, 20_000)

    assert 0.9 * fleet.PATIENCE < wait < fleet.PATIENCE


def test_a_line_serves_in_order_and_loses_clients_that_waited_too_long() -> None:
    """Every request is served, left or waiting."""
    line = Line()
    line.advance(0.0, 0.1, 5.0, 2.0)
    line.advance(1.0, 0.1, 1.0, 0.0)
    assert (line.served, line.left, line.waiting) == (2.0, 0.0, 4.0)
    line.advance(2.5, 0.1, 0.0, 0.5)
    assert (line.served, line.left, line.waiting) == (2.5, 3.0, 0.5)


@pytest.mark.parametrize("step", LADDER, ids=lambda step: step.name.replace(" ", "_"))
def test_every_request_is_accounted_for_and_a_step_carries_what_it_says(step: Step) -> None:
    """With a restart and without, within its size and far beyond."""
    most = most_instances(step)
    for instances, restart in ((90, True), (most, False), (30_000, True)):
        day = play(Fleet(step, instances), restart=restart)
        parts = (day.served, day.refused, day.left, day.waiting)
        assert min(parts) > -1e-9 * day.arrived
        assert isclose(day.arrived, sum(parts), rel_tol=1e-9)
        assert day.arrived == pytest.approx(0.6 * instances * fleet.RATE * fleet.DAY, rel=1e-3)
        assert restart or day.refused + day.left == pytest.approx(0, abs=1e-6 * day.arrived)

    assert fleet.lost(Fleet(step, most * 6 // 5 + 1)) > 1e-4


def test_the_steps_carry_what_can_be_reckoned_by_hand() -> None:
    """(max_connections - 3) / 10; max_client_conn / 10; cores / seconds of a request."""
    carried = [most_instances(step) for step in LADDER]

    assert carried[:4] == [97 // 10, 997 // 10, 4997 // 10, 10_000 // 10]
    assert carried[4] == int(48 / (10 * (0.9 * 0.001 + 0.1 * 0.002)))
    assert carried[6] == 48 / (10 * 0.1 * 0.002)
    assert all(less < more for less, more in pairwise(carried))


def test_what_is_beyond_the_connections_is_refused() -> None:
    """19 instances want 190 connections and have 97."""
    day = play(Fleet(LADDER[0], 19), restart=False)

    assert day.refused / day.arrived == pytest.approx(1 - 97 / 190, abs=1e-3)


def test_a_restart_costs_its_outage() -> None:
    """Refused without a pooler; behind one, all but what comes in the last seconds leaves."""
    direct = play(Fleet(LADDER[1], 90), restart=True)
    pooled = play(Fleet(LADDER[4], 3_000), restart=True)
    slow = Step("", poolers=8, login_retry=15.0)

    assert direct.restart == pytest.approx((fleet.OUTAGE, 0), abs=0.1)
    assert pooled.restart == pytest.approx((0, fleet.OUTAGE - fleet.PATIENCE), abs=0.3)
    assert play(Fleet(slow, 3_000), restart=True).restart[1] == pytest.approx(13, abs=0.3)


def test_work_left_over_takes_the_free_capacity() -> None:
    """Two seconds of requests, at 40,000 of the 43,636 that can be served: 22 s."""
    day = play(Fleet(LADDER[4], 4_000), restart=True)
    free = 48 / 0.0011 - 40_000

    assert day.over - fleet.OUTAGE == pytest.approx(fleet.PATIENCE * 40_000 / free, rel=0.2)


def test_reconnecting_takes_as_long_as_the_server_needs_to_accept() -> None:
    """4,500 connections x 0.66 ms, once it is back."""
    day = play(Fleet(LADDER[2], 450), restart=True)

    assert day.over - fleet.OUTAGE == pytest.approx(4_500 * fleet.CONNECT, rel=0.1)
