// What the kernel refuses at the start must be one plain sentence. A system call filter in a child
// process plays the kernel that refuses.

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <cerrno>
#include <cstddef>
#include <cstdio>

#include "runnel/loop.hpp"
#include "support/death_test.hpp"
#include "support/task_test.hpp"

namespace {

using runnel::testing::death;
using runnel::testing::run_in_child;

bool refuse_io_uring(unsigned error) {
  constexpr unsigned number_at = offsetof(seccomp_data, nr);
  sock_filter rules[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, number_at),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  sock_fprog program{static_cast<unsigned short>(std::size(rules)), rules};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

// The child's exit code: 0 when the refusal came as a startup_error with that errno.
death start_with_refusal(int error) {
  return run_in_child([error] {
    if (!refuse_io_uring(static_cast<unsigned>(error))) ::_exit(77);
    try {
      runnel::loop loop;
    } catch (const runnel::startup_error& e) {
      std::fputs(e.what(), stderr);
      ::_exit(e.code().value() == error ? 0 : 2);
    }
    ::_exit(3);
  });
}

void check_sentence(const death& d, const char* names, const char* mends) {
  if (d.exit_code == 77) {
    MESSAGE("skipped: this kernel takes no system call filter");
    return;
  }
  CHECK(d.exit_code == 0);
  CHECK(d.said.find(names) != std::string::npos);
  CHECK(d.said.find(mends) != std::string::npos);
  CHECK(d.said.find('\n') == std::string::npos);
  CHECK(d.said.ends_with("."));
}

}  // namespace

TEST_CASE("startup: a container that forbids io_uring is named with the way out") {
  check_sentence(start_with_refusal(EPERM), "io_uring", "seccomp");
}

TEST_CASE("startup: a kernel without io_uring is named with the way out") {
  check_sentence(start_with_refusal(ENOSYS), "no io_uring", "6.1");
}

TEST_CASE("startup: too little locked memory is named with the way out") {
  check_sentence(start_with_refusal(ENOMEM), "memory", "ulimit -l");
}

TEST_CASE("startup: no free descriptor is named with the way out") {
  check_sentence(start_with_refusal(EMFILE), "file descriptor", "ulimit -n");
}

TEST_CASE("startup: a refusal of every flag ends the ladder with the kernel's reason") {
  check_sentence(start_with_refusal(EINVAL), "io_uring ring", "Invalid argument");
}

TEST_CASE("startup: a simulated loop needs nothing of the kernel") {
  death d = run_in_child([] {
    if (!refuse_io_uring(EPERM)) ::_exit(77);
    runnel::loop loop{{.simulated = 1}};
    auto body = []() -> runnel::task<> { co_return; };
    loop.run(body());
  });
  bool as_expected = d.exit_code == 0 || d.exit_code == 77;
  CHECK(as_expected);
}
