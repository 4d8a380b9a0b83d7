"""ss and nstat of a running stack, from another process, against what the kernel's ss shows."""

import contextlib
import json
import os
import socket
import stat
import subprocess

import lab

GET = b"GET /hello HTTP/1.1\r\nHost: lab\r\n"


def socket_path():
    return os.path.join(lab.folder, "stack.sock")


def server(*flags):
    return lab.http_server(lab.web_root(), "--inspect", socket_path(), *flags)


def look(*flags):
    return lab.run(lab.example("ss"), "-S", socket_path(), *flags)


def rows(*flags):
    return [line.split() for line in look("-H", *flags).splitlines()]


def refused(*argv):
    """The sentence of a program that will not run."""
    done = subprocess.run([str(a) for a in argv], stdin=subprocess.DEVNULL, text=True, timeout=20,
                          capture_output=True)
    lab.expect_equal(done.returncode, 1, f"exit code\n{done.stdout}{done.stderr}\n")
    said = done.stderr.strip()
    lab.expect(len(said.splitlines()) == 1 and said.endswith("."), f"no sentence: {said}")
    return said


def request(client, *headers):
    client.sendall(GET + b"".join(h + b"\r\n" for h in headers) + b"\r\n")
    lab.expect(client.recv(4096).startswith(b"HTTP/1.1 200"), "no answer")


@lab.case
def s112_ss_shows_the_connections_that_the_kernel_has_at_its_end():
    lab.need("ss")
    with server(), contextlib.ExitStack() as open_ones:
        clients = [open_ones.enter_context(socket.create_connection((lab.STACK, 80), timeout=10))
                   for _ in range(12)]
        for client in clients:
            request(client)
        kernel = {line.split()[3]: line.split()[0]
                  for line in lab.run("ss", "-tanH", "dport", "=", ":80").splitlines()
                  if line.split()[0] == "ESTAB"}
        ours = {row[4]: row[0] for row in rows("-tn", "sport", "=", ":80")}
        lab.expect_equal(ours, kernel, "connections and their states")
        one = clients[0].getsockname()
        row = rows("-tn", f"dst {one[0]}:{one[1]}")
        lab.expect_equal(row, [["ESTAB", "0", "0", f"{lab.STACK}:80", f"{one[0]}:{one[1]}"]], "row")
        info = look("-tinO", "-H", f"dport = :{one[1]}")
        for fact in (f"bytes_received:{len(GET) + 2}", "data_segs_in:1", "data_segs_out:1", "rtt:"):
            lab.expect(fact in info, f"{fact} is not in: {info}")


@lab.case
def s111_ss_shows_listeners_as_awk_expects_them():
    with server("--backlog", 17):
        header = look("-tln").splitlines()[0].split()
        lab.expect_equal(header, "State Recv-Q Send-Q Local Address:Port Peer Address:Port".split(),
                         "header")
        lab.expect_equal([row[:3] for row in rows("-lnt", "sport = :80")], [["LISTEN", "0", "17"]],
                         "listener")


@lab.case
def s112_time_wait_lands_where_the_close_began_and_shows_its_timer():
    with server():
        with socket.create_connection((lab.STACK, 80), timeout=10) as client:
            port = client.getsockname()[1]
            request(client, b"Connection: close")
            while client.recv(4096):
                pass
        lab.until(lambda: rows("-ta", "state", "time-wait", f"dport = :{port}"), "TIME-WAIT")
        row = rows("-tano", f"dport = :{port}")[0]
        lab.expect_equal(row[0], "TIME-WAIT", "state")
        lab.expect(row[5].startswith("timer:(timewait,") and row[5].endswith("sec,0)"), str(row))


@lab.case
def s113_nstat_counts_by_the_kernels_names():
    with server():
        before = json.loads(look("--nstat", "-z", "-j"))["runnel"]
        for _ in range(25):
            with socket.create_connection((lab.STACK, 80), timeout=10) as client:
                request(client)
        after = json.loads(look("--nstat", "-z", "-j"))["runnel"]
        lab.expect_equal(after["TcpPassiveOpens"] - before["TcpPassiveOpens"], 25, "passive opens")
        lab.expect_equal(after["TcpExtListenDrops"], 0, "drops")
        line = look("--nstat", "TcpPassiveOpens").splitlines()[1]
        lab.expect_equal(line[:32].rstrip(), "TcpPassiveOpens", "name column")
        lab.expect_equal(line[32:].split()[0], str(after["TcpPassiveOpens"]), "value column")
        foreign = [n for n in after if not n.startswith("Runnel") and n not in kernel_names()]
        lab.expect_equal(foreign, [], "names that the kernel does not have")


def kernel_names():
    names = set()
    for file in ("/proc/net/snmp", "/proc/net/netstat"):
        with open(file, encoding="ascii") as lines:
            for line in lines:
                group, *fields = line.split()
                names.update(group.rstrip(":") + field for field in fields)
    return names


@lab.case
def s37_diagnose_says_that_all_is_well_and_every_page_is_json():
    with server():
        lab.expect(look("--diagnose").startswith("Nothing to say"), look("--diagnose"))
        for flags in (["-taoim"], ["-s"], ["--nstat"], ["--nstat", "-z"], ["--diagnose"],
                      ["-tl", "-i"]):
            json.loads(look("-j", *flags))
        lab.expect(look("-s").startswith("Total: "), look("-s"))


@lab.case
def the_socket_is_guarded_by_its_permissions_and_gone_at_the_end():
    with server("--inspect-mode", "0640") as running:
        mode = stat.S_IMODE(os.lstat(socket_path()).st_mode)
        lab.expect_equal(oct(mode), oct(0o640), "permissions")
        elsewhere = lab.tun_flags("rn1", "10.78.0.1", "10.78.0.2")
        second = refused(lab.example("echo_server"), *elsewhere, "--inspect", socket_path())
        lab.expect("running program answers on the inspection socket" in second, second)
        running.stop()
        lab.expect(not os.path.exists(socket_path()), "the socket's file is still there")
    said = refused(lab.example("ss"), "-S", socket_path(), "-ta")
    lab.expect("nothing answers on" in said and "--inspect" in said, said)


@lab.case
def a_killed_servers_socket_is_taken_over():
    with server() as first:
        first.expected = -9
        first.kill()
        lab.expect(os.path.exists(socket_path()), "kill -9 left no file")
    with server():
        lab.expect_equal(len(rows("-tl")), 1, "listeners")


@lab.case
def what_ss_does_not_know_is_one_sentence():
    said = refused(lab.example("ss"), "-t", "state", "open")
    lab.expect("is no state" in said, said)
    said = refused(lab.example("ss"), "-t", "sport = :http")
    lab.expect("is no port number" in said, said)


if __name__ == "__main__":
    lab.main()
