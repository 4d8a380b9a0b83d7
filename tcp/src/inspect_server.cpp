#include "runnel/tcp/inspect_server.hpp"

#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>

#include "runnel/event.hpp"
#include "runnel/poll.hpp"
#include "runnel/sleep.hpp"
#include "runnel/task_group.hpp"
#include "runnel/timeout.hpp"
#include "shards_page.hpp"
#include "unix_socket.hpp"

namespace runnel::tcp {

namespace {

using detail::descriptor;

/// When a client could not be accepted, for want of descriptors or memory most likely, the next
/// attempt.
constexpr std::chrono::milliseconds accept_pause{100};

bool is_temporary(int error) noexcept {
  return error == EAGAIN || error == EWOULDBLOCK || error == EINTR || error == ECONNABORTED;
}

/// The listening socket itself is no good any more.
bool is_final(int error) noexcept {
  return error == EBADF || error == EINVAL || error == ENOTSOCK || error == EOPNOTSUPP;
}

/// Reads up to the end of line, or of what the client sends; false when there is nothing to answer.
/// A `line` that with its end has more than a request may have is not read further.
task<bool> read_line(int client, std::string& line) {
  std::array<char, 512> buffer;
  while (line.size() < inspect_server::longest_request) {
    const ssize_t got = ::recv(client, buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (got == 0) co_return !line.empty();
    if (got > 0) {
      line.append(buffer.data(), static_cast<std::size_t>(got));
      const std::size_t end = line.find('\n');
      if (end == std::string::npos) continue;
      line.resize(end);
      co_return true;
    }
    if (!is_temporary(errno)) co_return false;
    const auto ready = co_await poll_once(client, POLLIN);
    if (!ready) co_return false;
  }
  co_return true;
}

/// What the client has not read yet, as the kernel accounts for it.
int unread(int client) noexcept {
  int bytes = 0;
  return ::ioctl(client, SIOCOUTQ, &bytes) == 0 ? bytes : 0;
}

/// Whether the client took all of it, and never read nothing for longer than `patience`.
task<bool> write_all(int client, std::string_view text, std::chrono::milliseconds patience) {
  while (!text.empty()) {
    const ssize_t sent = ::send(client, text.data(), text.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent > 0) {
      text.remove_prefix(static_cast<std::size_t>(sent));
      continue;
    }
    if (sent < 0 && !is_temporary(errno)) co_return false;
    // There is room only after much was read, so that a wait in vain may still be of use.
    const int before = unread(client);
    const auto ready = co_await with_timeout(patience, poll_once(client, POLLOUT));
    const bool late = !ready && ready.error() == errc::deadline_exceeded;
    if (!ready && !(late && unread(client) < before)) co_return false;
  }
  co_return true;
}

}  // namespace

struct inspect_server::impl {
  impl(const stack& of, const inspect_server_options& options, detail::unix_listener made) noexcept
      : watched(&of),
        clients(options.clients),
        request_patience(options.request_patience),
        patience(options.patience),
        listener(std::move(made)) {}

  task<> answer(descriptor client);
  task<> answer_page(int client, inspect_request request);

  const stack* watched;
  std::size_t clients;
  std::chrono::milliseconds request_patience;
  std::chrono::milliseconds patience;
  detail::unix_listener listener;
  /// A client has gone.
  event room;
};

task<> inspect_server::impl::answer_page(int client, inspect_request request) {
  detail::shards_page page(*watched, std::move(request));
  std::string part = "ok\n";
  while (!page.done()) {
    const auto made = co_await with_timeout(patience, page.next(part));
    if (!made) co_return;
    if (page.done()) part += "end\n";
    const bool taken = co_await write_all(client, part, patience);
    if (!taken) co_return;
    part.clear();
    // Others have their turn between two parts.
    const auto rested = co_await yield();
    if (!rested) co_return;
  }
}

task<> inspect_server::impl::answer(descriptor client) {
  std::string line;
  const auto asked = co_await with_timeout(request_patience, read_line(client.get(), line));
  if (asked && *asked) {
    inspect_request request;
    std::string complaint;
    if (line.size() >= longest_request) {
      complaint = "A request has at most " + std::to_string(longest_request) + " bytes.";
    } else {
      complaint = parse_inspect_request(line, request);
    }
    if (complaint.empty()) {
      co_await answer_page(client.get(), std::move(request));
    } else {
      const std::string text = "error: " + complaint + "\n";
      co_await write_all(client.get(), text, patience);
    }
  }
  room.set();
}

task<result<void>> inspect_server::serve() {
  impl& self = *impl_;
  cancel_scope& scope = co_await this_scope();
  task_group answering(scope, on_failure::collect);
  std::error_code failed;
  while (!failed) {
    self.room.reset();
    if (answering.size() >= self.clients) {
      const auto waited = co_await self.room.wait();
      if (!waited) failed = waited.error();
      continue;
    }
    const auto ready = co_await poll_once(self.listener.get(), POLLIN);
    if (!ready) {
      failed = ready.error();
      continue;
    }
    descriptor client = self.listener.accept();
    if (client) {
      answering.spawn(self.answer(std::move(client)));
    } else if (const int error = errno; is_final(error)) {
      failed = std::error_code(error, std::generic_category());
    } else if (!is_temporary(error)) {
      const auto rested = co_await sleep(accept_pause);
      if (!rested) failed = rested.error();
    }
  }
  answering.cancel();
  co_await answering.join();
  co_return failed;
}

boost::system::result<inspect_server, inspect_error> inspect_server::open(
    loop& owner, const stack& of, const inspect_server_options& options) {
  if (owner.simulated()) {
    return inspect_error(std::make_error_code(std::errc::not_supported),
                         "A loop in virtual time has no Unix sockets: call tcp::inspect instead.");
  }
  if (options.clients == 0 || options.patience.count() <= 0 ||
      options.request_patience.count() <= 0) {
    return inspect_error(std::make_error_code(std::errc::invalid_argument),
                         "An inspection server needs clients of 1 or more and some patience.");
  }
  const std::string path = options.path.empty() ? default_inspect_path() : options.path;
  auto made = detail::unix_listener::open(path, options.mode);
  if (!made) return made.error();
  return inspect_server(std::make_unique<impl>(of, options, std::move(*made)));
}

inspect_server::inspect_server(std::unique_ptr<impl> made) noexcept : impl_(std::move(made)) {}
inspect_server::inspect_server(inspect_server&&) noexcept = default;
inspect_server& inspect_server::operator=(inspect_server&&) noexcept = default;
inspect_server::~inspect_server() = default;

const std::string& inspect_server::path() const noexcept {
  return impl_->listener.path();
}

void throw_exception_from_error(const inspect_error& error, const boost::source_location&) {
  throw startup_error(error.code(), error.message());
}

namespace {

std::string runtime_path() {
  const char* folder = std::getenv("XDG_RUNTIME_DIR");
  if (folder == nullptr || *folder != '/') return {};
  return std::string(folder) + "/runnel.sock";
}

std::string fallback_path() {
  if (::geteuid() == 0) return "/run/runnel.sock";
  return "/tmp/runnel-" + std::to_string(::geteuid()) + ".sock";
}

}  // namespace

std::string default_inspect_path() {
  const std::string runtime = runtime_path();
  return runtime.empty() ? fallback_path() : runtime;
}

std::vector<std::string> default_inspect_paths() {
  std::vector<std::string> out;
  // As pam_systemd sets the variable, for a shell that does without it.
  const std::string usual = "/run/user/" + std::to_string(::geteuid()) + "/runnel.sock";
  for (const std::string& each : {default_inspect_path(), usual, fallback_path()}) {
    if (std::find(out.begin(), out.end(), each) == out.end()) out.push_back(each);
  }
  return out;
}

}  // namespace runnel::tcp
