"""What a user meets where something is missing: one plain sentence, exit code 1, no trace."""

import ctypes
import os
import struct
import subprocess

import lab

IO_URING_SETUP = 425
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
EPERM = 1


def refused(*argv, expected, **options):
    """Runs to the end and looks at the sentence; `expected` are words of which one has to occur."""
    done = subprocess.run([str(a) for a in argv], stdin=subprocess.DEVNULL, text=True, timeout=20,
                          capture_output=True, **options)
    said = done.stderr.strip()
    lab.expect_equal(done.returncode, 1, f"exit code\n{done.stdout}{said}\n")
    lab.expect_equal(len(said.splitlines()), 1, f"lines of the message\n{said}\n")
    lab.expect(said.endswith("."), f"not a sentence: {said}")
    lab.expect(any(word in said for word in expected), f"none of {expected} in: {said}")


def server(*flags):
    return [lab.example("http_server"), *lab.tun_flags(), "--port", 80, "--root", lab.folder,
            *flags]


def without_io_uring():
    """A seccomp filter as container runtimes set it: io_uring_setup fails with EPERM."""
    def step(code, true, false, value):
        return struct.pack("HBBI", code, true, false, value)
    program = b"".join([
        step(0x20, 0, 0, 0),  # load the number of the system call
        step(0x15, 0, 1, IO_URING_SETUP),  # equal?
        step(0x06, 0, 0, 0x00050000 | EPERM),  # return an error
        step(0x06, 0, 0, 0x7FFF0000),  # allow
    ])
    buffer = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 or \
       libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, header) != 0:
        os._exit(lab.SKIPPED)


@lab.case
def the_device_name_is_taken():
    with lab.http_server(lab.folder):
        refused(*server(), expected=[lab.DEVICE])


@lab.case
def there_is_no_device_node():
    hidden = "mount -t tmpfs none /dev/net && exec \"$@\""
    probe = subprocess.run(["unshare", "--mount", "sh", "-c", hidden, "sh", "true"],
                           capture_output=True)
    if probe.returncode != 0:
        raise lab.Skip("no mount namespace can be made here.")
    refused("unshare", "--mount", "sh", "-c", hidden, "sh", *server(), expected=["/dev/net/tun"])


@lab.case
def the_user_has_no_privilege():
    lab.need("setpriv")
    refused("setpriv", "--bounding-set=-all", "--inh-caps=-all", *server(),
            expected=["CAP_NET_ADMIN", "root", "permi", "privilege"])


@lab.case
def io_uring_is_asked_for_and_switched_off():
    refused(*server(), expected=["io_uring"], preexec_fn=without_io_uring,
            env={**os.environ, "RUNNEL_BACKEND": "io_uring"})


@lab.case
def a_backend_that_does_not_exist():
    refused(*server(), expected=["RUNNEL_BACKEND is 'kqueue'"],
            env={**os.environ, "RUNNEL_BACKEND": "kqueue"})


@lab.case
def the_address_is_not_one():
    refused(lab.example("http_server"), "--tun", lab.DEVICE, "--tun-address", "10.77.0.1/24",
            "--address", "10.77.0.999", expected=["10.77.0.999"])


@lab.case
def the_folder_is_not_there():
    refused(*server()[:-1], os.path.join(lab.folder, "nothing"), expected=["nothing"])


@lab.case
def the_client_finds_nobody():
    lab.host_device()
    refused(lab.example("http_client"), *lab.tun_flags(), "-n", 1, lab.url("/", lab.HOST, 9),
            expected=[lab.HOST])


@lab.case
def a_flag_that_does_not_exist():
    done = subprocess.run([lab.example("http_server"), "--nonsense"], capture_output=True,
                          text=True, stdin=subprocess.DEVNULL, timeout=20)
    lab.expect(done.returncode == 1, f"exit code {done.returncode}")
    lab.expect("--nonsense" in done.stderr, f"the flag is not named: {done.stderr}")


@lab.case
def an_ordinary_user_may_use_a_device_of_his():
    if os.environ.get("RUNNEL_LAB_USER") == "mapped":
        raise lab.Skip("this needs a second user, and only root's namespace has one.")
    node = ("mount -t tmpfs -o mode=755 none /dev/net && mknod -m 666 /dev/net/tun c 10 200 && "
            "exec \"$@\"")
    probe = subprocess.run(["unshare", "--mount", "sh", "-c", node, "sh", "setpriv",
                            "--reuid=65534", "--clear-groups", "cat", "/dev/net/tun"],
                           capture_output=True, text=True)
    if "descriptor" not in probe.stderr:  # EBADFD: it could be opened
        raise lab.Skip(f"no device node can be made here: {probe.stderr.strip()}.")
    lab.run("ip", "tuntap", "add", "dev", lab.DEVICE, "mode", "tun", "user", 65534)
    lab.run("ip", "address", "add", f"{lab.HOST}/24", "dev", lab.DEVICE)
    lab.run("ip", "link", "set", lab.DEVICE, "txqueuelen", 10000, "up")
    os.chmod(lab.folder, 0o755)
    process = lab.Process("unshare", "--mount", "sh", "-c", node, "sh", "setpriv",
                          "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all",
                          *server(), name="http_server")
    with lab.started(process, 80):
        lab.expect("200" in lab.run("curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}",
                                    lab.url()), "no answer")


if __name__ == "__main__":
    lab.main()
