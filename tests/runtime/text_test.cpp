#include "runnel/detail/text.hpp"

#include <doctest/doctest.h>

using namespace std::chrono_literals;
using runnel::detail::short_name;
using runnel::detail::text_of;

TEST_CASE("text: spans are told in the unit that fits") {
  CHECK(text_of(0ns) == "0 ns");
  CHECK(text_of(999ns) == "999 ns");
  CHECK(text_of(1us) == "1.0 us");
  CHECK(text_of(15ms) == "15.0 ms");
  CHECK(text_of(3200ms) == "3.2 s");
  CHECK(text_of(119s) == "119.0 s");
  CHECK(text_of(120s) == "2.0 min");
  CHECK(text_of(150min) == "2.5 h");
  CHECK(text_of(-1500ms) == "-1.5 s");
}

TEST_CASE("text: functions lose their types and parameters, whichever compiler named them") {
  CHECK(short_name("runnel::task<> {anonymous}::serve(runnel::tcp::stream)") == "serve");
  CHECK(short_name("runnel::task<> (anonymous namespace)::serve(tcp::stream)") == "serve");
  CHECK(short_name("runnel::task<int> example::run(runnel::loop&, F) [with F = void (*)(int)]") ==
        "example::run");
  CHECK(short_name("task<T> tmpl(T) [T = long]") == "tmpl");
  CHECK(short_name("runnel::task<std::pair<int, char> > a::b::make(int)") == "a::b::make");
  CHECK(short_name("virtual runnel::task<int> a::type<T>::read(int) const [with T = int]") ==
        "a::type");
  CHECK(short_name("int* find(char)") == "find");
  CHECK(short_name("deep::outer()::<lambda(int)>") == "deep::outer::lambda");
  CHECK(short_name("auto deep::outer()::(anonymous class)::operator()(int) const") ==
        "deep::outer::lambda");
  CHECK(short_name("main") == "main");
  CHECK(short_name("") == "");
}

TEST_CASE("text: a place is a function, a file and a line") {
  const auto here = std::source_location::current();
  const std::string line = std::to_string(here.line());
  CHECK(runnel::detail::file_and_line(here) == "text_test.cpp:" + line);
  CHECK(text_of(here).ends_with(" at text_test.cpp:" + line));
  CHECK(text_of(std::source_location()) == "an unknown place");
}
