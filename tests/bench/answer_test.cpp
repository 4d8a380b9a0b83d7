#include "bench/client/answer.hpp"

#include <doctest/doctest.h>

#include <string>
#include <string_view>

using bench::answer_reader;
using bench::answer_state;

namespace {

const std::string whole =
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 14\r\n\r\nHello, world!\n";

}  // namespace

TEST_CASE("answer: it is whole with its last byte and not before") {
  for (std::size_t size = 1; size < whole.size(); ++size) {
    answer_reader reader;
    CAPTURE(size);
    CHECK(reader.look(std::string_view(whole).substr(0, size)) == answer_state::partial);
  }
  answer_reader reader;
  CHECK(reader.look(whole) == answer_state::whole);
  CHECK(reader.look(whole) == answer_state::whole);
}

TEST_CASE("answer: more than its length is wrong, so is one without a length") {
  answer_reader reader;
  CHECK(reader.look(whole + "x") == answer_state::wrong);
  CHECK(reader.look("HTTP/1.1 200 OK\r\n\r\n") == answer_state::wrong);
  CHECK(reader.look("HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n") == answer_state::wrong);
}

TEST_CASE("answer: only status 200 will do") {
  answer_reader reader;
  CHECK(reader.look("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n") == answer_state::wrong);
  CHECK(reader.look("hello") == answer_state::wrong);
}

TEST_CASE("answer: a known size does not hide other bytes") {
  answer_reader reader;
  REQUIRE(reader.look(whole) == answer_state::whole);
  std::string failed = whole;
  failed.replace(9, 3, "500");
  CHECK(reader.look(failed) == answer_state::wrong);
  std::string longer = whole;
  longer.replace(longer.find("14"), 2, "15");
  longer.back() = 'x';
  CHECK(reader.look(longer) == answer_state::partial);
}

TEST_CASE("answer: names of fields have no case, and blanks before a value are optional") {
  answer_reader reader;
  CHECK(reader.look("HTTP/1.1 200 OK\r\ncontent-length:2\r\nDate: now\r\n\r\nhi") ==
        answer_state::whole);
}
