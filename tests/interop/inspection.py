"""ss and nstat of a running stack, from another process, against what the kernel's ss shows."""

import contextlib
import json
import os
import socket
import stat
import subprocess
import threading

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


def run_ss(*flags):
    return subprocess.run([lab.example("ss"), *flags], stdin=subprocess.DEVNULL, text=True,
                          timeout=20, capture_output=True)


@contextlib.contextmanager
def fake_server(answer):
    """Says this to one client."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(socket_path())
        listener.listen()

        def serve():
            client, _ = listener.accept()
            with client:
                client.recv(4096)
                client.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield
        thread.join(10)
    os.unlink(socket_path())


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
    # nstat shows the kernel's IPv6 counters without its table's header lines.
    if os.path.exists("/proc/net/snmp6"):
        with open("/proc/net/snmp6", encoding="ascii") as lines:
            names.update(line.split()[0] for line in lines)
    else:
        names.add("Ip6InDiscards")
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
def an_answer_that_breaks_off_is_no_answer():
    with fake_server(b"ok\nState Recv-Q\nESTAB 0"):
        done = run_ss("-S", socket_path(), "-ta")
        lab.expect_equal(done.returncode, 1, "exit code")
        lab.expect("the answer broke off" in done.stderr, done.stderr)
        lab.expect_equal(done.stdout, "State Recv-Q\nESTAB 0", "what came")
    with fake_server(b"ok\nend\n"):
        done = run_ss("-S", socket_path(), "-taH")
        lab.expect_equal((done.returncode, done.stdout, done.stderr), (0, "", ""), "an empty page")


@lab.case
def an_answers_bytes_do_not_reach_the_terminal_raw():
    with fake_server(b"ok\n\x1b]0;owned\x07\tx\x9b\nend\n"):
        done = run_ss("-S", socket_path(), "-ta")
        lab.expect_equal(done.stdout, "\\x1b]0;owned\\x07\tx\\x9b\n", "page")
    with fake_server(b"error: \x1b[2J.\n"):
        lab.expect_equal(run_ss("-S", socket_path(), "-ta").stderr, "ss: \\x1b[2J.\n", "error")


@lab.case
def ss_without_a_path_finds_the_socket_whatever_the_environment():
    os.environ["XDG_RUNTIME_DIR"] = lab.folder
    with lab.http_server(lab.web_root(), "--inspect") as running:
        path = running.wait_line("^inspect: ").split()[1]
        lab.expect_equal(path, os.path.join(lab.folder, "runnel.sock"), "path")
        lab.expect("LISTEN" in run_ss("-tln").stdout, "no listener")
    said = refused(lab.example("ss"), "-tln")
    lab.expect(path in said and "/runnel.sock (" in said.replace(path, ""), said)


@lab.case
def ss_without_a_path_believes_no_other_user():
    open_to_all = os.path.join(lab.folder, "run")
    os.mkdir(open_to_all, 0o777)
    os.chmod(open_to_all, 0o777)
    os.chmod(lab.folder, 0o711)
    os.environ["XDG_RUNTIME_DIR"] = open_to_all
    path = os.path.join(open_to_all, "runnel.sock")
    squatter = ("import socket, sys; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); "
                "s.listen(); print('listens', flush=True); s.accept(); s.accept()")
    try:
        other = lab.Process("/usr/bin/env", "python3", "-c", squatter, path, user=65534)
    except OSError as error:
        raise lab.Skip(f"This user cannot be another one: {error}.") from error
    with other:
        other.expected = -15
        other.wait_line("listens")
        said = refused(lab.example("ss"), "-ta")
        lab.expect(f"{path} (it is another user's)" in said, said)
        other.process.terminate()


@lab.case
def a_full_disk_is_an_error():
    with server(), open("/dev/full", "w", encoding="ascii") as full:
        done = subprocess.run([lab.example("ss"), "-S", socket_path(), "-ta"], stdout=full,
                              stderr=subprocess.PIPE, text=True, timeout=20)
        lab.expect_equal(done.returncode, 1, "exit code")
        lab.expect("No space left" in done.stderr, done.stderr)


@lab.case
def port_0_is_told_as_the_port_that_it_became():
    with lab.Process(lab.example("http_server"), *lab.tun_flags(), "--port", 0) as running:
        line = running.wait_line("http_server: http://")
        port = int(line.split(":")[3].split("/")[0])
        lab.expect(port > 0, line)
        lab.until(lambda: lab.answers(lab.STACK, port), "port answers", process=running)


@lab.case
def addresses_that_cannot_work_are_one_sentence():
    said = refused(lab.example("http_server"), *lab.tun_flags(stack=lab.HOST))
    lab.expect("kernel's end" in said, said)
    said = refused(lab.example("http_server"), *lab.tun_flags(stack="10.99.0.2"))
    lab.expect("not in the prefix" in said, said)
    said = refused(lab.example("http_server"), "--backlog", "many")
    lab.expect(said.startswith("http_server: ") and "--help" in said, said)


@lab.case
def what_ss_does_not_know_is_one_sentence():
    said = refused(lab.example("ss"), "-t", "state", "open")
    lab.expect("is no state" in said, said)
    said = refused(lab.example("ss"), "-t", "sport = :no-such-service")
    lab.expect("is no port number" in said, said)
    said = refused(lab.example("ss"), "--tea")
    lab.expect(said.startswith("ss: ") and "--tea" in said, said)
    try:
        socket.getservbyname("http", "tcp")
    except OSError:
        return
    with server():
        for service in ("sport = :http", "sport eq http", "src *:http", "( sport=:http )"):
            lab.expect_equal(len(rows("-tlnp", service)), 1, service)


if __name__ == "__main__":
    lab.main()
