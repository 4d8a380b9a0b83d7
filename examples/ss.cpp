// Looks into a running stack, as ss and nstat look into the kernel's.
//
//   sudo ./http_server --inspect          # or any program with a tcp::inspect_server
//   sudo ./ss -tan
//   sudo ./ss -tino state established '( dport = :443 or dst 10.0.0.0/24 )'
//   sudo ./ss --nstat -z 'TcpExtListen*'
//   sudo ./ss --diagnose

#include <arpa/inet.h>
#include <netdb.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "runnel/tcp/inspect.hpp"
#include "runnel/tcp/inspect_server.hpp"
#include "support/command_line.hpp"

namespace {

struct settings {
  /// One letter for each of ss's flags that was given.
  std::string letters;
  bool nstat = false;
  bool diagnose = false;
  bool zeros = false;
  /// Empty is wherever a program of this user answers.
  std::string socket;
  std::vector<std::string> words;
};

/// A program that takes longer than this for the next part of its answer does not answer.
constexpr timeval patience{15, 0};

/// A connection to a running program; throws with a sentence.
class answer_stream {
 public:
  answer_stream() = default;
  answer_stream(const answer_stream&) = delete;
  answer_stream& operator=(const answer_stream&) = delete;
  ~answer_stream() {
    if (fd_ >= 0) ::close(fd_);
  }

  /// The errno value when nobody answers there.
  int connect(const std::string& path) {
    sockaddr_un to = {};
    to.sun_family = AF_UNIX;
    if (path.empty() || path.size() >= sizeof(to.sun_path)) {
      throw std::runtime_error("\"" + path + "\" cannot name a Unix socket.");
    }
    std::memcpy(to.sun_path, path.data(), path.size());
    if (fd_ >= 0) ::close(fd_);
    fd_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ::setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    return ::connect(fd_, reinterpret_cast<const sockaddr*>(&to), sizeof(to)) == 0 ? 0 : errno;
  }
  /// Whether the program that answers is this user's or root's.
  bool trusted() const {
    ucred peer = {};
    socklen_t size = sizeof(peer);
    if (::getsockopt(fd_, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return false;
    return peer.uid == ::geteuid() || peer.uid == 0;
  }

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
    if (got < 0 && errno == EAGAIN) {
      throw std::runtime_error("the server said nothing for " + std::to_string(patience.tv_sec) +
                               " s: it is stopped, or busy with other clients.");
    }
    if (got < 0) {
      throw std::runtime_error(std::string("the answer broke off: ") + std::strerror(errno) + ".");
    }
    return {buffer_.data(), static_cast<std::size_t>(got)};
  }

 private:
  int fd_ = -1;
  std::array<char, 64 * 1024> buffer_;
};

/// Connects to the socket that was named, or to the first of this user's that answers.
void connect(answer_stream& answer, const std::string& named) {
  const auto paths =
      named.empty() ? runnel::tcp::default_inspect_paths() : std::vector<std::string>{named};
  std::string tried;
  std::string denied;
  for (const std::string& path : paths) {
    const int error = answer.connect(path);
    if (error == 0 && (!named.empty() || answer.trusted())) return;
    if (error == EACCES) denied = path;
    const std::string why = error == 0 ? "it is another user's" : std::strerror(error);
    tried += (tried.empty() ? "" : " or ") + path + " (" + why + ")";
  }
  if (!denied.empty()) {
    throw std::runtime_error("this user may not connect to " + denied +
                             "; run as the server's user, or start it with --inspect-mode 0660 "
                             "and this user's group.");
  }
  throw std::runtime_error("nothing answers on " + tried +
                           "; start the server with --inspect, or name its socket with -S.");
}

void append_plain(std::string& out, char c) {
  constexpr std::string_view hex = "0123456789abcdef";
  const auto byte = static_cast<unsigned char>(c);
  if (c == '\n' || c == '\t' || (byte >= 0x20 && byte < 0x7f)) {
    out += c;
  } else {
    out.append("\\x").append(1, hex[byte >> 4]).append(1, hex[byte & 15]);
  }
}

/// As it may go to a terminal, which no byte of an answer is to move.
std::string plain(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char c : text) append_plain(out, c);
  return out;
}

/// To standard output; throws when it does not get there.
void print(std::string_view text, bool flushed = false) {
  const std::string out = plain(text);
  const bool written = std::fwrite(out.data(), 1, out.size(), stdout) == out.size();
  if (written && (!flushed || std::fflush(stdout) == 0)) return;
  throw std::runtime_error(std::string("the answer cannot be written: ") + std::strerror(errno) +
                           ".");
}

/// The last line of a whole answer is not printed; without it, throws.
class end_mark {
 public:
  /// What of `text` may be printed by now: all but what may be the last line.
  std::string pass(std::string_view text) {
    held_ += text;
    const std::size_t keep = std::min(held_.size(), line.size());
    std::string out = held_.substr(0, held_.size() - keep);
    held_.erase(0, out.size());
    return out;
  }
  /// At the end: whether it was there. What is left otherwise is to be printed, too.
  bool seen() const { return held_ == line; }
  const std::string& rest() const { return held_; }

 private:
  static constexpr std::string_view line = "end\n";
  std::string held_;
};

/// "http" as ss knows it; what is no service stays.
std::string port_number(const std::string& name) {
  if (name.empty() || std::isalpha(static_cast<unsigned char>(name[0])) == 0) return name;
  const servent* found = ::getservbyname(name.c_str(), "tcp");
  return found == nullptr ? name : std::to_string(ntohs(static_cast<std::uint16_t>(found->s_port)));
}

/// A word of a filter with a number for the service behind its last colon, "*:https"; `is_port`
/// when it stands where only a port can, and may do without the colon.
std::string numeric_word(const std::string& word, bool is_port) {
  const std::size_t colon = word.rfind(':');
  if (colon == std::string::npos) return is_port ? port_number(word) : word;
  const std::string host = word.substr(0, colon);
  // The colons of an IPv6 address without brackets.
  if (host.find(':') != std::string::npos && !host.ends_with(']')) return word;
  return host + ":" + port_number(word.substr(colon + 1));
}

/// A filter with numbers for names of services, which the program that answers would have to look
/// up in a file.
std::string numeric(std::string_view filter) {
  constexpr std::string_view marks = " \t\n()=<>!&|";
  constexpr std::string_view comparisons[] = {"eq",  "is", "ne",  "neq", "le",
                                              "leq", "ge", "geq", "lt",  "gt"};
  std::string out;
  bool is_port = false;
  while (!filter.empty()) {
    const std::size_t end = std::min(filter.find_first_of(marks), filter.size());
    if (end == 0) {
      out += filter[0];
      filter.remove_prefix(1);
      continue;
    }
    const std::string word(filter.substr(0, end));
    filter.remove_prefix(end);
    const bool compares =
        std::find(std::begin(comparisons), std::end(comparisons), word) != std::end(comparisons);
    out += numeric_word(word, is_port && !compares);
    is_port = word == "sport" || word == "dport" || (is_port && compares);
  }
  return out;
}

std::string request_line(const settings& flags) {
  std::string line = "ss -t" + flags.letters;
  if (flags.nstat) line = "nstat" + std::string(flags.zeros ? " -z" : "");
  if (flags.diagnose) line = "diagnose";
  const bool json = flags.letters.find('j') != std::string::npos;
  if (json && (flags.nstat || flags.diagnose)) line += " -j";
  std::string words;
  for (const std::string& word : flags.words) words += " " + word;
  return line + (flags.nstat ? words : numeric(words));
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
    throw std::runtime_error(plain(first.substr(error.size(), end - error.size())));
  }
  end_mark mark;
  print(mark.pass(std::string_view(first).substr(end + 1)));
  for (rest = from.receive(); !rest.empty(); rest = from.receive()) print(mark.pass(rest));
  print(mark.seen() ? "" : mark.rest(), true);
  if (!mark.seen()) {
    throw std::runtime_error(
        "the answer broke off: the server has ended, or was not read for too long.");
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
  letter("-p,--processes", 'p', "Nothing: it is the one program that answers");
  letter("-e,--extended", 'e', "Nothing: there are no inodes");
  letter("-r,--resolve", 'r', "Nothing: no names are looked up");
  letter("-j,--json", 'j', "One JSON document, in place of any page");
  auto* nstat = app.add_flag("--nstat", flags.nstat,
                             "The counters that are not zero, by Linux's names, since the start");
  app.add_flag("-z,--zeros", flags.zeros, "With --nstat those that are zero, too")->needs(nstat);
  app.add_flag("--diagnose", flags.diagnose, "What the numbers mean and what to do, in words")
      ->excludes(nstat);
  const std::string usual = runnel::tcp::default_inspect_path();
  app.add_option("-S,--socket", flags.socket,
                 "The Unix socket of the program to look into; without it " + usual +
                     ", or where else this user's may be");
  app.add_option(
      "FILTER", flags.words,
      "[state NAME | exclude NAME]... [CONDITION], with conditions such as sport = :http, "
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
    return example::not_parsed(app, error);
  }
  try {
    const std::string line = request_line(flags);
    runnel::tcp::inspect_request request;
    const std::string complaint = runnel::tcp::parse_inspect_request(line, request);
    if (!complaint.empty()) throw std::runtime_error(complaint);
    answer_stream answer;
    connect(answer, flags.socket);
    answer.send(line + "\n");
    print_answer(answer);
  } catch (const std::exception& error) {
    std::fflush(stdout);
    std::fprintf(stderr, "ss: %s\n", error.what());
    return 1;
  }
  return 0;
}
