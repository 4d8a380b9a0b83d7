"""Kernel clients that everybody knows fetch from http_server."""

import os
import re

import lab


def ab(*flags):
    lab.need("ab")
    text = lab.run("ab", "-q", "-s", 30, *flags, lab.url())
    numbers = dict(re.findall(r"^([A-Z][\w -]+):\s+(\d+)", text, re.MULTILINE))
    lab.expect_equal(numbers.get("Failed requests"), "0", f"ab's failed requests\n{text}\n")
    lab.expect("Non-2xx responses" not in numbers, f"ab saw other answers than 200:\n{text}")
    return {name: int(value) for name, value in numbers.items()}


@lab.case
def curl_gets_one_large_and_ten_small_files_over_one_connection():
    lab.need("curl")
    small = [f"small{i}.txt" for i in range(10)]
    root = lab.web_root(**{"large.bin": 1 << 20}, **{name: 100 + 7 * i
                                                      for i, name in enumerate(small)})
    names = ["large.bin", *small]
    into = lab.web_root()
    with lab.http_server(root):
        text = lab.run("curl", "-sS", "--fail", "--max-time", 60, "--output-dir", into,
                       "--remote-name-all", "-w", "%{num_connects} %{http_code}\\n",
                       *[lab.url("/" + name) for name in names])
    lab.expect_equal(text.split("\n")[:-1], ["1 200"] + ["0 200"] * 10, "curl's connections")
    for name in names:
        with open(os.path.join(root, name), "rb") as wanted, \
             open(os.path.join(into, name), "rb") as got:
            lab.expect(wanted.read() == got.read(), f"{name} arrived with other bytes")


@lab.case
def ab_closes_after_each_of_20000_requests():
    with lab.http_server(lab.web_root()):
        numbers = ab("-n", 20000, "-c", 64)
    lab.expect_equal(numbers["Complete requests"], 20000, "complete requests")


@lab.case
def ab_keeps_connections_for_50000_requests():
    with lab.http_server(lab.web_root()):
        numbers = ab("-k", "-n", 50000, "-c", 64)
    lab.expect_equal(numbers["Complete requests"], 50000, "complete requests")
    # The answer that ends a connection at its request limit is not counted as kept.
    lab.expect(numbers["Keep-Alive requests"] >= 49900, f"few were kept: {numbers}")


@lab.case
def wrk_sees_no_socket_error_in_five_seconds():
    lab.need("wrk")
    with lab.http_server(lab.web_root()):
        text = lab.run("wrk", "-t1", "-c64", "-d5s", "--timeout", "10s", lab.url())
    lab.expect("Socket errors" not in text, text)
    lab.expect("Non-2xx" not in text, text)
    lab.expect(int(re.search(r"(\d+) requests in", text)[1]) > 1000, text)


if __name__ == "__main__":
    lab.main()
