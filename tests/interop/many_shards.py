"""As shards.py, with more connections than the kernel remembers the queues of (4096)."""

import lab
import shards


@lab.case
def ten_thousand_connections_each_way_rest_for_8_s_and_are_answered():
    shards.rest_and_ask(10_000)


if __name__ == "__main__":
    lab.main()
