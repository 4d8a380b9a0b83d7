"""How http_server ends: by Ctrl-C under load, with its device down, with its device gone."""

import re
import socket

import lab
from keepalive_load import Load, read_response

CONNECTIONS = 16
GRACE_SECONDS = 15
# A connection of this load makes thousands of requests a second.
UNLIMITED = ["--keepalive-requests", 1000000000]


def one_sentence(text):
    """The error is one line of prose for the user, no trace of the inside."""
    errors = [line for line in text.splitlines() if re.search(r"runnel|error|device", line, re.I)]
    for inside in ("terminate called", "what():", "Aborted", "Sanitizer", "core dumped"):
        lab.expect(inside not in text, f"the inside shows:\n{text}")
    lab.expect(errors and errors[-1].rstrip().endswith("."), f"no closing sentence:\n{text}")


@lab.case
def ctrl_c_under_load_answers_what_was_accepted():
    with lab.http_server(lab.web_root(), *UNLIMITED) as server, Load(CONNECTIONS) as load:
        load.wait_answers(20)
        server.interrupt()
        load.wait_ends(GRACE_SECONDS)
        lab.expect_equal(load.ends(), {"closed": CONNECTIONS}, "how the connections ended")
        lab.expect_equal(server.exit_code(GRACE_SECONDS), 0, f"exit code\n{server.text()}\n")


@lab.case
def ctrl_c_lets_a_response_under_way_finish():
    size = 8 << 20
    with lab.http_server(lab.web_root(large=size)) as server:
        with socket.create_connection((lab.STACK, 80), timeout=GRACE_SECONDS) as slow, \
             socket.create_connection((lab.STACK, 80), timeout=GRACE_SECONDS) as idle:
            slow.sendall(b"GET /large HTTP/1.1\r\nHost: lab\r\n\r\n")
            begun = slow.recv(4096)
            server.interrupt()
            lab.expect_equal(idle.recv(1), b"", "what an idle connection got besides FIN")
            _, body = read_response(slow, begun)
            lab.expect_equal(len(body), size, "bytes of the response under way")
            lab.expect_equal(slow.recv(1), b"", "what followed the last response besides FIN")
        lab.expect_equal(server.exit_code(GRACE_SECONDS), 0, f"exit code\n{server.text()}\n")


@lab.case
def a_second_ctrl_c_does_not_wait():
    with lab.http_server(lab.web_root(large=8 << 20)) as server:
        with socket.create_connection((lab.STACK, 80), timeout=10) as stuck:
            stuck.sendall(b"GET /large HTTP/1.1\r\nHost: lab\r\n\r\n")
            stuck.recv(1)
            server.interrupt()
            # Two signals at once may arrive as one.
            lab.until(lambda: "again" in server.text(), "the server notes the first Ctrl-C",
                      process=server)
            server.interrupt()
            server.expected = 1
            lab.expect(server.wait_exit(5), f"the server goes on:\n{server.text()}")


@lab.case
def connections_survive_the_device_going_down_and_up():
    with lab.http_server(lab.web_root(), *UNLIMITED) as server, Load(CONNECTIONS) as load:
        load.wait_answers(5)
        lab.run("ip", "link", "set", lab.DEVICE, "down")
        lab.expect(not server.wait_exit(1), f"the server ended:\n{server.text()}")
        lab.run("ip", "link", "set", lab.DEVICE, "up")
        load.wait_answers(20)
        lab.expect_equal(load.ends(), {None: CONNECTIONS}, "how the connections ended")


@lab.case
def a_deleted_device_ends_the_server_with_one_sentence():
    with lab.http_server(lab.web_root(), *UNLIMITED) as server:
        server.expected = 1
        with Load(CONNECTIONS) as load:
            load.wait_answers(5)
            lab.run("ip", "link", "delete", lab.DEVICE)
            lab.expect(server.wait_exit(10), f"the server goes on:\n{server.text()}")
        one_sentence(server.text())


if __name__ == "__main__":
    lab.main()
