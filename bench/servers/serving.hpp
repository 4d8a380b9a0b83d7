#pragma once

#include <netinet/in.h>

#include <cstdint>
#include <string>
#include <string_view>

/// What the servers of this folder share: their command lines, the answers they give, and how they
/// begin and end.
namespace bench {

inline constexpr std::string_view keep_alive_answer =
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 14\r\n\r\nHello, world!\n";
inline constexpr std::string_view last_answer =
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 14\r\n"
    "Connection: close\r\n\r\nHello, world!\n";

/// Whether a request asks for the end of its connection.
bool asks_for_close(std::string_view request) noexcept;

struct serving_options {
  /// Servers on a TUN device only.
  std::string tun;
  std::int64_t busy_poll_ns = 0;
  bool vnet = false;

  in_addr address{};
  std::uint16_t port = 0;
};

enum class path { kernel, tun };

/// Reads the command line, or tells what is wrong with it (or --help) and ends the process.
serving_options read_arguments(int argc, char** argv, path kind, const std::string& what);

enum class waiting { blocks, fails };

/// A listening socket with a backlog of 4,096; throws a sentence.
int listen_at(const serving_options& given, waiting how);

/// From now on SIGTERM and SIGINT make `stop_asked()` true and interrupt system calls.
void catch_stop_signals();
bool stop_asked() noexcept;

/// Says that the server serves.
void say_ready();

/// Runs it with as many descriptors as there may be; says what it threw. The process's exit code.
int run_server(const char* name, void (*serve)(const serving_options&),
               const serving_options& given);

}  // namespace bench
