"""The examples where io_uring is not wanted, or refused as containers do: they run on epoll."""

import os

import http_serving
import lab
import refusals
import transfer


def on_epoll():
    os.environ["RUNNEL_BACKEND"] = "epoll"


@lab.case
def http_over_new_and_kept_connections():
    on_epoll()
    root = lab.web_root(large=1 << 20)
    with lab.http_server(root) as server:
        lab.expect("epoll backend: " in server.text(), server.text())
        new = http_serving.ab("-n", 2000, "-c", 32)
        kept = http_serving.ab("-k", "-n", 10000, "-c", 32)
        got = os.path.join(root, "got")
        lab.run("curl", "-sS", "--fail", "--max-time", 30, "-o", got, lab.url("/large"))
        lab.expect_equal(os.path.getsize(got), 1 << 20, "size of the large file")
    lab.expect_equal(new["Complete requests"], 2000, "requests on connections of their own")
    lab.expect_equal(kept["Complete requests"], 10000, "requests on kept connections")


@lab.case
def bulk_data_through_the_server():
    on_epoll()
    transfer.through_echo_server(8, 60)


@lab.case
def bulk_data_through_the_client():
    on_epoll()
    transfer.through_echo_client(8, 60)


@lab.case
def a_server_that_a_container_keeps_from_io_uring():
    # What is started from here on inherits the filter.
    refusals.without_io_uring()
    os.environ.pop("RUNNEL_BACKEND", None)
    with lab.http_server(lab.web_root()) as server:
        lab.expect("epoll backend: " in server.text(), server.text())
        lab.expect("io_uring is refused here" in server.text(), server.text())
        numbers = http_serving.ab("-k", "-n", 1000, "-c", 8)
    lab.expect_equal(numbers["Complete requests"], 1000, "complete requests")


if __name__ == "__main__":
    lab.main()
