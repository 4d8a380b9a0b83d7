"""One connection a request, closed first by the server, with TIME-WAIT of 60 s on."""

import errno
import re

import lab
import life


def reconnect(port):
    """A connection from this port, as soon as the kernel has seen the last one off."""
    made = []

    def free():
        try:
            made.append(life.client(("0.0.0.0", port), blocking=True))
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL:
                raise
        return made
    lab.until(free, f"port {port} is free")
    return made[0]


@lab.case
def s84_a_kernel_client_that_reuses_its_port_reopens_time_wait():
    with life.LifeServer("--close-first") as server:
        for _ in range(200):
            one = reconnect(5001)
            life.echo(one)
            lab.expect(one.recv(1) == b"", "the server's FIN")
            one.close()
        counters = server.finish()
        lab.expect_equal(counters["TW"], 200, "connections in TIME-WAIT")
        lab.expect(counters["RunnelTimeWaitReopened"] >= 199, f"reopened: {counters}")


@lab.case
def requests_200000_in_a_row_from_one_address():
    lab.need("ab")
    with lab.http_server(lab.web_root()):
        text = lab.run("ab", "-q", "-s", 30, "-n", 200000, "-c", 64, lab.url(), timeout=300)
    lab.expect(re.search(r"^Complete requests:\s+200000$", text, re.MULTILINE), text)
    lab.expect(re.search(r"^Failed requests:\s+0$", text, re.MULTILINE), text)
    lab.expect("Non-2xx" not in text, text)
    print("         " + re.search(r"^Requests per second:.*$", text, re.MULTILINE)[0])


if __name__ == "__main__":
    lab.main()
