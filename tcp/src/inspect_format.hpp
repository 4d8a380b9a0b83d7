#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "runnel/tcp/engine/snapshot.hpp"
#include "runnel/wire/address.hpp"
#include "runnel/wire/time.hpp"

// Pieces of text that the pages of an inspection are made of.

namespace runnel::tcp::detail {

void append_number(std::string& out, std::uint64_t value);
/// `text` and then spaces up to `width`; or the spaces first.
void append_left(std::string& out, std::string_view text, std::size_t width);
void append_right(std::string& out, std::string_view text, std::size_t width);
/// A time as `ss -o` writes it: "200ms", "1.500ms" (seconds, then milliseconds), "59sec",
/// "1min30sec", "119min".
std::string timer_text(std::chrono::milliseconds time);
/// Milliseconds with microseconds behind the point, as `ss -i` writes round-trip times.
std::string milliseconds_text(std::chrono::microseconds time);
/// A time for people: "350 ms", "12 s", "5 min", "3 h".
std::string span_text(duration span);
/// "7 connections", "1 connection".
std::string count_text(std::uint64_t count, std::string_view of_one, std::string_view of_many);

/// From one moment to a later one in milliseconds; 0 when it is not later.
std::chrono::milliseconds elapsed(time_point from, time_point to) noexcept;

/// JSON by hand: members of an object one after the other, with commas between them. `first` is
/// whether none stands there yet; it belongs to the document, which may be written in parts.
class json_writer {
 public:
  json_writer(std::string& out, bool& first) noexcept : out_(out), first_(first) {}

  /// Without a name: elements of an array, and the document itself.
  json_writer& open(char bracket, std::string_view name = {});
  json_writer& close(char bracket);
  json_writer& text(std::string_view name, std::string_view value);
  json_writer& number(std::string_view name, std::uint64_t value);
  json_writer& boolean(std::string_view name, bool value);
  json_writer& endpoint(std::string_view name, const net::endpoint& value);

 private:
  void begin(std::string_view name);
  void quoted(std::string_view value);

  std::string& out_;
  bool& first_;
};

/// Lines of `ss`. A row ends without a new line, since an info line may follow it.
struct row_format {
  bool state_column = true;
  bool timers = false;
  bool info = false;
  bool memory = false;
  bool one_line = false;
};
void append_header(std::string& out, const row_format& format);
void append_row(std::string& out, const row_format& format, const snapshot& row, time_point now);
void append_row(std::string& out, const row_format& format, const listener_snapshot& row);
/// The same as JSON objects.
void append_json(json_writer& out, const row_format& format, const snapshot& row, time_point now);
void append_json(json_writer& out, const row_format& format, const listener_snapshot& row);

}  // namespace runnel::tcp::detail
