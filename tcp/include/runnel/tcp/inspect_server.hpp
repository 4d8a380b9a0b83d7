#pragma once

#include <boost/assert/source_location.hpp>
#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <system_error>
#include <vector>

#include "runnel/loop.hpp"
#include "runnel/result.hpp"
#include "runnel/task.hpp"
#include "runnel/tcp/inspect.hpp"
#include "runnel/tcp/stack.hpp"

namespace runnel::tcp {

/// How a stack is made visible to other processes of this machine.
struct inspect_server_options {
  /// Where the Unix socket is made; empty is `default_inspect_path()`.
  std::string path{};
  /// Its permissions: who may connect. Whoever may sees every address and port, and changes
  /// nothing.
  unsigned mode = 0600;
  /// Answers at the same time; more clients wait in the kernel.
  std::size_t clients = 8;
  /// How long a client may take for its request until it is cut off.
  std::chrono::milliseconds request_patience{1'000};
  /// How long it may read nothing of the answer until it is cut off; at most about twice that. Also
  /// how long a part of the answer may take that another shard's loop makes.
  std::chrono::milliseconds patience{10'000};
};

/// $XDG_RUNTIME_DIR/runnel.sock; without that variable /run/runnel.sock for root and
/// /tmp/runnel-UID.sock for others.
std::string default_inspect_path();
/// Where a program of this user may have put its socket, whatever environment it was started in:
/// `default_inspect_path()` first. Somebody else may have made the one in /tmp: who connects asks
/// with SO_PEERCRED who answers.
std::vector<std::string> default_inspect_paths();

/// Why the socket could not be made.
class inspect_error {
 public:
  /// No error.
  inspect_error() noexcept = default;
  /// `sentence` is what `message()` gives.
  inspect_error(std::error_code code, std::string sentence)
      : code_(code), sentence_(std::move(sentence)) {}

  /// The errno value behind it.
  std::error_code code() const noexcept { return code_; }
  /// One plain sentence: what is refused, and how to mend it.
  std::string message() const { return sentence_; }

 private:
  std::error_code code_;
  std::string sentence_;
};

/// What `result<inspect_server, inspect_error>::value()` throws when there is an error: a
/// `startup_error` that says the sentence.
[[noreturn]] void throw_exception_from_error(const inspect_error& error,
                                             const boost::source_location& where);

/// The whole answer to a request about a stack, and about all shards of its host where it is one,
/// as `inspect_server` gives it: the connections of all of them, a line for each one's listener as
/// `ss` has one for each socket with SO_REUSEPORT, and the sums of their counters. For small hosts
/// and for tests. Each shard is asked on its own thread, one after the other; one without a stack
/// is left out. `of` must outlive it. Gives `errc::cancelled`, or
/// `not_enough_memory` of a shard that cannot write its part.
task<result<std::string>> inspect(const stack& of, const inspect_request& request);

/// Answers the requests of `parse_inspect_request` on a Unix socket, so that another shell can look
/// into a running stack. Of a shard, into all of its host: see `inspect`.
///
/// A client connects, sends one line, and reads to the end: a first line of "ok", the page behind
/// it, and a last line of "end"; or "error: " and a sentence. An answer without its last line, or a
/// sentence without its end of line, broke off. A client that sends too much, too slowly, or does
/// not read, is cut off; it neither holds the loop up nor makes it keep more than a part of the
/// answer.
///
/// Move-only, but not while it serves.
class inspect_server {
 public:
  /// What a request may have, its end of line included.
  static constexpr std::size_t longest_request = 4096;

  /// Makes the socket; from now on clients may connect. A socket that a dead process left is
  /// replaced; one that answers, and what is no socket, is not touched. Blocks for some system
  /// calls. `owner` must be a loop on the real kernel; it and `of` must outlive the server.
  static boost::system::result<inspect_server, inspect_error> open(
      loop& owner, const stack& of, const inspect_server_options& options = {});

  inspect_server(inspect_server&&) noexcept;
  inspect_server& operator=(inspect_server&&) noexcept;
  /// Closes the socket and takes its file away.
  ~inspect_server();

  /// Answers until it is cancelled; then it gives `errc::cancelled`, or the errno value of a socket
  /// that broke. One at a time.
  task<result<void>> serve();

  /// Where the socket is.
  const std::string& path() const noexcept;

 private:
  struct impl;
  explicit inspect_server(std::unique_ptr<impl> made) noexcept;

  std::unique_ptr<impl> impl_;
};

}  // namespace runnel::tcp
