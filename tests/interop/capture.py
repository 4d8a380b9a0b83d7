"""tshark reads what --pcap wrote and finds nothing wrong with it."""

import os
import re
import subprocess

import lab

CHECKED = ["-o", "ip.check_checksum:TRUE", "-o", "tcp.check_checksum:TRUE",
           "-o", "tcp.desegment_tcp_streams:FALSE"]


def tshark(capture, *flags):
    done = subprocess.run(["tshark", "-r", capture, *CHECKED, *flags], text=True, timeout=120,
                          stdin=subprocess.DEVNULL, capture_output=True)
    lab.expect_equal(done.returncode, 0, f"tshark's exit code\n{done.stderr}\n")
    return done.stdout.splitlines()


def count(capture, display_filter):
    return len(tshark(capture, "-Y", display_filter))


@lab.case
def a_capture_of_curl_and_ab_is_clean():
    lab.need("tshark", "curl", "ab")
    capture = os.path.join(lab.folder, "traffic.pcapng")
    root = lab.web_root(large=1 << 20)
    with lab.http_server(root, "--pcap", capture) as server:
        lab.run("curl", "-sS", "--fail", "-o", "/dev/null", lab.url("/large"))
        lab.run("ab", "-q", "-n", 2000, "-c", 16, lab.url())
    ours, theirs = f"ip.src == {lab.STACK}", f"ip.dst == {lab.STACK}"
    lab.expect(count(capture, f"{theirs} && tcp.flags.syn == 1") >= 2001, "SYNs are missing")
    lab.expect(count(capture, f"{ours} && tcp.flags.syn == 1") >= 2001, "SYN-ACKs are missing")
    lab.expect(count(capture, f"{ours} && tcp.flags.fin == 1") >= 2001, "our FINs are missing")
    for bad in ("_ws.malformed", 'ip.checksum.status == "Bad"', 'tcp.checksum.status == "Bad"',
                '_ws.expert.severity == "Error"'):
        lines = tshark(capture, "-Y", bad)
        lab.expect(not lines, f"{len(lines)} packets are {bad}, such as\n" + "\n".join(lines[:5]))
    resets = tshark(capture, "-Y", f"{ours} && tcp.flags.reset == 1")
    counter = re.search(r"OutRsts\W+(\d+)", server.text())
    lab.expect(counter is not None, f"http_server says no OutRsts at its end:\n{server.text()}")
    lab.expect_equal(len(resets), int(counter[1]),
                     "RSTs in the capture beside the counter OutRsts\n" + "\n".join(resets[:5]))


if __name__ == "__main__":
    lab.main()
