"""A gigabyte each way through the kernel's TCP, in both families: every byte, as it was sent."""

import lab
import transfer

GIB = 1024


@lab.case
def a_gigabyte_each_way_over_ipv4():
    transfer.through_echo_server(GIB, 280)


@lab.case
def a_gigabyte_each_way_over_ipv6():
    transfer.through_echo_server(GIB, 280, *lab.tun_flags6(), address=lab.STACK6)


if __name__ == "__main__":
    lab.main()
