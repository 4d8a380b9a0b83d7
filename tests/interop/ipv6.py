"""IPv6 against the kernel: both families on one device, ICMPv6, pieces of packets, bulk data."""

import hashlib
import os
import socket
import subprocess

import lab
import transfer

MIB = 1 << 20


def both(starter, *args):
    return starter(*args, *lab.tun_flags6())


def fetch(address, port=80):
    with socket.create_connection((address, port), timeout=20) as connection:
        connection.sendall(b"GET /page HTTP/1.0\r\n\r\n")
        got = b""
        while block := connection.recv(65536):
            got += block
    return got


@lab.case
def one_listener_serves_both_families():
    root = lab.web_root(page=b"the page")
    with both(lab.http_server, root):
        for address in (lab.STACK, lab.STACK6):
            lab.expect(fetch(address).endswith(b"the page"), f"no page from {address}")
        lab.need("curl")
        lab.expect_equal(lab.run("curl", "-gsS", f"http://[{lab.STACK6}]/page"), "the page",
                         "what curl got")


@lab.case
def a_device_with_ipv6_alone():
    root = lab.web_root(page=b"alone")
    flags = ["--tun", lab.DEVICE, "--tun-address", f"{lab.HOST6}/64", "--address", lab.STACK6]
    server = lab.Process(lab.example("http_server"), *flags, "--port", 80, "--root", root)
    with server:
        server.wait_line(r"http://\[fd77::2\]:80/")
        lab.until(lambda: lab.answers(lab.STACK6, 80), "port 80 answers", process=server)
        lab.expect(fetch(lab.STACK6).endswith(b"alone"), "no page")


@lab.case
def our_client_fetches_from_the_kernel_over_ipv6():
    lab.need("nginx")
    lab.host_device()
    root = lab.web_root(page=b"from nginx")
    lab.host_device(host="fd78::1")
    with lab.nginx(root, port=8080, listen="; listen [fd78::1]:8080"):
        lab.until(lambda: lab.answers("fd78::1", 8080), "nginx answers")
        got = lab.run(lab.example("http_client"), *lab.tun_flags(), *lab.tun_flags6(),
                      "http://[fd78::1]:8080/page")
    lab.expect("from nginx" in got, f"the page is not in:\n{got}")


@lab.case
def pings_long_and_short_are_answered():
    lab.need("ping")
    with both(lab.echo_server):
        for address in (lab.STACK, lab.STACK6):
            for size in (8, 1400, 5000, 60000):
                said = lab.run("ping", "-c", 3, "-i", 0.01, "-W", 10, "-s", size, address)
                lab.expect(" 0% packet loss" in said, f"ping -s {size} {address}:\n{said}")


@lab.case
def udp_to_a_port_that_nobody_serves_is_refused_at_once():
    with both(lab.echo_server):
        for family, address in ((socket.AF_INET, lab.STACK), (socket.AF_INET6, lab.STACK6)):
            with socket.socket(family, socket.SOCK_DGRAM) as sender:
                sender.settimeout(10)
                sender.connect((address, 9))
                sender.send(b"x" * 3000)
                try:
                    sender.recv(1)
                    raise AssertionError("somebody answered")
                except ConnectionRefusedError:
                    pass


@lab.case
def a_port_that_nobody_serves_refuses_connections():
    with both(lab.echo_server):
        for address in (lab.STACK, lab.STACK6):
            try:
                socket.create_connection((address, 9), timeout=10)
                raise AssertionError("somebody answered")
            except ConnectionRefusedError:
                pass


@lab.case
def a_hundred_mib_each_way_over_ipv6_from_a_kernel_client():
    transfer.through_echo_server(100, 120, *lab.tun_flags6(), address=lab.STACK6)


@lab.case
def a_hundred_mib_each_way_over_ipv6_without_offloads():
    transfer.through_echo_server(100, 120, "--offload", "off", *lab.tun_flags6(),
                                 address=lab.STACK6)


@lab.case
def twenty_mib_each_way_over_ipv6_over_an_impaired_link():
    transfer.through_echo_server(20, 150, *transfer.IMPAIRED, *lab.tun_flags6(),
                                 address=lab.STACK6)


class FarHost:
    """A shell in a network namespace of its own, behind a router whose link is narrow."""

    def __init__(self, peer, length, mtu):
        self.shell = lab.Process("unshare", "--net", "sh", stdin=subprocess.PIPE)
        self.said = 0
        self.run("true")
        name, router = f"out{length}", peer[:-1] + "1"
        lab.run("ip", "link", "add", name, "type", "veth", "peer", "name", "far0", "netns",
                self.shell.process.pid)
        lab.run("ip", "address", "add", f"{router}/{length}", "dev", name, "nodad")
        lab.run("ip", "link", "set", name, "mtu", mtu, "up")
        self.run(f"ip address add {peer}/{length} dev far0 nodad && ip link set far0 up && "
                 f"ip route add default via {router}")
        for switch in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
            with open(f"/proc/sys/net/{switch}", "w", encoding="ascii") as out:
                out.write("1")

    def run(self, command):
        self.said += 1
        self.shell.process.stdin.write(f"{command}; echo said {self.said}: $?\n".encode())
        self.shell.process.stdin.flush()
        line = self.shell.wait_line(f"^said {self.said}:", seconds=90)
        lab.expect(line.endswith(" 0"), f"{command}:\n{self.shell.text()}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.shell.kill()


@lab.case
def a_smaller_mtu_on_the_way_is_found():
    """A router between the stack and a client says packet too big, in both families."""
    lab.need("curl")
    root = lab.web_root(page=2 * MIB)
    with open(os.path.join(root, "page"), "rb") as file:
        wanted = hashlib.sha256(file.read()).hexdigest()
    with both(lab.http_server, root):
        for where, peer, length in ((lab.STACK, "10.79.0.2", 24),
                                    (f"[{lab.STACK6}]", "fd79::2", 64)):
            target = os.path.join(lab.folder, "page")
            with FarHost(peer, length, 1300) as far:
                far.run(f"curl -gsS --max-time 60 -o {target} 'http://{where}/page'")
            lab.expect_equal(transfer.hash_of(target), wanted, f"hash of the page from {where}")


if __name__ == "__main__":
    lab.main()
