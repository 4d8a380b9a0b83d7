#include "runnel/net/http/parser.hpp"

#include <algorithm>
#include <boost/beast/http/basic_parser.hpp>
#include <cstring>
#include <memory>
#include <new>

#include "field_facts.hpp"
#include "text.hpp"

namespace runnel::http {
namespace {

namespace beast_http = boost::beast::http;
using beast_error = boost::system::error_code;
using beast_view = boost::beast::string_view;

std::string_view view(beast_view text) noexcept {
  return {text.data(), text.size()};
}

method method_of(beast_http::verb verb) noexcept {
  switch (verb) {
    case beast_http::verb::get:
      return method::get;
    case beast_http::verb::head:
      return method::head;
    case beast_http::verb::post:
      return method::post;
    case beast_http::verb::put:
      return method::put;
    case beast_http::verb::delete_:
      return method::delete_;
    case beast_http::verb::patch:
      return method::patch;
    case beast_http::verb::options:
      return method::options;
    case beast_http::verb::trace:
      return method::trace;
    case beast_http::verb::connect:
      return method::connect;
    default:
      return method::other;
  }
}

detail::field_kind kind_of(beast_http::field name) noexcept {
  switch (name) {
    case beast_http::field::content_length:
      return detail::field_kind::content_length;
    case beast_http::field::transfer_encoding:
      return detail::field_kind::transfer_encoding;
    case beast_http::field::connection:
      return detail::field_kind::connection;
    case beast_http::field::host:
      return detail::field_kind::host;
    case beast_http::field::expect:
      return detail::field_kind::expect;
    default:
      return detail::field_kind::plain;
  }
}

/// The four forms of RFC 9112 section 3.2.
bool is_valid_target(method verb, std::string_view target) noexcept {
  if (target.front() == '/') return verb != method::connect;
  if (verb == method::connect) {
    return target.find(':') != std::string_view::npos && target.find('/') == std::string_view::npos;
  }
  if (target == "*") return verb == method::options;
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (target.size() > scheme.size() &&
        equal_ignoring_case(target.substr(0, scheme.size()), scheme)) {
      return target[scheme.size()] != '/' && target[scheme.size()] != '?';
    }
  }
  return false;
}

/// Beast's parser with the hooks that collect one message. It lives in the storage of the public
/// parser, from the first byte of a message to its last.
template <bool IsRequest>
class beast_parser final : public beast_http::basic_parser<IsRequest> {
 public:
  using head_type = std::conditional_t<IsRequest, request_head, response_head>;

  beast_parser(std::string_view text, head_type& head, method asked, const message_limits& limits)
      : head_(&head), begin_(text.data()), asked_(asked) {
    facts_.start(begin_, detail::head_access::entries(detail::head_access::fields(head)), limits);
    this->header_limit(limits.header_bytes);
    this->body_limit(boost::none);
  }

  parse_result put_head(std::string_view text, std::size_t& consumed, beast_error& ec) {
    consumed = this->put(boost::asio::const_buffer{text.data(), text.size()}, ec);
    if (ec == beast_http::error::need_more) return parse_result::need_more;
    if (ec) return parse_result::failed;
    const bool accepted = [&] {
      if constexpr (IsRequest) {
        return facts_.finish_request(*head_, http_1_0_);
      } else {
        return facts_.finish_response(*head_, http_1_0_, asked_);
      }
    }();
    if (!accepted) return parse_result::failed;
    detail::head_access::bytes(detail::head_access::fields(*head_)).assign(begin_, consumed);
    return parse_result::complete;
  }

  decode_result decode(std::string_view input, std::span<char> out, std::uint32_t line_limit) {
    decode_result done;
    out_ = out;
    while (!this->is_done()) {
      if (chunk_left_ > 0 && (out_.empty() || done.consumed == input.size())) break;
      // Beast asserts that it sees this many bytes of a last chunk, which is the shortest thing
      // that may follow anything but data.
      if (chunk_left_ == 0 && input.size() - done.consumed < shortest_last_chunk.size()) break;
      const std::string_view rest = input.substr(done.consumed);
      beast_error ec;
      const std::size_t taken = this->put(boost::asio::const_buffer{rest.data(), rest.size()}, ec);
      done.consumed += taken;
      if (ec == beast_http::error::need_more) {
        if (rest.size() - taken >= line_limit) {
          facts_.refuse(status::bad_request, errc::bad_message);
          done.state = parse_result::failed;
        }
        break;
      }
      if (ec) {
        done.state = parse_result::failed;
        break;
      }
    }
    done.produced = out.size() - out_.size();
    if (this->is_done()) done.state = parse_result::complete;
    return done;
  }

  const detail::field_facts& facts() const noexcept { return facts_; }
  bool refused() const noexcept { return refused_; }

 private:
  static constexpr std::string_view shortest_last_chunk = "0\r\n\r\n";

  void check(bool accepted, beast_error& ec) noexcept {
    if (accepted) return;
    refused_ = true;
    ec = beast_http::error::bad_value;
  }
  std::uint16_t offset(beast_view part) const noexcept {
    return static_cast<std::uint16_t>(part.data() - begin_);
  }

  void on_request_impl(beast_http::verb verb, beast_view method_text, beast_view target,
                       int version, beast_error& ec) override {
    if constexpr (IsRequest) {
      http_1_0_ = version == 10;
      const method known = method_of(verb);
      if (!is_valid_target(known, view(target))) {
        check(facts_.refuse(status::bad_request, errc::bad_message), ec);
        return;
      }
      detail::head_access::set(*head_,
                               detail::head_access::request_line{
                                   .method = known,
                                   .method_size = static_cast<std::uint16_t>(method_text.size()),
                                   .target_begin = offset(target),
                                   .target_size = static_cast<std::uint16_t>(target.size())});
    }
  }
  void on_response_impl(int code, beast_view reason, int version, beast_error& ec) override {
    if constexpr (!IsRequest) {
      http_1_0_ = version == 10;
      if (code < 100 || code > 599) {
        check(facts_.refuse(status::bad_request, errc::bad_message), ec);
        return;
      }
      detail::head_access::set(*head_,
                               detail::head_access::status_line{
                                   .status = static_cast<status>(code),
                                   .reason_begin = offset(reason),
                                   .reason_size = static_cast<std::uint16_t>(reason.size())});
    }
  }
  void on_field_impl(beast_http::field name, beast_view name_text, beast_view value,
                     beast_error& ec) override {
    check(in_trailer_ ? facts_.take_trailer(view(name_text), view(value))
                      : facts_.take(kind_of(name), view(name_text), view(value)),
          ec);
  }
  void on_header_impl(beast_error&) override {}
  void on_body_init_impl(const boost::optional<std::uint64_t>&, beast_error&) override {}
  std::size_t on_body_impl(beast_view, beast_error& ec) override {
    // Bodies that are not chunked never come here.
    check(false, ec);
    return 0;
  }
  void on_chunk_header_impl(std::uint64_t size, beast_view extensions, beast_error& ec) override {
    in_trailer_ = size == 0;
    chunk_left_ = size;
    // A quoted string may hold anything by Beast's rules, and a reader that ends lines at a bare
    // line feed would see the next chunk begin inside it. Extensions are also a way to make a
    // reader work for nothing, so they may not outweigh the data by more than one header.
    if (!detail::is_field_value(view(extensions)) || extensions.size() > extension_allowance_) {
      check(facts_.refuse(status::bad_request, errc::bad_message), ec);
      return;
    }
    extension_allowance_ += static_cast<std::size_t>(std::min<std::uint64_t>(size, 1024));
    extension_allowance_ -= extensions.size();
  }
  std::size_t on_chunk_body_impl(std::uint64_t, beast_view body, beast_error&) override {
    const std::size_t taken = std::min(body.size(), out_.size());
    if (taken > 0) std::memcpy(out_.data(), body.data(), taken);
    out_ = out_.subspan(taken);
    chunk_left_ -= taken;
    return taken;
  }
  void on_finish_impl(beast_error&) override {}

  head_type* head_;
  const char* begin_;
  detail::field_facts facts_;
  std::span<char> out_;
  std::uint64_t chunk_left_ = 0;
  std::size_t extension_allowance_ = 1024;
  method asked_;
  bool http_1_0_ = false;
  bool in_trailer_ = false;
  bool refused_ = false;
};

/// Whether the start line is well-formed but for the numbers of its version, as in "GET /
/// HTTP/2.0".
template <bool IsRequest>
bool names_another_version(std::string_view line) noexcept {
  line = line.substr(0, line.find("\r\n"));
  if constexpr (IsRequest) {
    const std::size_t target = line.find(' ');
    const std::size_t version = line.find(' ', target + 1);
    if (target == std::string_view::npos || version == std::string_view::npos) return false;
    line.remove_prefix(version + 1);
    if (line.size() != 8) return false;
  }
  if (line.size() < 8 || line.substr(0, 5) != "HTTP/" || line[6] != '.') return false;
  if (!detail::is_digit(line[5]) || !detail::is_digit(line[7])) return false;
  return line[5] != '1' || line[7] > '1';
}

std::size_t skippable_lines(std::string_view input) noexcept {
  std::size_t skipped = 0;
  while (input.substr(skipped, 2) == "\r\n") skipped += 2;
  return skipped;
}

}  // namespace

struct message_parser::attempt {
  parse_result state = parse_result::failed;
  status refusal = status::bad_request;
  errc error = errc::bad_message;
  std::size_t consumed = 0;
};

namespace {

template <bool IsRequest>
beast_parser<IsRequest>& parser_in(std::span<std::byte> storage) noexcept {
  return *std::launder(reinterpret_cast<beast_parser<IsRequest>*>(storage.data()));
}

/// Has Beast look at `text` from its start. A refusal by the fields wins over Beast's, as it knows
/// which status it means.
template <class Attempt, bool IsRequest>
Attempt look(beast_parser<IsRequest>& parser, std::string_view text, std::uint32_t limit) {
  Attempt made;
  beast_error ec;
  made.state = parser.put_head(text.substr(0, limit), made.consumed, ec);
  if (made.state != parse_result::failed) return made;
  if (!ec || parser.refused()) {
    made.refusal = parser.facts().refusal;
    made.error = parser.facts().error;
  } else if (ec == beast_http::error::header_limit) {
    made.state = parse_result::need_more;
  } else if (ec == beast_http::error::bad_version && names_another_version<IsRequest>(text)) {
    made.refusal = status::http_version_not_supported;
    made.error = errc::unsupported_version;
  }
  return made;
}

}  // namespace

// A message usually comes whole, so the first look goes straight to Beast. When that was not
// enough, Beast is asked again only once the empty line is there, from the beginning: the offsets
// of all fields then refer to one buffer, and its limits see the whole head.
bool message_parser::head_may_be_complete(std::string_view text) noexcept {
  if (!tried_) {
    tried_ = true;
    return true;
  }
  const std::size_t from = scanned_ < 3 ? 0 : scanned_ - 3;
  return text.find("\r\n\r\n", from) != std::string_view::npos;
}

parse_result message_parser::incomplete(std::string_view text) noexcept {
  if (std::min(text.find("\r\n"), text.size()) >= limits_.start_line_bytes) {
    return fail(status::uri_too_long, errc::header_too_large);
  }
  if (text.size() >= limits_.header_bytes) {
    return fail(status::request_header_fields_too_large, errc::header_too_large);
  }
  scanned_ = text.size();
  return parse_result::need_more;
}

parse_result message_parser::settle(const attempt& made, std::string_view text,
                                    std::size_t skipped) noexcept {
  if (made.state == parse_result::need_more) return incomplete(text);
  if (made.state == parse_result::failed) return fail(made.refusal, made.error);
  if (made.consumed > limits_.start_line_bytes && text.find("\r\n") > limits_.start_line_bytes) {
    return fail(status::uri_too_long, errc::header_too_large);
  }
  head_size_ = skipped + made.consumed;
  return parse_result::complete;
}

parse_result message_parser::fail(status refusal, std::error_code error) noexcept {
  refusal_ = refusal;
  error_ = error;
  return parse_result::failed;
}

void message_parser::restart() noexcept {
  head_size_ = 0;
  scanned_ = 0;
  tried_ = false;
  live_ = false;
}

parse_result request_parser::parse(std::string_view input, request_head& head) {
  using parser_type = beast_parser<true>;
  static_assert(sizeof(parser_type) <= sizeof(storage_) && alignof(parser_type) <= 8);
  const std::size_t skipped = skippable_lines(input);
  const std::string_view text = input.substr(skipped);
  if (text.empty() || text == "\r" || skipped >= limits_.header_bytes) return incomplete(input);
  if (!head_may_be_complete(text)) return incomplete(text);
  if (live_) std::destroy_at(&parser_in<true>(storage_));
  auto* parser = new (storage_.data()) parser_type(text, head, method::get, limits_);
  live_ = true;
  return settle(look<attempt>(*parser, text, limits_.header_bytes), text, skipped);
}

decode_result request_parser::decode(std::string_view input, std::span<char> out) {
  auto& parser = parser_in<true>(storage_);
  const decode_result done = parser.decode(input, out, limits_.header_bytes);
  if (done.state == parse_result::failed) fail(parser.facts().refusal, parser.facts().error);
  return done;
}

void request_parser::reset() noexcept {
  if (live_) std::destroy_at(&parser_in<true>(storage_));
  restart();
}

parse_result response_parser::parse(std::string_view input, method asked, response_head& head) {
  using parser_type = beast_parser<false>;
  static_assert(sizeof(parser_type) <= sizeof(storage_) && alignof(parser_type) <= 8);
  if (input.empty() || !head_may_be_complete(input)) return incomplete(input);
  if (live_) std::destroy_at(&parser_in<false>(storage_));
  auto* parser = new (storage_.data()) parser_type(input, head, asked, limits_);
  live_ = true;
  return settle(look<attempt>(*parser, input, limits_.header_bytes), input, 0);
}

decode_result response_parser::decode(std::string_view input, std::span<char> out) {
  auto& parser = parser_in<false>(storage_);
  const decode_result done = parser.decode(input, out, limits_.header_bytes);
  if (done.state == parse_result::failed) fail(parser.facts().refusal, parser.facts().error);
  return done;
}

void response_parser::reset() noexcept {
  if (live_) std::destroy_at(&parser_in<false>(storage_));
  restart();
}

}  // namespace runnel::http
