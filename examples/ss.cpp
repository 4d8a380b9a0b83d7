// Looks into a running stack, as ss and nstat look into the kernel's.
//
//   sudo ./http_server --inspect          # or any program with a tcp::inspect_server
//   sudo ./ss -tan
//   sudo ./ss -tino state established '( dport = :443 or dst 10.0.0.0/24 )'
//   sudo ./ss --nstat -z 'TcpExtListen*'
//   sudo ./ss --diagnose

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "runnel/tcp/inspect.hpp"
#include "runnel/tcp/inspect_server.hpp"

namespace {

struct settings {
  /// One letter for each of ss's flags that was given.
  std::string letters;
  bool nstat = false;
  bool diagnose = false;
  bool zeros = false;
  std::string socket = runnel::tcp::default_inspect_path();
  std::vector<std::string> words;
};

/// A connection to a running program; throws with a sentence.
class answer_stream {
 public:
  explicit answer_stream(const std::string& path) : fd_(::socket(AF_UNIX, SOCK_STREAM, 0)) {
    sockaddr_un to = {};
    to.sun_family = AF_UNIX;
    if (path.empty() || path.size() >= sizeof(to.sun_path)) {
      throw std::runtime_error("\"" + path + "\" cannot name a Unix socket.");
    }
    std::memcpy(to.sun_path, path.data(), path.size());
    if (::connect(fd_, reinterpret_cast<const sockaddr*>(&to), sizeof(to)) == 0) return;
    const int error = errno;
    ::close(fd_);
    const std::string why = std::strerror(error);
    if (error == EACCES) {
      throw std::runtime_error("this user may not connect to " + path +
                               "; run as the server's user, or start it with --inspect-mode 0666.");
    }
    throw std::runtime_error("nothing answers on " + path + " (" + why +
                             "); start the server with --inspect, or name its socket with -S.");
  }
  answer_stream(const answer_stream&) = delete;
  answer_stream& operator=(const answer_stream&) = delete;
  ~answer_stream() { ::close(fd_); }

  void send(std::string_view text) const {
    while (!text.empty()) {
      const ssize_t sent = ::send(fd_, text.data(), text.size(), MSG_NOSIGNAL);
      if (sent <= 0) throw std::runtime_error("the server hung up.");
      text.remove_prefix(static_cast<std::size_t>(sent));
    }
  }
  /// What comes next; empty at the end.
  std::string_view receive() {
    const ssize_t got = ::recv(fd_, buffer_.data(), buffer_.size(), 0);
    if (got < 0)
      throw std::runtime_error(std::string("the answer broke off: ") + std::strerror(errno) + ".");
    return {buffer_.data(), static_cast<std::size_t>(got)};
  }

 private:
  int fd_;
  std::array<char, 64 * 1024> buffer_;
};

std::string request_line(const settings& flags) {
  std::string line = "ss -t" + flags.letters;
  if (flags.nstat) line = "nstat" + std::string(flags.zeros ? " -z" : "");
  if (flags.diagnose) line = "diagnose";
  const bool json = flags.letters.find('j') != std::string::npos;
  if (json && (flags.nstat || flags.diagnose)) line += " -j";
  for (const std::string& word : flags.words) line += " " + word;
  return line;
}

/// Prints the answer; an error of the server is thrown.
void print_answer(answer_stream& from) {
  std::string first;
  std::string_view rest;
  while (first.find('\n') == std::string::npos) {
    rest = from.receive();
    if (rest.empty()) throw std::runtime_error("the server hung up without an answer.");
    first += rest;
  }
  const std::size_t end = first.find('\n');
  constexpr std::string_view error = "error: ";
  if (first.starts_with(error)) {
    throw std::runtime_error(first.substr(error.size(), end - error.size()));
  }
  std::fwrite(first.data() + end + 1, 1, first.size() - end - 1, stdout);
  for (rest = from.receive(); !rest.empty(); rest = from.receive()) {
    std::fwrite(rest.data(), 1, rest.size(), stdout);
  }
}

void add_flags(CLI::App& app, settings& flags) {
  const auto letter = [&](const char* names, char which, const char* what) {
    app.add_flag_callback(
        names, [&flags, which] { flags.letters += which; }, what);
  };
  letter("-t,--tcp", 't', "TCP, which is all there is here");
  letter("-a,--all", 'a', "Sockets in every state, listening and TIME-WAIT too");
  letter("-l,--listening", 'l', "Only listeners: accept queue as Recv-Q, backlog as Send-Q");
  letter("-n,--numeric", 'n', "Numbers for names, which is how they are always told");
  letter("-o,--options", 'o', "Timers");
  letter("-i,--info", 'i', "What TCP_INFO tells; for listeners, peaks and drops by reason");
  letter("-m,--memory", 'm', "Buffers");
  letter("-s,--summary", 's', "How many sockets there are of each kind, and their memory");
  letter("-4,--ipv4", '4', "Only IPv4");
  letter("-6,--ipv6", '6', "Only IPv6");
  letter("-H,--no-header", 'H', "No line of column names");
  letter("-O,--oneline", 'O', "Everything of a socket on one line");
  letter("-j,--json", 'j', "One JSON document, in place of any page");
  auto* nstat = app.add_flag("--nstat", flags.nstat,
                             "The counters that are not zero, by Linux's names, since the start");
  app.add_flag("-z,--zeros", flags.zeros, "With --nstat those that are zero, too")->needs(nstat);
  app.add_flag("--diagnose", flags.diagnose, "What the numbers mean and what to do, in words")
      ->excludes(nstat);
  app.add_option("-S,--socket", flags.socket, "The Unix socket of the program to look into")
      ->capture_default_str();
  app.add_option("FILTER", flags.words,
                 "[state NAME | exclude NAME]... [CONDITION], with conditions such as sport = :80, "
                 "dport >= :1024, src 10.0.0.1, dst 10.0.0.0/24, dst 10.0.0.1:80, joined by and, "
                 "or, not and parentheses; with --nstat patterns of names such as TcpExtListen*");
  app.footer(
      "States: established, syn-sent, syn-recv, fin-wait-1, fin-wait-2, time-wait, closed,\n"
      "close-wait, last-ack, listening, closing; all, connected, synchronized, bucket, big.\n"
      "Without one: what is neither listening, SYN-RECV, nor TIME-WAIT.");
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Looks into a running runnel stack with the flags of ss and nstat.", "ss"};
  settings flags;
  add_flags(app, flags);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 1;
  }
  try {
    const std::string line = request_line(flags);
    runnel::tcp::inspect_request request;
    const std::string complaint = runnel::tcp::parse_inspect_request(line, request);
    if (!complaint.empty()) throw std::runtime_error(complaint);
    answer_stream answer(flags.socket);
    answer.send(line + "\n");
    print_answer(answer);
  } catch (const std::exception& error) {
    std::fflush(stdout);
    std::fprintf(stderr, "ss: %s\n", error.what());
    return 1;
  }
  return 0;
}
