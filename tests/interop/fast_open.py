"""Fast Open with the kernel's TCP on either side: each takes the other's cookies and text."""

import re
import socket

import lab

PORT = 8080


def kernel_takes_part():
    """The namespace's net.ipv4.tcp_fastopen: client and server."""
    try:
        with open("/proc/sys/net/ipv4/tcp_fastopen", "w", encoding="ascii") as out:
            out.write("3")
    except OSError as error:
        raise lab.Skip(f"net.ipv4.tcp_fastopen cannot be set here: {error}.") from error


def kernel_counters():
    """TcpExt of this namespace, as nstat names it."""
    with open("/proc/net/netstat", encoding="ascii") as table:
        lines = [line.split() for line in table if line.startswith("TcpExt:")]
    return dict(zip(lines[0][1:], map(int, lines[1][1:])))


def ask(path="/hello"):
    """A request of the kernel's that goes with the SYN when it has a cookie; the answer."""
    request = f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as one:
        # A socket with a time-out does not block, and then the first SYN, which has no cookie yet,
        # is answered with "in progress" instead of the request being sent after it.
        one.sendto(request, socket.MSG_FASTOPEN, (lab.STACK, 80))
        one.settimeout(30)
        answer = b""
        while block := one.recv(65536):
            answer += block
    return answer


@lab.case
def s53_the_kernel_sends_its_requests_with_the_syn_to_our_server():
    kernel_takes_part()
    server = lab.http_server(lab.web_root(), "--set", "net.ipv4.tcp_fastopen=3", "--set",
                             "fastopen_queue=64")
    with server:
        for _ in range(20):
            lab.expect(b"200 OK" in ask(), "an answer with 200")
    kernel = kernel_counters()
    lab.expect_equal(kernel["TCPFastOpenActive"], 19, "requests that the kernel sent with the SYN")
    lab.expect_equal(kernel["TCPFastOpenActiveFail"], 0, "of these not taken")
    ours = dict(re.findall(r"^TcpExt(TCPFastOpen\w+) +(\d+)$", server.text(), re.MULTILINE))
    lab.expect_equal(ours, {"TCPFastOpenPassive": "19", "TCPFastOpenCookieReqd": "1"},
                     "our counters")


@lab.case
def s53_our_client_sends_its_requests_with_the_syn_to_nginx():
    kernel_takes_part()
    root = lab.web_root(small=200)
    lab.host_device()
    with lab.nginx(root, PORT, listen="fastopen=64") as server:
        lab.until(lambda: lab.answers(lab.HOST, PORT), "nginx answers", process=server)
        client = lab.Process(lab.example("http_client"), *lab.tun_flags(), "-n", 20, "--close",
                             "--set", "fastopen_connect=on", lab.url("/small", lab.HOST, PORT))
        with client:
            lab.expect_equal(client.exit_code(60), 0, f"exit code\n{client.text()}\n")
        server.process.terminate()
        server.exit_code()
        with open(server.access, encoding="ascii") as log:
            served = [line for line in log if line.split()[2] == "200"]
    lab.expect_equal(len(served), 20, "answers with 200 that nginx counted")
    kernel = kernel_counters()
    lab.expect_equal(kernel["TCPFastOpenCookieReqd"], 1, "requests for a cookie")
    lab.expect_equal(kernel["TCPFastOpenPassive"], 19, "requests that came with the SYN")
    lab.expect_equal(kernel["TCPFastOpenPassiveFail"], 0, "cookies refused")


if __name__ == "__main__":
    lab.main()
