// What leaving out copies is worth to one bulk connection: two hosts in one thread, every packet
// handed over in memory with its checksum left partial, in super-segments as between a stack and
// the kernel. The last number of each line is the time per byte beside that of the copying calls.
//
//   copies [MiB for each measurement]

#include <time.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "runnel/tcp/engine/host.hpp"

using namespace runnel;
using namespace runnel::tcp;

namespace {

constexpr std::size_t piece_bytes = 64 << 10;

enum class sender : std::uint8_t { copying, owned, packets };
enum class receiver : std::uint8_t { copying, borrowing };

host make_host(std::uint8_t last_byte) {
  host_options options;
  options.addresses = {net::address::v4(10, 0, 0, last_byte)};
  options.keys = {{last_byte, 1}, {last_byte, 2}, {last_byte, 3}};
  options.connection.receive_buffer = 6U << 20;
  options.connection.send_buffer = 4U << 20;
  options.checksum_offload_tx = true;
  options.checksum_offload_rx = true;
  options.gso_max_bytes = 65'000;
  return host(std::move(options));
}

double processor_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

class transfer {
 public:
  transfer() : client_(make_host(1)), server_(make_host(2)), source_(32U << 20, std::byte{'x'}) {
    const socket_id listener = server_.listen({{}, 80}, {}, 0).value;
    out_ = client_.connect({net::address::v4(10, 0, 0, 2), 80}, {}, 0, now_).value;
    for (int i = 0; i < 10; ++i) pump();
    in_ = server_.accept(listener, 0).value;
  }

  /// Nanoseconds of processor time for each KiB.
  double run(sender by, receiver to, std::size_t bytes, std::size_t piece) {
    const double start = processor_ns();
    left_ = bytes;
    std::size_t got = 0;
    while (got < bytes) {
      send(by, piece);
      pump();
      const std::size_t part = receive(to);
      got += part;
      if (part > 0) continue;
      now_ = std::max(now_, std::min(client_.poll_timeout(), server_.poll_timeout()));
      client_.on_timeout(now_);
      server_.on_timeout(now_);
    }
    return (processor_ns() - start) / (static_cast<double>(bytes) / 1024);
  }

 private:
  void send(sender by, std::size_t piece) {
    while (left_ > 0) {
      const std::size_t size = std::min(piece, left_);
      // Always other memory than the last time, as it is with a file or a cache.
      if (at_ + 2 * size > source_.size()) at_ = 0;
      const std::span<const std::byte> bytes(source_.data() + at_, size);
      std::size_t sent = 0;
      if (by == sender::copying) {
        sent = client_.send(out_, bytes, now_).value;
      } else {
        net::owned_buffer buffer = net::owned_buffer::permanent(bytes);
        // Written by the one that fills it, such as a read of a file, which is not counted here.
        if (by == sender::packets) {
          if (!client_.send_room(out_, now_)) return;
          net::packet block = client_.allocate(out_, size);
          block.resize(std::min(size, block.room().size()));
          buffer = net::owned_buffer(std::move(block));
        }
        sent = client_.send_owned(out_, buffer, now_).value;
      }
      if (sent == 0) return;
      left_ -= sent;
      // Two neighbours would become one.
      at_ += size + 64;
    }
  }

  std::size_t receive(receiver to) {
    std::size_t got = 0;
    for (;;) {
      std::size_t part = 0;
      if (to == receiver::copying) {
        part = server_.receive(in_, buffer_, now_).value;
      } else {
        std::array<net::owned_buffer, 16> lent;
        const auto count = server_.borrow(in_, lent, SIZE_MAX, now_);
        for (std::size_t i = 0; i < count.value; ++i) part += lent[i].size();
        const auto gone = server_.consume(in_, part, now_);
        static_cast<void>(gone);
      }
      if (part == 0) return got;
      got += part;
    }
  }

  void pump() {
    for (bool moved = true; moved;)
      moved = hand_over(client_, server_) + hand_over(server_, client_);
    socket_event happened;
    while (client_.poll_event(happened) || server_.poll_event(happened)) {
    }
  }

  /// A link that gives packets of its own, filled by the kernel: the copy that this costs here is
  /// made of a few bytes only, for it is nobody's of the two hosts.
  bool hand_over(host& from, host& to) {
    bool any = false;
    for (int i = 0; i < 64; ++i) {
      const net::tx_packet* out = from.poll_transmit(now_);
      if (out == nullptr) break;
      net::packet copy = pool_.allocate(out->size);
      std::memcpy(copy.room().data(), out->pieces[0].data(), out->pieces[0].size());
      copy.resize(out->size);
      copy->offload = out->offload;
      to.on_packet(std::move(copy), now_);
      any = true;
    }
    return any;
  }

  net::packet_pool pool_;
  host client_;
  host server_;
  std::vector<std::byte> source_;
  std::array<std::byte, 256 << 10> buffer_;
  time_point now_{std::chrono::seconds(1000)};
  socket_id out_;
  socket_id in_;
  std::size_t left_ = 0;
  std::size_t at_ = 0;
};

double best_of(transfer& over, sender by, receiver to, std::size_t bytes, std::size_t piece) {
  double best = over.run(by, to, bytes, piece);
  for (int i = 0; i < 4; ++i) best = std::min(best, over.run(by, to, bytes, piece));
  return best;
}

}  // namespace

int main(int argc, char** argv) {
  const std::size_t mib = argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 256;
  const std::size_t bytes = mib << 20;
  const auto over = std::make_unique<transfer>();
  const double copying = best_of(*over, sender::copying, receiver::copying, bytes, piece_bytes);
  std::printf("%-44s %8.1f ns/KiB  %5.2f\n", "send and receive", copying, 1.0);
  const auto line = [&](const char* name, sender by, receiver to) {
    const double spent = best_of(*over, by, to, bytes, piece_bytes);
    std::printf("%-44s %8.1f ns/KiB  %5.2f\n", name, spent, spent / copying);
  };
  line("send_owned (outside memory) and receive", sender::owned, receiver::copying);
  line("send_owned (packets) and receive", sender::packets, receiver::copying);
  line("send and borrow", sender::copying, receiver::borrowing);
  line("send_owned (outside memory) and borrow", sender::owned, receiver::borrowing);
  std::printf("\nowned buffers of one size, beside the copying send, both borrowed\n");
  for (const std::size_t piece : {256U, 512U, 1024U, 2048U, 3072U, 4096U, 8192U, 16384U}) {
    const double copied = best_of(*over, sender::copying, receiver::borrowing, bytes / 4, piece);
    const double owned = best_of(*over, sender::owned, receiver::borrowing, bytes / 4, piece);
    std::printf("%6zu bytes  %8.1f  %8.1f ns/KiB  %5.2f\n", piece, copied, owned, owned / copied);
  }
}
