#include <array>

#include "host_pair.hpp"
#include "runnel/wire/owned_buffer.hpp"

// Owned buffers are sent from where they lie, and their owners hear once that they are free.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// Text of which buffers are made that count their ends.
struct counted_text {
  explicit counted_text(std::size_t size, std::size_t from = 0) : text(numbered_text(size, from)) {}
  net::owned_buffer buffer() {
    ++made;
    return net::owned_buffer::with_release(bytes_of(text), [this] { ++released; });
  }
  bool all_released() const { return made == released; }

  std::string text;
  int made = 0;
  int released = 0;
};

connect_options with_send_buffer(std::uint32_t bytes) {
  connect_options options;
  options.policy.send_buffer = bytes;
  return options;
}

/// Offers all of the buffers whenever there is room, while the server reads everything.
std::string transfer(connected_pair& pair, std::vector<net::owned_buffer>& buffers) {
  std::string got;
  std::size_t next = 0;
  pair.react = [&] {
    while (next < buffers.size()) {
      net::owned_buffer& each = buffers[next];
      const std::size_t before = each.size();
      const auto sent = pair[0].send_owned(pair.client_socket, each, pair.now());
      if (sent.error != error::none) break;
      CHECK(sent.value + each.size() == before);
      if (each.empty()) ++next;
    }
    got += pair.receive(1);
  };
  pair.drive_for(4000s);
  CHECK(next == buffers.size());
  pair.react = nullptr;
  return got;
}

}  // namespace

TEST_CASE("net owned_buffer: shares, parts and moves release once, with the last of them") {
  int released = 0;
  const std::string text = numbered_text(100);
  net::owned_buffer all =
      net::owned_buffer::with_release(bytes_of(text), [&released] { ++released; });
  net::owned_buffer front = all.take_front(40);
  CHECK(front.size() == 40);
  CHECK(all.size() == 60);
  CHECK(front.continued_by(all));
  CHECK_FALSE(all.continued_by(front));
  net::owned_buffer again = front.share(10, 20);
  front = std::move(all);
  CHECK(released == 0);
  front.remove_prefix(60);
  CHECK(front.empty());
  CHECK(released == 0);
  net::owned_buffer& same = again;
  again = std::move(same);
  CHECK(released == 1);
}

TEST_CASE("net owned_buffer: strings are kept, empty ones own nothing, constants need no owner") {
  const net::owned_buffer kept = net::owned_buffer::holding(std::string("short"));
  CHECK(text_of(kept.bytes()) == "short");
  CHECK(net::owned_buffer::holding(std::string()).empty());
  int released = 0;
  const net::owned_buffer none = net::owned_buffer::with_release({}, [&released] { ++released; });
  CHECK(released == 1);
  const net::owned_buffer constant = net::owned_buffer::permanent(bytes_of("for ever"));
  CHECK(text_of(constant.share().bytes()) == "for ever");
}

TEST_CASE("net owned_buffer: a packet is given back whole only by its one holder") {
  net::packet_pool pool;
  net::packet packet = pool.copy_of(bytes_of("0123456789"));
  net::owned_buffer first(std::move(packet));
  first.remove_prefix(3);
  net::owned_buffer second = first.share(0, 2);
  CHECK_FALSE(first.into_packet());
  CHECK(first.size() == 7);
  second = {};
  const net::packet whole = first.into_packet();
  REQUIRE(whole);
  CHECK(text_of(whole.bytes()) == "3456789");
  CHECK(first.empty());
}

TEST_CASE("tcp send_owned: nothing is copied, and the owner hears when all is acknowledged") {
  connected_pair pair(1, {}, [](int, host_options& options) {
    options.connection.send_buffer = 1U << 20;
    options.connection.receive_buffer = 1U << 20;
  });
  pair.establish();
  counted_text content(100'000);
  net::owned_buffer buffer = content.buffer();
  const auto sent = pair[0].send_owned(pair.client_socket, buffer, pair.now());
  CHECK(sent.value == 100'000);
  CHECK(buffer.empty());
  const net::tx_packet* out = pair[0].poll_transmit(pair.now());
  REQUIRE(out != nullptr);
  REQUIRE(out->pieces.size() == 2);
  CHECK(static_cast<const void*>(out->pieces[1].data()) ==
        static_cast<const void*>(content.text.data()));
  CHECK(content.released == 0);
  pair.drive_for(1s);
  CHECK(pair.receive(1) == content.text);
  pair.drive_for(1s);
  CHECK(content.released == 1);
  CHECK(pair[0].memory().buffer_bytes == 0);
}

TEST_CASE("tcp send_owned: while one byte is unacknowledged its owner waits") {
  connected_pair pair;
  pair.establish();
  counted_text content(3 * 1448 + 10);
  net::owned_buffer buffer = content.buffer();
  pair[0].set_nodelay(pair.client_socket, true);
  CHECK(pair[0].send_owned(pair.client_socket, buffer, pair.now()).value == content.text.size());
  bool lose = true;
  pair.filter = [&](const seen_packet& seen) { return !(lose && seen.length == 10); };
  pair.drive_for(5ms);
  CHECK(pair.look(0).unacked_bytes == 10);
  CHECK(content.released == 0);
  lose = false;
  pair.drive_for(10s);
  CHECK(content.released == 1);
  CHECK(pair.receive(1) == content.text);
}

TEST_CASE("tcp send_owned: bytes are the same over loss, reordering and doubles, of every kind") {
  for (const std::uint32_t gso : {0U, 65'000U}) {
    for (std::uint64_t seed = 1; seed <= 4; ++seed) {
      CAPTURE(seed);
      CAPTURE(gso);
      std::mt19937_64 random(seed);
      counted_text content(600'000);
      net::packet_pool pool;
      {
        connected_pair pair(seed, {},
                            [&](int, host_options& options) { options.gso_max_bytes = gso; });
        pair.keep_trace = false;
        pair.establish(with_send_buffer(150'000));
        pair.faults = {.loss = 0.05, .duplicate = 0.02, .reorder = 0.1};
        const net::owned_buffer all = content.buffer();
        std::vector<net::owned_buffer> buffers;
        for (std::size_t at = 0; at < content.text.size();) {
          static constexpr std::array<std::size_t, 6> sizes{1, 700, 1024, 1025, 9000, 60'000};
          const std::size_t size = std::min(sizes[random() % 6], content.text.size() - at);
          const auto part = all.bytes().subspan(at, size);
          switch (random() % 4) {
            case 0:
              buffers.push_back(all.share(at, size));
              break;
            case 1:
              buffers.emplace_back(pool.copy_of(part));
              break;
            case 2: {
              // A slice of a packet that holds more.
              net::packet larger = pool.allocate(size + 100);
              std::ranges::copy(part, larger.room().begin() + 100);
              larger.resize(size + 100);
              buffers.push_back(net::owned_buffer(larger).share(100, size));
              break;
            }
            default:
              buffers.push_back(net::owned_buffer::holding(std::string(text_of(part))));
          }
          at += size;
        }
        const std::string got = transfer(pair, buffers);
        CHECK((got == content.text));
        CHECK(pair.look(0).send_held_bytes == 0);
      }
      CHECK(content.all_released());
      CHECK(pool.used_bytes() == 0);
    }
  }
}

TEST_CASE("tcp send_owned: what is queued counts with its memory, and goes to zero") {
  connected_pair pair;
  pair.establish(with_send_buffer(100'000));
  pair.filter = [](const seen_packet& seen) { return seen.from == 0; };
  net::packet_pool pool;
  const auto held = [&] { return pair.look(0).send_held_bytes; };

  // Its own packet: what it costs, with nothing beside it.
  net::owned_buffer own(pair[0].allocate(pair.client_socket, 4'000));
  net::packet filled = own.into_packet();
  filled.resize(4'000);
  std::ranges::fill(filled.bytes(), std::byte{'x'});
  const std::uint32_t truesize = filled->truesize();
  own = net::owned_buffer(std::move(filled));
  CHECK(pair[0].send_owned(pair.client_socket, own, pair.now()).value == 4'000);
  CHECK(held() == truesize);
  CHECK(pair[0].memory().buffer_bytes == truesize);

  // A packet of another pool, the same.
  net::owned_buffer others(pool.copy_of(bytes_of(numbered_text(10'000))));
  const std::uint32_t their_size = others.in_packet()->truesize();
  CHECK(pair[0].send_owned(pair.client_socket, others, pair.now()).value == 10'000);
  CHECK(held() == truesize + their_size);
  CHECK(pair[0].memory().buffer_bytes == truesize + their_size);

  // One that somebody else holds too, and other memory, cost a small block besides.
  net::owned_buffer kept(pool.copy_of(bytes_of(numbered_text(10'000))));
  net::owned_buffer shared = kept.share();
  CHECK(pair[0].send_owned(pair.client_socket, shared, pair.now()).value == 10'000);
  const auto view = static_cast<std::uint32_t>(net::packet_pool::truesize_for(1));
  CHECK(held() == truesize + 2 * their_size + view);
  counted_text content(20'000);
  net::owned_buffer outside = content.buffer();
  CHECK(pair[0].send_owned(pair.client_socket, outside, pair.now()).value == 20'000);
  CHECK(held() == truesize + 2 * their_size + 2 * view + 20'000);
  CHECK(pair[0].memory().buffer_bytes == held());

  pair.filter = nullptr;
  pair.drive_for(10s);
  CHECK(pair.receive(1).size() == 44'000);
  CHECK(held() == 0);
  CHECK(pair[0].memory().buffer_bytes == 0);
  CHECK(content.released == 1);
}

TEST_CASE("tcp send_owned: a large buffer is taken as far as there is room, in one view") {
  connected_pair pair;
  pair.establish(with_send_buffer(50'000));
  pair.filter = [](const seen_packet& seen) { return seen.from == 0; };
  counted_text content(1'000'000);
  net::owned_buffer buffer = content.buffer();
  const auto first = pair[0].send_owned(pair.client_socket, buffer, pair.now());
  CHECK(first.value >= 49'000);
  CHECK(first.value <= 50'000);
  CHECK(buffer.size() == 1'000'000 - first.value);
  CHECK(pair[0].send_owned(pair.client_socket, buffer, pair.now()).error == error::would_block);
  CHECK(pair.look(0).send_held_bytes <= 51'000);
  pair.filter = nullptr;
  std::vector<net::owned_buffer> rest;
  rest.push_back(std::move(buffer));
  std::uint32_t most = 0;
  pair.delivered = [&](const seen_packet&) { most = std::max(most, pair.look(0).send_held_bytes); };
  const std::string got = transfer(pair, rest);
  pair.delivered = nullptr;
  CHECK((got == content.text));
  CHECK(most <= 51'000);
  CHECK(content.released == 1);
}

TEST_CASE("tcp send_owned: tiny buffers are copied together, so that packets stay full") {
  connected_pair pair(1, {}, [](int, host_options& options) { options.gso_max_bytes = 65'000; });
  pair.establish();
  std::vector<net::owned_buffer> buffers;
  counted_text content(20);
  std::string all;
  for (int i = 0; i < 5'000; ++i) {
    buffers.push_back(content.buffer());
    all += content.text;
  }
  const std::string got = transfer(pair, buffers);
  CHECK((got == all));
  CHECK(content.all_released());
  std::size_t with_text = 0;
  for (const seen_packet& seen : pair.trace) with_text += seen.from == 0 && seen.length > 0;
  CHECK(with_text <= 12);
}

TEST_CASE("tcp send_owned: a packet of many pieces is cut where a whole segment ends") {
  connected_pair pair(1, {}, [](int, host_options& options) { options.gso_max_bytes = 65'000; });
  pair.establish();
  std::vector<net::owned_buffer> buffers;
  // No two of them continue each other, and each is just too long to be copied.
  std::vector<counted_text> contents;
  std::string all;
  for (std::size_t i = 0; i < 120; ++i) contents.emplace_back(1'025, i * 1'025);
  for (counted_text& each : contents) {
    buffers.push_back(each.buffer());
    all += each.text;
  }
  const std::string got = transfer(pair, buffers);
  CHECK((got == all));
  const std::uint16_t mss = pair.look(0).snd_mss;
  std::size_t short_ones = 0;
  std::size_t large_ones = 0;
  for (const seen_packet& seen : pair.trace) {
    if (seen.from != 0 || seen.length == 0) continue;
    short_ones += seen.length % mss != 0;
    large_ones += seen.length > mss;
  }
  CHECK(short_ones <= 1);
  CHECK(large_ones > 3);
  for (const counted_text& each : contents) CHECK(each.released == 1);
}

TEST_CASE("tcp send_owned: refused ones stay with the caller") {
  connected_pair pair;
  pair.establish();
  counted_text content(5'000);
  net::owned_buffer buffer = content.buffer();
  CHECK(pair[0].send_owned({}, buffer, pair.now()).error == error::bad_handle);
  pair.shutdown(0);
  CHECK(pair[0].send_owned(pair.client_socket, buffer, pair.now()).error == error::broken_pipe);
  CHECK(pair[0].send_room(pair.client_socket, pair.now()).error == error::broken_pipe);
  CHECK(buffer.size() == 5'000);
  CHECK(content.released == 0);
}

TEST_CASE("tcp send_owned: the memory limit holds for what others own as well") {
  connected_pair pair(1, {},
                      [](int, host_options& options) { options.policy.memory_limit = 1U << 20; });
  pair.establish(with_send_buffer(8U << 20));
  pair.filter = [](const seen_packet& seen) { return seen.from == 0; };
  counted_text content(4'000'000);
  net::owned_buffer buffer = content.buffer();
  while (pair[0].send_owned(pair.client_socket, buffer, pair.now()).value > 0) {
  }
  CHECK(buffer.size() > 2'900'000);
  CHECK(pair[0].memory().buffer_bytes <= 1U << 20);
  buffer = {};
  pair.filter = nullptr;
  pair.react = [&] { pair.receive(1); };
  pair.drive_for(100s);
  pair.react = nullptr;
  CHECK(content.released == 1);
}

TEST_CASE("tcp send_owned: a packet of a link that is short of them is copied and given back") {
  net::packet_pool link(200'000);
  connected_pair pair;
  pair.establish();
  std::vector<net::packet> used;
  while (!link.scarce()) used.push_back(link.allocate(16'000));
  net::owned_buffer buffer(link.copy_of(bytes_of(numbered_text(10'000))));
  const std::size_t before = link.used_bytes();
  CHECK(pair[0].send_owned(pair.client_socket, buffer, pair.now()).value == 10'000);
  CHECK(link.used_bytes() < before);
  pair.drive_for(1s);
  CHECK(pair.receive(1) == numbered_text(10'000));
}

namespace {

enum class how { abort, reset_by_peer, timed_out, released_and_closed, released_orphan, host_gone };

void end_it(how end, host_pair& pair, socket_id id, socket_id accepted) {
  host& client = pair[0];
  switch (end) {
    case how::abort:
      client.close(id, close_mode::abort, pair.now());
      break;
    case how::reset_by_peer:
      pair.filter = nullptr;
      pair[1].close(accepted, close_mode::abort, pair.now());
      pair.drive_for(1s);
      break;
    case how::timed_out:
      pair.drive_for(100s);
      break;
    case how::released_and_closed:
      pair.filter = nullptr;
      client.release(id, pair.now());
      pair.react = [&] { receive_all(pair[1], accepted, pair.now()); };
      pair.drive_for(100s);
      pair.react = nullptr;
      break;
    case how::released_orphan:
      client.release(id, pair.now());
      pair.drive_for(3000s);
      break;
    case how::host_gone:
      break;
  }
}

}  // namespace

TEST_CASE("tcp send_owned: released once however the connection ends") {
  for (const how end : {how::abort, how::reset_by_peer, how::timed_out, how::released_and_closed,
                        how::released_orphan, how::host_gone}) {
    CAPTURE(static_cast<int>(end));
    counted_text first(50'000);
    counted_text second(30'000);
    net::packet_pool pool;
    {
      host_pair pair;
      host& client = pair[0];
      const socket_id listener = pair[1].listen({{}, 80}, {}, 1).value;
      connect_options options;
      options.policy.user_timeout = 5s;
      const socket_id id =
          client.connect({host_pair::address(1), 80}, options, 2, pair.now()).value;
      pair.drive_for(1s);
      const socket_id accepted = pair[1].accept(listener, 3).value;
      pair.filter = [](const seen_packet&) { return false; };
      net::owned_buffer one = first.buffer();
      net::owned_buffer two = second.buffer();
      net::owned_buffer three(pool.copy_of(bytes_of(numbered_text(9'000))));
      CHECK(client.send_owned(id, one, pair.now()).value == 50'000);
      CHECK(client.send_owned(id, two, pair.now()).value == 30'000);
      CHECK(client.send_owned(id, three, pair.now()).value == 9'000);
      pair.drive_for(10ms);
      CHECK(first.released + second.released == 0);
      CHECK(pool.used_bytes() > 0);
      end_it(end, pair, id, accepted);
      if (end != how::host_gone) {
        CHECK(first.released == 1);
        CHECK(second.released == 1);
        CHECK(pool.used_bytes() == 0);
        CHECK(client.memory().buffer_bytes == 0);
      }
    }
    CHECK(first.released == 1);
    CHECK(second.released == 1);
    CHECK(pool.used_bytes() == 0);
  }
}

TEST_CASE("tcp RFC 7413 send_owned: the bytes go with SYN, where there is a cookie") {
  connected_pair pair(1, {}, [](int, host_options& options) {
    options.policy.fastopen = fastopen_flag::client | fastopen_flag::server;
  });
  connect_options options;
  options.policy.fastopen_connect = true;
  listener_policy policy;
  policy.fastopen_queue = 10;
  pair.establish(options, policy);
  const socket_id first = pair.client_socket;
  const socket_id accepted = pair.server_socket;
  pair.connect(options);
  counted_text content(3'000);
  net::owned_buffer buffer = content.buffer();
  CHECK(pair[0].send_owned(pair.client_socket, buffer, pair.now()).value == 3'000);
  pair.flush();
  REQUIRE(pair.trace.size() == 1);
  CHECK(pair.trace[0].flags() == "S");
  CHECK(pair.trace[0].length > 1'000);
  pair.drive_for(1s);
  pair.accept();
  CHECK(pair.receive(1) == content.text);
  CHECK(content.released == 1);
  pair[0].release(first, pair.now());
  pair[1].release(accepted, pair.now());
}
