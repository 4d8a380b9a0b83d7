#include <doctest/doctest.h>

#include <array>
#include <cstdio>
#include <memory>
#include <string>

#include "scan.hpp"
#include "symbols.hpp"

namespace {

// What nm says about an archive; empty when nm did not run.
std::string undefined_symbols(const std::string& archive) {
  const auto command =
      std::string(RUNNEL_NM) + " --undefined-only --demangle '" + archive + "' 2>&1";
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen(command.c_str(), "r"), pclose);
  std::string output;
  std::array<char, 4096> chunk;
  while (pipe != nullptr) {
    const auto size = fread(chunk.data(), 1, chunk.size(), pipe.get());
    if (size == 0) break;
    output.append(chunk.data(), size);
  }
  return output;
}

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const auto& name : names) text += name + "\n";
  return text;
}

}  // namespace

TEST_CASE("symbols: calls out of a pure layer are found in what nm prints") {
  const auto found = tidy::impure_symbols(
      "isn.cpp.o:\n"
      "                 U clock_gettime@GLIBC_2.17\n"
      "                 U getrandom\n"
      "                 U io_uring_queue_init_params\n"
      "                 U pthread_mutex_lock\n"
      "                 U read\n"
      "                 U socket\n"
      "                 U write\n"
      "                 U std::chrono::_V2::steady_clock::now()\n"
      "                 U std::random_device::_M_getval()\n"
      "                 U std::ostream::flush()\n");
  CHECK_MESSAGE(found.size() == 10, joined(found));
}

TEST_CASE("symbols: memory, exceptions and our own names pass") {
  const auto found = tidy::impure_symbols(
      "host.cpp.o:\n"
      "                 U memcpy\n"
      "                 U operator new(unsigned long)\n"
      "                 U std::__throw_length_error(char const*)\n"
      "                 U __asan_report_load8\n"
      "                 U runnel::tcp::engine::host::read(unsigned int)\n"
      "                 U runnel::tcp::engine::host::connect(runnel::wire::endpoint)\n"
      "                 U __stack_chk_fail\n"
      "0000000000000000 T clock_gettime\n");
  CHECK_MESSAGE(found.empty(), joined(found));
}

TEST_CASE("symbols: the pure archives ask for no system call, clock, thread or random device") {
  std::string archives = RUNNEL_PURE_ARCHIVES;
  int looked = 0;
  while (!archives.empty()) {
    const auto end = archives.find('|');
    const auto archive = archives.substr(0, end);
    archives = end == std::string::npos ? "" : archives.substr(end + 1);
    const auto output = undefined_symbols(archive);
    INFO(archive);
    REQUIRE_MESSAGE(output.find(".o:") != std::string::npos, "nm did not list it: ", output);
    const auto found = tidy::impure_symbols(output);
    CHECK_MESSAGE(found.empty(), joined(found));
    ++looked;
  }
  CHECK(looked > 0);
}
