#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <optional>
#include <string>

#include "runnel/task_group.hpp"
#include "runnel/tcp/inspect_server.hpp"

namespace example {

/// The flags that let `ss` look into a program while it runs.
struct inspect_flags {
  std::string path;
  std::string mode = "0600";

  void add_to(CLI::App& app) {
    wanted_ = app.add_option("--inspect", path,
                             "Answer examples/ss on this Unix socket; without a path on " +
                                 runnel::tcp::default_inspect_path())
                  ->expected(0, 1);
    app.add_option("--inspect-mode", mode, "Permissions of that socket, in octal")
        ->capture_default_str()
        ->check([](const std::string& text) {
          const bool octal = !text.empty() && text.size() <= 4 &&
                             text.find_first_not_of("01234567") == std::string::npos;
          return octal ? std::string() : "permissions are octal digits, as in 0660";
        });
  }

  /// The server, when it was asked for; throws with a sentence when it cannot be. The first of
  /// several loops answers for all.
  std::optional<runnel::tcp::inspect_server> open(runnel::loop& owner,
                                                  const runnel::tcp::stack& stack) const {
    if (wanted_ == nullptr || wanted_->count() == 0) return std::nullopt;
    if (stack.engine().shard().index != 0) return std::nullopt;
    runnel::tcp::inspect_server_options options;
    options.path = path;
    options.mode = static_cast<unsigned>(std::stoul(mode, nullptr, 8));
    return runnel::tcp::inspect_server::open(owner, stack, options).value();
  }

 private:
  const CLI::Option* wanted_ = nullptr;
};

/// Runs `body` and lets others look at `stack` meanwhile; gives what `body` gives.
inline runnel::task<int> inspected(runnel::loop& owner, const runnel::tcp::stack& stack,
                                   const inspect_flags& flags, runnel::task<int> body) {
  auto server = flags.open(owner, stack);
  runnel::task_group answering(owner);
  if (server) {
    std::printf("inspect: %s\n", server->path().c_str());
    std::fflush(stdout);
    answering.spawn(server->serve());
  }
  int code = 0;
  std::exception_ptr failed;
  try {
    code = co_await std::move(body);
  } catch (...) {
    failed = std::current_exception();
  }
  answering.cancel();
  co_await answering.join();
  if (failed) std::rethrow_exception(failed);
  co_return code;
}

}  // namespace example
