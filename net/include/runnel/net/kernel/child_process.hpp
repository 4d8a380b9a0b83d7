#pragma once

#include <runnel/loop.hpp>
#include <runnel/net/kernel/pipe.hpp>
#include <runnel/result.hpp>
#include <runnel/waiter.hpp>

#include <concepts>
#include <coroutine>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace runnel::net::kernel {

/// What one of a child's standard descriptors is.
enum class child_stdio : std::uint8_t {
  inherit,  ///< The parent's own.
  null,     ///< /dev/null.
  pipe,     ///< A pipe, whose other end the `child_process` has.
};

/// How a child process is started.
struct child_options {
  /// The program's name, looked for in PATH unless there is a slash in it, and its arguments.
  std::vector<std::string> arguments;
  /// "NAME=value" each; none given: the parent's environment.
  std::optional<std::vector<std::string>> environment{};
  /// The folder in which it starts; empty: the parent's.
  std::string directory{};
  /// Where descriptor 0 of the child leads.
  child_stdio standard_input = child_stdio::inherit;
  /// Where descriptor 1 of the child leads.
  child_stdio standard_output = child_stdio::inherit;
  /// Where descriptor 2 of the child leads.
  child_stdio standard_error = child_stdio::inherit;
};

/// How a child process ended.
struct child_exit {
  /// What it gave to exit(3), or -1 when a signal ended it.
  int code = -1;
  /// The signal that ended it, or 0.
  int signal = 0;

  /// Whether it ended by itself with 0.
  bool success() const noexcept { return code == 0; }
};

namespace detail {

class child_core;

struct child_core_deleter {
  void operator()(child_core* gone) const noexcept;
};

class [[nodiscard]] child_exited final : public waiter {
 public:
  explicit child_exited(child_core& of) noexcept : core_(&of) {}
  child_exited(child_exited&&) noexcept = default;
  ~child_exited() override;

  bool await_ready() const noexcept { return false; }
  template <std::derived_from<runnel::detail::promise_base> Promise>
  bool await_suspend(std::coroutine_handle<Promise> h) noexcept {
    return suspend_unless_done(h, [this]() noexcept { return begin(); });
  }
  result<child_exit> await_resume() noexcept;

 private:
  friend class child_core;

  bool begin() noexcept;
  void on_cancel() noexcept override { wake(); }
  wait_description describe() const override { return {"end of child process"}; }

  child_core* core_;
  bool standing_ = false;
};

}  // namespace detail

/// A child process. Its end is waited for by the loop (pidfd_open(2), Linux 5.3), so that no
/// SIGCHLD and no waiting thread is needed; the program must not ignore SIGCHLD or wait for all
/// children itself.
///
/// Destroying one that runs kills it with SIGKILL; it is reaped by the loop when it is gone, at the
/// latest when the loop dies, so that no zombie is left and nothing blocks.
class child_process {
 public:
  /// None: it may be assigned to and destroyed.
  child_process() noexcept = default;
  child_process(child_process&&) noexcept = default;
  child_process& operator=(child_process&&) noexcept = default;
  ~child_process() = default;

  /// Starts a program (posix_spawn(3)). SIGPIPE does in it what it does by default, and no signal
  /// is blocked. `owner` must outlive it. Errors: those of execve(2) and chdir(2), such as
  /// `std::errc::no_such_file_or_directory`; `std::errc::invalid_argument` without a program;
  /// `errc::not_supported` on a simulated loop.
  static result<child_process> start(loop& owner, const child_options& options);

  /// Waits until it has ended: `result<child_exit>`. May be asked again. One task at a time; a
  /// second one is a checked error. Cancelled: it goes on.
  detail::child_exited exited() noexcept { return detail::child_exited{checked()}; }
  /// Sends it a signal. `std::errc::no_such_process` when it has ended.
  result<void> kill(int signal) noexcept;
  /// The number of the process, which others may get once it has ended.
  int id() const noexcept;

  /// What it reads, when `standard_input` is a pipe. Close it, or move it away, so that the child
  /// reads the end.
  output_end& input() noexcept { return input_; }
  /// What it writes, when `standard_output` is a pipe.
  input_end& output() noexcept { return output_; }
  /// What it writes to standard error, when that is a pipe.
  input_end& error_output() noexcept { return error_output_; }
  /// Whether there is a child.
  explicit operator bool() const noexcept { return core_ != nullptr; }

 private:
  detail::child_core& checked() const noexcept;

  std::unique_ptr<detail::child_core, detail::child_core_deleter> core_;
  output_end input_;
  input_end output_;
  input_end error_output_;
};

}  // namespace runnel::net::kernel
