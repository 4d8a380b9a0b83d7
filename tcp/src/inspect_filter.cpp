#include "runnel/tcp/detail/inspect_filter.hpp"

#include <charconv>
#include <optional>

namespace runnel::tcp::detail {

namespace {

bool is_operator_char(char c) noexcept {
  return c == '=' || c == '!' || c == '<' || c == '>';
}

/// Words with parentheses and comparisons as words of their own, whatever they touch.
std::vector<std::string_view> tokens_of(std::span<const std::string_view> words) {
  std::vector<std::string_view> out;
  for (const std::string_view word : words) {
    std::size_t begin = 0;
    while (begin < word.size()) {
      std::size_t end = begin + 1;
      if (is_operator_char(word[begin])) {
        while (end < word.size() && word[end] == '=') ++end;
      } else if (word[begin] != '(' && word[begin] != ')') {
        while (end < word.size() && word[end] != '(' && word[end] != ')' &&
               !is_operator_char(word[end])) {
          ++end;
        }
      }
      out.push_back(word.substr(begin, end - begin));
      begin = end;
    }
  }
  return out;
}

std::optional<std::uint16_t> parse_port(std::string_view text) noexcept {
  std::uint16_t port = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, port);
  if (error != std::errc() || stop != end || text.empty()) return std::nullopt;
  return port;
}

}  // namespace

/// Recursive descent: `or` binds least, then `and`, then `not`. What it makes is as deep as what it
/// reads, and that is bounded.
class filter_parser {
 public:
  using node = inspect_filter::node;
  using kind = inspect_filter::kind;
  using comparison = inspect_filter::comparison;

  filter_parser(std::vector<std::string_view> tokens, std::vector<node>& nodes)
      : tokens_(std::move(tokens)), nodes_(nodes) {}

  std::string run() {
    if (tokens_.empty()) return {};
    any_of(0);
    if (error_.empty() && at_ < tokens_.size()) fail(quoted() + " does not belong there");
    return error_;
  }

 private:
  std::string_view peek() const noexcept {
    return at_ < tokens_.size() ? tokens_[at_] : std::string_view();
  }
  bool accept(std::string_view word, std::string_view sign) noexcept {
    if (peek().empty() || (peek() != word && peek() != sign)) return false;
    ++at_;
    return true;
  }
  std::string quoted() const { return std::string(1, '"').append(peek()).append(1, '"'); }
  std::uint32_t fail(const std::string& what) {
    if (error_.empty())
      error_ = std::string("Filter: ").append(what) +
               "; write conditions as in sport = :80 and dst 10.0.0.0/24.";
    return 0;
  }
  std::uint32_t add(const node& made) {
    if (nodes_.size() >= inspect_filter::size_limit) return fail("it has too many conditions");
    nodes_.push_back(made);
    return static_cast<std::uint32_t>(nodes_.size() - 1);
  }
  std::uint32_t join(kind how, std::uint32_t left, std::uint32_t right) {
    node made;
    made.what = how;
    made.left = left;
    made.right = right;
    return add(made);
  }

  std::uint32_t any_of(int depth) {
    std::uint32_t left = all_of(depth);
    while (error_.empty() && accept("or", "|")) left = join(kind::either, left, all_of(depth));
    return left;
  }
  std::uint32_t all_of(int depth) {
    std::uint32_t left = single(depth);
    while (error_.empty()) {
      const bool joined = accept("and", "&");
      if (!joined && (peek().empty() || peek() == "or" || peek() == "|" || peek() == ")")) break;
      left = join(kind::both, left, single(depth));
    }
    return left;
  }
  std::uint32_t single(int depth) {
    if (depth >= inspect_filter::depth_limit) return fail("it is nested too deeply");
    if (accept("not", "!")) return join(kind::negation, single(depth + 1), 0);
    if (accept("(", "(")) {
      const std::uint32_t inside = any_of(depth + 1);
      if (!accept(")", ")")) return fail("a ) is missing");
      return inside;
    }
    if (accept("sport", "sport")) return port_condition(kind::local_port);
    if (accept("dport", "dport")) return port_condition(kind::remote_port);
    if (accept("src", "src")) return host_condition(kind::local_host);
    if (accept("dst", "dst")) return host_condition(kind::remote_host);
    return fail(peek().empty() ? "a condition is missing at its end"
                               : quoted() + " is no condition");
  }

  comparison compare() {
    if (accept("=", "==") || accept("eq", "is")) return comparison::equal;
    if (accept("!=", "ne") || accept("neq", "neq")) return comparison::unequal;
    if (accept("<=", "le") || accept("leq", "leq")) return comparison::less_equal;
    if (accept(">=", "ge") || accept("geq", "geq")) return comparison::greater_equal;
    if (accept("<", "lt")) return comparison::less;
    if (accept(">", "gt")) return comparison::greater;
    return comparison::equal;
  }
  std::uint32_t port_condition(kind what) {
    node made;
    made.what = what;
    made.compare = compare();
    std::string_view text = peek();
    if (text.starts_with(':')) text.remove_prefix(1);
    const bool equality = made.compare == comparison::equal || made.compare == comparison::unequal;
    if (text == "*" && equality) {
      ++at_;
      return add(made);
    }
    const auto port = parse_port(text);
    if (!port) return fail(quoted() + " is no port number");
    ++at_;
    made.any_port = false;
    made.port = *port;
    return add(made);
  }
  std::uint32_t host_condition(kind what) {
    node made;
    made.what = what;
    made.compare = compare();
    if (made.compare != comparison::equal && made.compare != comparison::unequal) {
      return fail("addresses are equal or not, and nothing else");
    }
    if (!read_host(peek(), made)) return fail(quoted() + " is no address");
    ++at_;
    return add(made);
  }
  /// "10.0.0.1", "10.0.0.0/24", either with ":80", "[2001:db8::1]:80", "*:80" or ":80".
  static bool read_host(std::string_view text, node& into) {
    if (const auto whole = net::prefix::parse(text)) {
      into.hosts = *whole;
      return true;
    }
    const std::size_t colon = text.rfind(':');
    std::string_view host = text.substr(0, colon);
    if (colon != std::string_view::npos && text.substr(colon + 1) != "*") {
      const auto port = parse_port(text.substr(colon + 1));
      if (!port) return false;
      into.any_port = false;
      into.port = *port;
    }
    if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
    into.any_host = host.empty() ? !into.any_port : host == "*";
    if (into.any_host) return true;
    const auto parsed = net::prefix::parse(host);
    if (parsed) into.hosts = *parsed;
    return parsed.has_value();
  }

  std::vector<std::string_view> tokens_;
  std::vector<node>& nodes_;
  std::size_t at_ = 0;
  std::string error_;
};

std::string inspect_filter::parse(std::span<const std::string_view> words) {
  std::vector<node> nodes;
  std::string error = filter_parser(tokens_of(words), nodes).run();
  if (error.empty()) nodes_ = std::move(nodes);
  return error;
}

bool inspect_filter::matches(const net::endpoint& local,
                             const net::endpoint& remote) const noexcept {
  if (family_ != net::family::unspecified) {
    const net::family has = local.address.family();
    if (has != family_ && has != net::family::unspecified) return false;
  }
  return nodes_.empty() || holds(static_cast<std::uint32_t>(nodes_.size() - 1), local, remote);
}

bool inspect_filter::holds(std::uint32_t at, const net::endpoint& local,
                           const net::endpoint& remote) const noexcept {
  const node& here = nodes_[at];
  const auto port_holds = [&](std::uint16_t port) {
    if (here.any_port) return here.compare == comparison::equal;
    switch (here.compare) {
      case comparison::equal:
        return port == here.port;
      case comparison::unequal:
        return port != here.port;
      case comparison::less:
        return port < here.port;
      case comparison::less_equal:
        return port <= here.port;
      case comparison::greater:
        return port > here.port;
      case comparison::greater_equal:
        return port >= here.port;
    }
    return false;
  };
  const auto host_holds = [&](const net::endpoint& side) {
    const bool host = here.any_host || here.hosts.contains(side.address);
    const bool both = host && (here.any_port || side.port == here.port);
    return both == (here.compare == comparison::equal);
  };
  switch (here.what) {
    case kind::local_port:
      return port_holds(local.port);
    case kind::remote_port:
      return port_holds(remote.port);
    case kind::local_host:
      return host_holds(local);
    case kind::remote_host:
      return host_holds(remote);
    case kind::both:
      return holds(here.left, local, remote) && holds(here.right, local, remote);
    case kind::either:
      return holds(here.left, local, remote) || holds(here.right, local, remote);
    case kind::negation:
      return !holds(here.left, local, remote);
  }
  return false;
}

}  // namespace runnel::tcp::detail
