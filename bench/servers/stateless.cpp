// The ceiling of what a TCP in user space can do on a TUN device: an HTTP responder without any
// state, which answers each segment from that segment alone. It makes no checks, sends nothing
// again, keeps no TIME_WAIT and has the same sequence number for every connection, all of which a
// TCP must do; what is above it in a figure is the price of that.
//
//   stateless --tun bench0 --address 10.77.0.2 --port 80 [--busy-poll 50] [--vnet]
//
// A connection that the server closes takes eight packets: SYN, ACK, the request, ACK and FIN in,
// and SYN,ACK, the answer with the FIN, and ACK out. It takes seven where the client closes before
// its kernel has acknowledged the answer, for one segment then says both; Linux delays the ACK of
// a segment with FIN, so that this is what bench_client comes to. When stateless ends it prints a
// line of JSON with the packets it took and gave.

#include <poll.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <system_error>

#include "segment.hpp"
#include "serving.hpp"
#include "tun_device.hpp"

namespace {

constexpr std::uint32_t first_number = 1'000;
/// So many are read and answered before anything else is looked at.
constexpr int burst = 64;

std::int64_t now_ns(clockid_t which) {
  timespec now;
  ::clock_gettime(which, &now);
  return now.tv_sec * std::int64_t{1'000'000'000} + now.tv_nsec;
}

/// The answers to peers that write timestamps, or to those that do not.
struct answers {
  answers(const bench::serving_options& at, bench::prepared_segment::options on_syn,
          bench::prepared_segment::options on_others)
      : syn(at.address, at.port, bench::flag::syn | bench::flag::ack, on_syn, {}),
        ack(at.address, at.port, bench::flag::ack, on_others, {}),
        fin(at.address, at.port, bench::flag::ack | bench::flag::fin, on_others, {}),
        data(at.address, at.port, bench::flag::ack | bench::flag::psh, on_others,
             bench::keep_alive_answer),
        last(at.address, at.port, bench::flag::ack | bench::flag::psh | bench::flag::fin, on_others,
             bench::last_answer) {}

  bench::prepared_segment syn;
  bench::prepared_segment ack;
  bench::prepared_segment fin;
  bench::prepared_segment data;
  bench::prepared_segment last;
};

class responder {
 public:
  explicit responder(const bench::serving_options& given)
      : given_(given),
        fd_(bench::open_tun(given.tun, given.vnet, TUN_F_CSUM)),
        plain_(given, bench::prepared_segment::options::mss,
               bench::prepared_segment::options::none),
        stamped_(given, bench::prepared_segment::options::all,
                 bench::prepared_segment::options::timestamps) {}
  responder(const responder&) = delete;
  responder& operator=(const responder&) = delete;
  ~responder() { ::close(fd_); }

  void run() {
    while (!bench::stop_asked()) {
      timestamp_ = htonl(static_cast<std::uint32_t>(now_ns(CLOCK_MONOTONIC_COARSE) / 1'000'000));
      if (take_burst() || spin()) continue;
      pollfd wait{fd_, POLLIN, 0};
      // A signal may come just before the call.
      ::poll(&wait, 1, /*timeout=*/250);
    }
    std::printf("{\"packets_in\": %llu, \"packets_out\": %llu, \"refused_by_device\": %llu}\n",
                static_cast<unsigned long long>(in_), static_cast<unsigned long long>(out_),
                static_cast<unsigned long long>(refused_));
  }

 private:
  /// False when there is nothing more.
  bool take_burst() {
    for (int i = 0; i < burst; ++i) {
      if (!take_one()) return false;
    }
    return true;
  }

  /// Asks the device until something comes or the time is over, which is when it returns false.
  bool spin() {
    if (given_.busy_poll_ns == 0) return false;
    const std::int64_t until = now_ns(CLOCK_MONOTONIC) + given_.busy_poll_ns;
    do {
      if (take_one()) return true;
    } while (now_ns(CLOCK_MONOTONIC) < until && !bench::stop_asked());
    return false;
  }

  bool take_one() {
    const ssize_t got = ::read(fd_, buffer_.data(), buffer_.size());
    if (got < 0) {
      if (errno == EAGAIN || errno == EINTR) return false;
      throw std::system_error(errno, std::generic_category(), "the TUN device cannot be read");
    }
    const std::size_t skipped = given_.vnet ? bench::prepared_segment::vnet_bytes : 0;
    bench::segment_view seen;
    if (static_cast<std::size_t>(got) > skipped &&
        seen.read(buffer_.data() + skipped, static_cast<std::size_t>(got) - skipped) &&
        seen.destination_address() == given_.address.s_addr &&
        seen.destination_port() == htons(given_.port)) {
      ++in_;
      answer(seen);
    }
    return true;
  }

  void answer(const bench::segment_view& seen) {
    const std::uint8_t flags = seen.flags();
    if ((flags & bench::flag::rst) != 0) return;
    if ((flags & bench::flag::syn) != 0) {
      const bool all = seen.offers_all();
      return send((all ? stamped_ : plain_).syn, seen, htonl(first_number), seen.seq() + 1,
                  all ? seen.raw_timestamp(true) : 0);
    }
    const bool fin = (flags & bench::flag::fin) != 0;
    if (seen.length() == 0 && !fin) return;
    const bool stamps = seen.has_timestamps();
    answers& from = stamps ? stamped_ : plain_;
    send(choose(from, seen, fin), seen, seen.raw_ack(), seen.seq() + seen.length() + (fin ? 1 : 0),
         stamps ? seen.raw_timestamp(false) : 0);
  }

  static bench::prepared_segment& choose(answers& from, const bench::segment_view& seen, bool fin) {
    if (seen.length() > 0) {
      return fin || bench::asks_for_close(seen.payload()) ? from.last : from.data;
    }
    // A peer that acknowledges whole keep-alive answers only has not heard a FIN from here.
    const std::uint32_t heard = seen.ack() - first_number - 1;
    return heard % bench::keep_alive_answer.size() == 0 ? from.fin : from.ack;
  }

  void send(bench::prepared_segment& out, const bench::segment_view& to, std::uint32_t raw_seq,
            std::uint32_t ack, std::uint32_t raw_echo) {
    out.fill(to, raw_seq, htonl(ack), timestamp_, raw_echo, given_.vnet);
    const ssize_t written = given_.vnet ? ::write(fd_, out.with_vnet(), out.size_with_vnet())
                                        : ::write(fd_, out.packet(), out.size());
    ++(written > 0 ? out_ : refused_);
  }

  const bench::serving_options& given_;
  int fd_;
  answers plain_;
  answers stamped_;
  std::uint32_t timestamp_ = 0;
  std::uint64_t in_ = 0;
  std::uint64_t out_ = 0;
  std::uint64_t refused_ = 0;
  std::array<std::byte, 65'536 + bench::prepared_segment::vnet_bytes> buffer_;
};

void serve(const bench::serving_options& given) {
  responder one(given);
  bench::say_ready();
  one.run();
}

}  // namespace

int main(int argc, char** argv) {
  const auto given =
      bench::read_arguments(argc, argv, bench::path::tun,
                            "Answers HTTP on a TUN device from each segment alone, with no state.");
  return bench::run_server("stateless", &serve, given);
}
