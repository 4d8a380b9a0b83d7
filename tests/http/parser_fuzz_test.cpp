#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <random>
#include <string>
#include <string_view>

#include "runnel/net/http/parser.hpp"

namespace http = runnel::http;
using http::parse_result;

namespace {

constexpr std::array<std::string_view, 5> seeds{
    "GET /index.html?x=1 HTTP/1.1\r\nHost: a.example\r\nAccept: */*\r\nConnection: close\r\n\r\n",
    "POST /up HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello",
    "PUT /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5;a=\"b\"\r\nhello\r\n"
    "0\r\nT: v\r\n\r\n",
    "HEAD http://h/ HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n",
    "\r\nOPTIONS * HTTP/1.1\r\nHost: h\r\nX-Long: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n\r\n"};

constexpr std::array<std::string_view, 14> dictionary{"\r\n",
                                                      "\n",
                                                      "\r",
                                                      " ",
                                                      "\t",
                                                      ":",
                                                      ";",
                                                      "\r\n ",
                                                      "Content-Length: 3\r\n",
                                                      "Transfer-Encoding: chunked\r\n",
                                                      "0\r\n\r\n",
                                                      "HTTP/1.1",
                                                      "ffffffffffffffff",
                                                      ","};

template <class Random>
std::string mutated(std::string text, Random& random) {
  const auto below = [&](std::size_t bound) { return random() % bound; };
  for (std::size_t edits = 1 + below(4); edits > 0 && !text.empty(); --edits) {
    const std::size_t at = below(text.size());
    switch (below(5)) {
      case 0:
        text[at] = static_cast<char>(below(256));
        break;
      case 1:
        text.erase(at, 1 + below(8));
        break;
      case 2:
        text.insert(at, dictionary[below(dictionary.size())]);
        break;
      case 3:
        text.insert(at, text.substr(below(text.size()), below(20)));
        break;
      default:
        text.resize(at);
        break;
    }
  }
  return text;
}

struct outcome {
  parse_result state = parse_result::need_more;
  http::status refusal{};
  std::size_t head_size = 0;
  std::string summary;
  std::string body;

  friend bool operator==(const outcome&, const outcome&) = default;
};

/// Reads one message from `text`, of which `piece` more bytes are seen at each step.
outcome read(std::string_view text, std::size_t piece) {
  http::request_parser parser;
  http::request_head head;
  outcome result;
  std::size_t seen = 0;
  while (result.state == parse_result::need_more && seen < text.size()) {
    seen = std::min(seen + piece, text.size());
    result.state = parser.parse(std::string(text.substr(0, seen)), head);
  }
  if (result.state == parse_result::failed) result.refusal = parser.refusal();
  if (result.state != parse_result::complete) return result;
  result.head_size = parser.head_size();
  result.summary = std::string{head.method_text()} + ' ' + std::string{head.target()};
  for (const http::field& field : head.headers()) {
    (result.summary += '\n').append(field.name).append("=").append(field.value);
  }
  if (head.framing() != http::framing::chunked) return result;
  std::array<char, 16> room{};
  for (std::size_t at = parser.head_size();;) {
    const http::decode_result step = parser.decode(text.substr(at, seen - at), room);
    at += step.consumed;
    result.body.append(room.data(), step.produced);
    result.state = step.state;
    if (step.state != parse_result::need_more) break;
    if (step.consumed > 0 || step.produced > 0) continue;
    if (seen == text.size()) break;
    seen = std::min(seen + piece, text.size());
  }
  return result;
}

}  // namespace

TEST_CASE("http fuzz: mutated requests are read alike whole and in pieces, and nothing breaks") {
  std::mt19937 random{20240607};
  int complete = 0;
  int failed = 0;
  for (int round = 0; round < 20'000; ++round) {
    const std::string text = mutated(std::string{seeds[random() % seeds.size()]}, random);
    CAPTURE(round);
    CAPTURE(text);
    const outcome whole = read(text, text.size() + 1);
    const outcome bytes = read(text, 1);
    // Bytes that come one by one are looked at again when the empty line is there, so a message
    // that is refused early when it comes whole may still be waited for.
    if (whole.state == parse_result::complete) {
      REQUIRE(bytes == whole);
      ++complete;
    } else {
      REQUIRE(bytes.state != parse_result::complete);
      ++failed;
    }
  }
  CHECK(complete > 1500);
  CHECK(failed > 2000);
}

TEST_CASE("http fuzz: random bytes are never a request") {
  std::mt19937 random{42};
  for (int round = 0; round < 10'000; ++round) {
    std::string text(random() % 300, '\0');
    std::ranges::generate(text, [&] { return static_cast<char>(random()); });
    REQUIRE(read(text, text.size() + 1).state != parse_result::complete);
  }
}

TEST_CASE("http fuzz: mutated responses never break the response parser") {
  std::mt19937 random{7};
  const std::string seed =
      "HTTP/1.1 200 OK\r\nServer: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
  int complete = 0;
  for (int round = 0; round < 10'000; ++round) {
    const std::string text = mutated(seed, random);
    http::response_parser parser;
    http::response_head head;
    if (parser.parse(text, http::method::get, head) != parse_result::complete) continue;
    ++complete;
    REQUIRE(parser.head_size() <= text.size());
    if (head.framing() != http::framing::chunked) continue;
    std::array<char, 64> room{};
    const auto step = parser.decode(std::string_view{text}.substr(parser.head_size()), room);
    REQUIRE(step.consumed <= text.size() - parser.head_size());
  }
  CHECK(complete > 300);
}
