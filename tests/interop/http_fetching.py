"""Our http_client fetches from nginx, which is not ours."""

import re

import lab

PORT = 8080


def fetch(count, *flags):
    """Runs the client; gives its output and, for each of nginx's connections, its requests."""
    root = lab.web_root(small=200)
    lab.host_device()
    with lab.nginx(root, PORT) as server:
        lab.until(lambda: lab.answers(lab.HOST, PORT), "nginx answers", process=server)
        client = lab.Process(lab.example("http_client"), *lab.tun_flags(), "-n", count, *flags,
                             lab.url("/small", lab.HOST, PORT))
        with client:
            lab.expect_equal(client.exit_code(120), 0, f"exit code\n{client.text()}\n")
        server.process.terminate()
        server.exit_code()
        with open(server.access, encoding="ascii") as log:
            lines = [line.split() for line in log]
    served = [line for line in lines if line[2] == "200"]
    lab.expect_equal(len(served), count, "answers with 200 that nginx counted")
    requests = {}
    for connection, _, _ in served:
        requests[connection] = requests.get(connection, 0) + 1
    return client.text(), requests


@lab.case
def ten_thousand_responses_over_64_kept_connections():
    text, requests = fetch(10000, "-c", 64)
    lab.expect_equal(len(requests), 64, "connections that nginx saw")
    lab.expect(re.search(r"p50|50 ?%", text), f"no latency percentiles:\n{text}")


@lab.case
def two_thousand_responses_with_a_connection_each():
    text, requests = fetch(2000, "-c", 64, "--close")
    lab.expect_equal(len(requests), 2000, "connections that nginx saw")
    lab.expect(re.search(r"connections?.*(per second|/s)", text, re.IGNORECASE),
               f"no connections per second:\n{text}")


if __name__ == "__main__":
    lab.main()
