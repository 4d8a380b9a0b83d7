#include "runnel/net/kernel/child_process.hpp"

#include "owned_fd.hpp"
#include "runnel/detail/check.hpp"
#include "runnel/detail/operation.hpp"
#include "runnel/detail/thread_state.hpp"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <new>

extern char** environ;

namespace runnel::net::kernel {
namespace detail {

/// A process and who waits for its end. While the loop lives and the process runs, an operation
/// waits on the process's descriptor.
class child_core final : private runnel::detail::operation_user {
 public:
  child_core(loop& owner, int process, owned_fd descriptor)
      : owner_(&owner), process_(process), descriptor_(std::move(descriptor)) {
    keep(owner);
    watch();
  }
  ~child_core();

  bool begin(child_exited& who) noexcept;
  void forget() noexcept { waiting_ = nullptr; }
  result<void> signal(int number) noexcept;
  const std::optional<child_exit>& ended() const noexcept { return ended_; }
  int process() const noexcept { return process_; }

 private:
  void watch() noexcept;
  void look() noexcept;
  void on_complete(runnel::detail::operation& op, int result) noexcept override;

  loop* owner_;
  int process_;
  owned_fd descriptor_;
  std::optional<child_exit> ended_;
  child_exited* waiting_ = nullptr;
};

void child_core_deleter::operator()(child_core* gone) const noexcept {
  delete gone;
}

child_core::~child_core() {
  runnel::detail::check(waiting_ == nullptr || runnel::detail::this_thread.teardown_depth > 0,
                        "runnel: a kernel::child_process was destroyed while its end is awaited; "
                        "cancel that first.");
  if (waiting_ != nullptr) waiting_->standing_ = false;
  if (!ended_) look();
  if (ended_) return;
  static_cast<void>(signal(SIGKILL));
  if (busy()) {
    abandon_and_reap(descriptor_.release());
  } else {
    look();
  }
}

void child_core::watch() noexcept {
  prepare(*owner_,
          {.kind = runnel::detail::op_kind::poll, .fd = descriptor_.get(), .flags = POLLIN});
  submit();
}

// Takes its status when it has one.
void child_core::look() noexcept {
  siginfo_t facts{};
  if (::waitid(P_PIDFD, static_cast<id_t>(descriptor_.get()), &facts, WEXITED | WNOHANG) != 0) {
    // Somebody else took it.
    if (errno == ECHILD) ended_ = child_exit{};
    return;
  }
  if (facts.si_pid == 0) return;
  const bool by_itself = facts.si_code == CLD_EXITED;
  ended_ = child_exit{.code = by_itself ? facts.si_status : -1,
                      .signal = by_itself ? 0 : facts.si_status};
}

void child_core::on_complete(runnel::detail::operation&, int) noexcept {
  look();
  if (ended_ && waiting_ != nullptr) waiting_->wake();
  if (!ended_ && waiting_ != nullptr) watch();
}

bool child_core::begin(child_exited& who) noexcept {
  if (!ended_) look();
  if (ended_) return true;
  runnel::detail::check(waiting_ == nullptr,
                        "runnel: a second task waits for the end of a kernel::child_process while "
                        "one is waiting; wait from one place.");
  if (!busy()) watch();
  waiting_ = &who;
  return false;
}

result<void> child_core::signal(int number) noexcept {
  if (ended_) return std::make_error_code(std::errc::no_such_process);
  if (::syscall(SYS_pidfd_send_signal, descriptor_.get(), number, nullptr, 0) != 0) {
    return last_error();
  }
  return {};
}

child_exited::~child_exited() {
  if (standing_) core_->forget();
}

bool child_exited::begin() noexcept {
  if (core_->begin(*this)) return true;
  standing_ = true;
  return false;
}

result<child_exit> child_exited::await_resume() noexcept {
  if (std::exchange(standing_, false)) core_->forget();
  if (core_->ended()) return *core_->ended();
  return errc::cancelled;
}

}  // namespace detail

namespace {

using detail::last_error;
using detail::owned_fd;

/// What posix_spawn is told, freed at the end.
class spawn_plan {
 public:
  spawn_plan() {
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawnattr_init(&attributes);
  }
  spawn_plan(const spawn_plan&) = delete;
  spawn_plan& operator=(const spawn_plan&) = delete;
  ~spawn_plan() {
    ::posix_spawn_file_actions_destroy(&actions);
    ::posix_spawnattr_destroy(&attributes);
  }

  int set_signals() noexcept {
    sigset_t some;
    sigemptyset(&some);
    int failed = ::posix_spawnattr_setsigmask(&attributes, &some);
    sigaddset(&some, SIGPIPE);
    if (failed == 0) failed = ::posix_spawnattr_setsigdefault(&attributes, &some);
    if (failed != 0) return failed;
    return ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  }

  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
};

/// The two sides of one of the child's descriptors, where it is a pipe.
struct channel_ends {
  owned_fd child;
  owned_fd parent;
};

// In a process that lacks one of the first three a pipe gets its number, and what the child gets
// there would overwrite the pipe before its turn.
owned_fd above_the_standard_ones(owned_fd fd) noexcept {
  constexpr int first_other = 3;
  if (fd.get() >= first_other) return fd;
  return owned_fd(::fcntl(fd.get(), F_DUPFD_CLOEXEC, first_other));
}

int plan_descriptor(spawn_plan& plan, child_stdio how, int number, channel_ends& ends) noexcept {
  const bool reads = number == 0;
  if (how == child_stdio::inherit) return 0;
  if (how == child_stdio::null) {
    return ::posix_spawn_file_actions_addopen(&plan.actions, number, "/dev/null",
                                              reads ? O_RDONLY : O_WRONLY, 0);
  }
  int made[2];
  if (::pipe2(made, O_CLOEXEC) != 0) return errno;
  owned_fd child(made[reads ? 0 : 1]);
  owned_fd parent(made[reads ? 1 : 0]);
  ends.child = above_the_standard_ones(std::move(child));
  ends.parent = above_the_standard_ones(std::move(parent));
  if (ends.child.get() < 0 || ends.parent.get() < 0) return errno;
  return ::posix_spawn_file_actions_adddup2(&plan.actions, ends.child.get(), number);
}

std::vector<char*> pointers_to(const std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (const std::string& text : texts) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

/// Starts it; gives its number or a negative errno.
int spawn(const child_options& options, std::array<channel_ends, 3>& ends) {
  spawn_plan plan;
  int failed = plan.set_signals();
  const child_stdio wanted[] = {options.standard_input, options.standard_output,
                                options.standard_error};
  for (int number = 0; number < 3 && failed == 0; ++number) {
    const auto index = static_cast<std::size_t>(number);
    failed = plan_descriptor(plan, wanted[index], number, ends[index]);
  }
  if (failed == 0 && !options.directory.empty()) {
    failed = ::posix_spawn_file_actions_addchdir_np(&plan.actions, options.directory.c_str());
  }
  if (failed != 0) return -failed;
  std::vector<char*> arguments = pointers_to(options.arguments);
  std::vector<char*> variables;
  if (options.environment) variables = pointers_to(*options.environment);
  pid_t process = 0;
  failed = ::posix_spawnp(&process, arguments.front(), &plan.actions, &plan.attributes,
                          arguments.data(), options.environment ? variables.data() : environ);
  return failed != 0 ? -failed : process;
}

/// Nobody could wait for it. It is new, and ends at once.
void end_now(int process) noexcept {
  ::kill(process, SIGKILL);
  ::waitpid(process, nullptr, 0);
}

}  // namespace

result<child_process> child_process::start(loop& owner, const child_options& options) {
  if (owner.simulated()) return errc::not_supported;
  if (options.arguments.empty()) return std::make_error_code(std::errc::invalid_argument);
  std::array<channel_ends, 3> ends;
  const int process = spawn(options, ends);
  if (process < 0) return std::error_code(-process, std::generic_category());
  owned_fd descriptor(static_cast<int>(::syscall(SYS_pidfd_open, process, 0)));
  if (descriptor.get() < 0) {
    const std::error_code why = last_error();
    end_now(process);
    return why;
  }
  child_process made;
  try {
    made.core_.reset(new detail::child_core(owner, process, std::move(descriptor)));
  } catch (const std::bad_alloc&) {
    end_now(process);
    return std::make_error_code(std::errc::not_enough_memory);
  }
  if (ends[0].parent.get() >= 0) {
    auto input = output_end::adopt(owner, ends[0].parent.release());
    if (!input) return input.error();
    made.input_ = std::move(*input);
  }
  const std::array<input_end*, 2> outputs{&made.output_, &made.error_output_};
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    if (ends[i + 1].parent.get() < 0) continue;
    auto output = input_end::adopt(owner, ends[i + 1].parent.release());
    if (!output) return output.error();
    *outputs[i] = std::move(*output);
  }
  return made;
}

detail::child_core& child_process::checked() const noexcept {
  runnel::detail::check(core_ != nullptr,
                        "runnel: an operation on a kernel::child_process that holds none; it was "
                        "moved from or never started.");
  return *core_;
}

result<void> child_process::kill(int signal) noexcept {
  return checked().signal(signal);
}
int child_process::id() const noexcept {
  return checked().process();
}

}  // namespace runnel::net::kernel
