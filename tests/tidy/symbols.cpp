#include "symbols.hpp"

#include <regex>

#include "scan.hpp"

namespace tidy {

namespace {

// Whole C names; a version suffix (@GLIBC_2.17) may follow. fputs to stderr is not among them: it
// is how a programming error says its sentence before abort.
const std::regex& c_names() {
  static const std::regex names(
      "(__)?(clock_(gettime|getres|nanosleep)|gettimeofday|time|times|nanosleep|usleep|sleep|"
      "getrandom|getentropy|rand|rand_r|random|srand|arc4random.*|drand48|"
      "socket|socketpair|bind|listen|accept4?|connect|shutdown|[gs]etsockopt|"
      "recv(from|msg|mmsg)?|send(to|msg|mmsg)?|read|pread(64)?|readv|preadv2?|write|pwrite(64)?|"
      "writev|pwritev2?|open(64|at|at64)?|close|dup[23]?|pipe2?|fcntl(64)?|ioctl|poll|ppoll|select|"
      "epoll_.*|eventfd.*|timerfd_.*|io_uring_.*|mmap(64)?|munmap|mprotect|syscall|"
      "fork|vfork|exec[lv].*|signal|sigaction|raise|kill|pthread_.*|thrd_.*|mtx_.*|sem_.*|futex|"
      "fopen(64)?|fclose|fread|f?printf(_chk)?|puts|putchar|perror|stdout|stdin|"
      "getenv|secure_getenv|setlocale|getaddrinfo|gethostby.*)(@.*)?");
  return names;
}

// Parts of demangled C++ names.
const std::regex& cpp_names() {
  static const std::regex names(
      "std::chrono::_V2::.*::now|std::random_device|std::thread|std::this_thread|"
      "std::condition_variable|std::cout|std::cerr|std::clog|std::cin|std::basic_[io]?f?stream|"
      "std::ostream|std::filesystem|std::locale|boost::");
  return names;
}

}  // namespace

std::vector<std::string> impure_symbols(std::string_view nm_output) {
  std::vector<std::string> found;
  for (const auto line : split_lines(nm_output)) {
    const auto text = trim(line);
    if (!text.starts_with("U ")) continue;
    const std::string name(trim(text.substr(2)));
    if (std::regex_match(name, c_names()) || std::regex_search(name, cpp_names())) {
      found.push_back(name);
    }
  }
  return found;
}

}  // namespace tidy
