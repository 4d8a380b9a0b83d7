"""Backlog 8, a sleeping accept loop and a storm of connect() (S24, S32, S33)."""

import socket

import lab
import life

BACKLOG = 8
ROOM = BACKLOG + 1  # one more is let in, as in Linux


def fill(count):
    """Connections that finish their handshake one after the other."""
    return [life.client(blocking=True) for _ in range(count)]


def close_all(clients):
    for one in clients:
        one.close()


@lab.case
def s24_the_accept_queue_holds_one_more_than_the_backlog():
    with life.LifeServer("--hold", "--backlog", BACKLOG, "--syncookies", "off") as server:
        queued = fill(ROOM)
        # The tenth is not answered while the queue is full: its SYN is dropped.
        late = life.client()
        lab.expect(not life.settled([late], 0.5), "a connection too many was let in")
        lab.expect_equal(life.state(late), "SYN-SENT", "the tenth's state")
        lab.expect_equal(server.opened(), [], "accepted before the loop woke up")
        server.accept()
        for one in queued:
            life.echo(one)
        # Its SYN comes again after a second, and now there is room.
        lab.expect(life.settled([late], 10), "the tenth never got in")
        life.echo(late)
        close_all([*queued, late])
        counters = server.finish()
        lab.expect(counters["ListenOverflows"] >= 1, f"no overflow was counted: {counters}")
        lab.expect(counters["ListenDrops"] >= counters["ListenOverflows"], f"drops: {counters}")


@lab.case
def s32_a_storm_loses_nobody_when_the_accept_loop_wakes_up():
    with life.LifeServer("--hold", "--backlog", BACKLOG, "--syncookies", "off") as server:
        storm = [life.client() for _ in range(64)]
        lab.until(lambda: sum(life.state(one) == "ESTAB" for one in storm) >= ROOM, "nine are in")
        server.accept()
        lab.expect(life.settled(storm, 60), "some of the storm never got in")
        for one in storm:
            lab.expect_equal(life.error(one), None, "a connection's error")
            life.echo(one)
        lab.expect_equal(len(server.opened()), 64, "connections accepted")
        close_all(storm)
        counters = server.finish()
        dropped = counters.get("TCPReqQFullDrop", 0) + counters.get("ListenOverflows", 0)
        lab.expect(dropped > 0, f"the storm overflowed nothing: {counters}")


def burst(server, count):
    """Clients whose SYNs the server finds all at once, for it stood still meanwhile."""
    with server.stopped():
        return [life.client() for _ in range(count)]


def overfill(server):
    """Handshakes that all begin while there is room for some: five wait, then nine more finish."""
    queued = fill(5)
    storm = burst(server, ROOM)
    lab.until(lambda: all(life.state(one) != "SYN-SENT" for one in storm), "the storm settled",
              10, server)
    return queued, storm


def overflowed(clients):
    """Those that the server did not let in: their first text goes unanswered or is reset."""
    return [one for one in clients if life.state(one) != "ESTAB"]


@lab.case
def s32_drop_lets_the_overflowed_in_when_they_come_again():
    with life.LifeServer("--hold", "--backlog", BACKLOG, "--syncookies", "off", "--overflow",
                         "drop") as server:
        queued, storm = overfill(server)
        # Every client believes that it is connected: its last ACK was dropped in silence.
        lab.expect_equal(overflowed(storm), [], "clients that were told")
        server.accept()
        for one in [*queued, *storm]:
            life.echo(one)
        close_all([*queued, *storm])
        counters = server.finish()
        lab.expect(counters["ListenOverflows"] >= 5, f"overflows: {counters}")


@lab.case
def s33_reset_tells_exactly_the_overflowed_ones():
    with life.LifeServer("--hold", "--backlog", BACKLOG, "--syncookies", "off", "--overflow",
                         "reset") as server:
        queued, storm = overfill(server)
        lab.until(lambda: len(overflowed(storm)) >= 5, "five were reset", 10, server)
        told = overflowed(storm)
        lab.expect_equal(len(told), len(storm) + len(queued) - ROOM, "clients that were reset")
        for one in told:
            lab.expect(life.error(one) == "Connection reset by peer", "the error of a reset client")
        server.accept()
        for one in [*queued, *(one for one in storm if one not in told)]:
            life.echo(one)
        close_all([*queued, *storm])


@lab.case
def park_keeps_the_overflowed_and_lets_them_in_first():
    with life.LifeServer("--hold", "--backlog", BACKLOG, "--syncookies", "off", "--overflow",
                         "park") as server:
        queued, storm = overfill(server)
        lab.expect_equal(overflowed(storm), [], "clients that were told")
        server.accept()
        for one in [*queued, *storm]:
            life.echo(one)
        lab.expect_equal(len(server.opened()), len(queued) + len(storm), "connections accepted")
        close_all([*queued, *storm])


@lab.case
def s33_cookies_into_a_full_accept_queue_are_parked_and_nobody_is_lost():
    with life.LifeServer("--hold", "--backlog", BACKLOG, "--syncookies", "always") as server:
        storm = burst(server, ROOM + 4)
        lab.expect(life.settled(storm, 10), "a cookie was not answered")
        server.accept()
        for one in storm:
            life.echo(one)
        close_all(storm)
        counters = server.finish()
        lab.expect(counters["SyncookiesSent"] >= len(storm), f"cookies: {counters}")
        lab.expect(counters["SyncookiesRecv"] >= len(storm), f"cookies: {counters}")
        lab.expect_equal(counters.get("SyncookiesFailed", 0), 0, "failed cookies")


@lab.case
def s38_cookies_carry_a_storm_past_a_full_syn_queue():
    with life.LifeServer("--backlog", 128, "--syncookies", "on_overflow") as server:
        storm = burst(server, 400)
        lab.expect(life.settled(storm, 60), "some of the storm never got in")
        for one in storm:
            lab.expect_equal(life.error(one), None, "a connection's error")
            window_scale = one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 8)[6]
            lab.expect(window_scale != 0, "a connection lost its window scale")
            life.echo(one, b"y" * 5000)
        close_all(storm)
        counters = server.finish()
        lab.expect(counters["SyncookiesRecv"] > 200, f"cookies: {counters}")
        lab.expect_equal(counters["TCPReqQFullDoCookies"], counters["SyncookiesSent"], "cookies")


@lab.case
def s33_beyond_what_may_be_parked_a_cookie_is_told_by_rst():
    with life.LifeServer("--hold", "--backlog", 4, "--syncookies", "always") as server:
        storm = burst(server, 60)
        lab.expect(life.settled(storm, 10), "a cookie was not answered")
        # Five wait for accept and as many are parked; of the others nothing would remember.
        lab.until(lambda: len(overflowed(storm)) >= 50, "fifty were told", 10, server)
        server.accept()
        alive = [one for one in storm if life.state(one) == "ESTAB"]
        lab.expect_equal(len(alive), 10, "connections that were let in")
        for one in alive:
            life.echo(one)
        close_all(storm)


if __name__ == "__main__":
    lab.main()
