#include "report.hpp"

#include <array>
#include <cstdio>

namespace bench {

namespace {

template <typename... Values>
std::string text(const char* format, Values... values) {
  std::array<char, 512> buffer;
  std::snprintf(buffer.data(), buffer.size(), format, values...);
  return buffer.data();
}

std::string to_json(const histogram& seen) {
  const auto us = [](std::int64_t ns) { return static_cast<double>(ns) / 1e3; };
  return text(
      "{\"p50\": %.3f, \"p90\": %.3f, \"p99\": %.3f, \"p99.9\": %.3f, \"max\": %.3f, "
      "\"mean\": %.3f}",
      us(seen.percentile_ns(50)), us(seen.percentile_ns(90)), us(seen.percentile_ns(99)),
      us(seen.percentile_ns(99.9)), us(seen.max_ns()), seen.mean_ns() / 1e3);
}

double between_us(const timeval& begin, const timeval& end) {
  return static_cast<double>(end.tv_sec - begin.tv_sec) * 1e6 +
         static_cast<double>(end.tv_usec - begin.tv_usec);
}

}  // namespace

std::string to_json(const error_counts& errors) {
  const auto number = [](std::uint64_t value) { return static_cast<unsigned long long>(value); };
  return text(
      "{\"refused\": %llu, \"reset\": %llu, \"timeout\": %llu, \"short\": %llu, "
      "\"address\": %llu, \"other\": %llu}",
      number(errors.refused), number(errors.reset), number(errors.timeout),
      number(errors.short_answer), number(errors.address), number(errors.other));
}

std::string to_json(const options& given, const outcome& result) {
  const double seconds = static_cast<double>(given.seconds_ns) / 1e9;
  const double ended = static_cast<double>(result.ended_in_window);
  const auto each = [&](const timeval& begin, const timeval& end) {
    return ended > 0 ? between_us(begin, end) / ended : 0;
  };
  std::string out =
      text("{\"operations\": %llu, \"seconds\": %.6f, \"rate\": %.3f",
           static_cast<unsigned long long>(result.operations), seconds, ended / seconds);
  if (given.open_loop()) {
    out += text(", \"intended\": %llu", static_cast<unsigned long long>(result.intended));
  }
  out += ", \"errors\": " + to_json(result.errors);
  out += ", \"latency_us\": " + to_json(result.latency);
  out += text(", \"client_user_us\": %.3f, \"client_system_us\": %.3f",
              each(result.used_at_begin.ru_utime, result.used_at_end.ru_utime),
              each(result.used_at_begin.ru_stime, result.used_at_end.ru_stime));
  if (!given.requests) out += ", \"connect_us\": " + to_json(result.connect);
  return out + "}\n";
}

}  // namespace bench
