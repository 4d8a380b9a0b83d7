#include <array>

#include "host_pair.hpp"
#include "runnel/wire/owned_buffer.hpp"

// Received bytes are lent where they lie, and count until they are consumed.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

using loan = std::array<net::owned_buffer, 8>;

std::string text_of(std::span<const net::owned_buffer> buffers) {
  std::string out;
  for (const net::owned_buffer& each : buffers) {
    out.append(reinterpret_cast<const char*>(each.bytes().data()), each.size());
  }
  return out;
}

outcome<std::size_t> borrow(connected_pair& pair, int side, std::span<net::owned_buffer> into,
                            std::size_t most = SIZE_MAX) {
  return pair[side].borrow(pair.socket(side), into, most, pair.now());
}
std::size_t consume(connected_pair& pair, int side, std::size_t bytes) {
  return pair[side].consume(pair.socket(side), bytes, pair.now()).value;
}

connection_policy with_receive_buffer(std::uint32_t bytes) {
  connection_policy policy;
  policy.receive_buffer = bytes;
  return policy;
}

}  // namespace

TEST_CASE("tcp borrow: shows the packets themselves, and takes nothing until it is told") {
  connected_pair pair;
  pair.establish();
  const std::string text = numbered_text(3'000);
  pair.send(0, text);
  pair.drive_for(10ms);
  loan one;
  loan two;
  const auto first = borrow(pair, 1, one);
  CHECK(first.value == 2);
  CHECK(text_of(one) == text);
  CHECK(borrow(pair, 1, two).value == 2);
  CHECK(one[0].bytes().data() == two[0].bytes().data());
  CHECK(pair.look(1).unread_bytes == 3'000);
  CHECK(consume(pair, 1, 1'000) == 1'000);
  CHECK(text_of(one) == text);
  CHECK(borrow(pair, 1, two = {}).value == 2);
  CHECK(text_of(two) == text.substr(1'000));
  CHECK(pair.receive(1) == text.substr(1'000));
  CHECK(text_of(two) == text.substr(1'000));
}

TEST_CASE("tcp borrow: no more bytes than asked for, nor buffers than there are places") {
  connected_pair pair;
  pair.establish();
  const std::string text = numbered_text(20'000);
  pair.send(0, text);
  pair.drive_for(100ms);
  loan some;
  CHECK(borrow(pair, 1, some, 2'000).value == 2);
  CHECK(text_of(some) == text.substr(0, 2'000));
  some = {};
  CHECK(borrow(pair, 1, std::span(some).first(3)).value == 3);
  CHECK(text_of(some) == text.substr(0, 3 * 1448));
  CHECK(consume(pair, 1, 50'000) == 20'000);
  CHECK(consume(pair, 1, 1) == 0);
}

TEST_CASE(
    "tcp borrow: nothing yet, the end of the stream and errors are told as receive tells them") {
  connected_pair pair;
  pair.establish();
  loan some;
  CHECK(borrow(pair, 1, some).error == error::would_block);
  CHECK(borrow(pair, 1, some, 0).error == error::none);
  CHECK(pair[1].borrow({}, some, 1, pair.now()).error == error::bad_handle);
  CHECK(pair[1].consume({}, 1, pair.now()).error == error::bad_handle);
  pair.send(0, "last");
  pair.shutdown(0);
  pair.drive_for(10ms);
  CHECK(borrow(pair, 1, some).value == 1);
  CHECK(consume(pair, 1, 4) == 4);
  const auto end = borrow(pair, 1, some);
  CHECK(end.error == error::none);
  CHECK(end.value == 0);
  pair.close(0, close_mode::abort);
  pair.drive_for(10ms);
  CHECK(borrow(pair, 1, some).error == error::none);
}

TEST_CASE("tcp borrow: who is slow to consume closes the window, and opens it by consuming") {
  connected_pair pair;
  pair.establish({}, {.connection = with_receive_buffer(30'000)});
  std::size_t offered = 0;
  const std::string text = numbered_text(200'000);
  pair.react = [&] { offered += pair.send(0, std::string_view(text).substr(offered)); };
  pair.drive_for(2s);
  std::array<net::owned_buffer, 64> all;
  CHECK(borrow(pair, 1, all).value > 4);
  CHECK(pair.look(1).rcv_wnd_bytes == 0);
  const std::uint32_t held = pair.look(1).held_bytes;
  CHECK(held >= 25'000);
  const std::size_t unread = pair.look(1).unread_bytes;
  pair.drive_for(60s);
  CHECK(pair.look(1).unread_bytes == unread);
  CHECK(pair.look(1).held_bytes == held);
  std::string got;
  while (got.size() < text.size()) {
    loan some;
    if (borrow(pair, 1, some).value > 0) {
      const std::string part = text_of(some);
      got += part;
      CHECK(consume(pair, 1, part.size()) == part.size());
    }
    REQUIRE(pair.step());
  }
  CHECK((got == text));
  pair.react = nullptr;
}

TEST_CASE("tcp borrow: memory is counted to the byte and comes back to zero") {
  net::packet_pool link;
  connected_pair pair;
  pair.establish();
  for (int i = 0; i < 10; ++i) {
    pair.send(0, numbered_text(5'000));
    pair.drive_for(10ms);
  }
  const std::size_t before = pair[1].memory().buffer_bytes;
  CHECK(before == pair.look(1).held_bytes);
  {
    std::array<net::owned_buffer, 64> some;
    CHECK(borrow(pair, 1, some).value > 30);
    CHECK(pair[1].memory().buffer_bytes == before);
    CHECK(consume(pair, 1, 50'000) == 50'000);
  }
  CHECK(pair[1].memory().buffer_bytes == 0);
  CHECK(pair.look(1).held_bytes == 0);
}

TEST_CASE("tcp borrow: bytes are the same over loss and reordering, small segments and large") {
  for (std::uint64_t seed = 1; seed <= 6; ++seed) {
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    connected_pair pair(seed);
    pair.keep_trace = false;
    connect_options options;
    options.policy.nodelay = true;
    pair.establish(options, {.connection = with_receive_buffer(60'000)});
    pair.faults = {.loss = 0.05, .duplicate = 0.02, .reorder = 0.2};
    const std::string text = numbered_text(400'000);
    std::size_t offered = 0;
    std::string got;
    loan kept;
    std::string kept_text;
    pair.react = [&] {
      // Small and large writes in turn, and loans that outlive what is consumed of them.
      const std::size_t size = random() % 2 == 0 ? 100 + random() % 300 : 8'000;
      offered += pair.send(0, std::string_view(text).substr(offered, size));
      CHECK(text_of(kept) == kept_text);
      loan some;
      if (borrow(pair, 1, some, 1 + random() % 9'000).value == 0) return;
      const std::string part = text_of(some);
      const std::size_t count = 1 + random() % part.size();
      got += part.substr(0, count);
      CHECK(consume(pair, 1, count) == count);
      if (random() % 4 == 0) {
        kept = std::move(some);
        kept_text = part;
      }
    };
    // What was lent in part waits for nothing to happen.
    for (int turns = 0; got.size() < text.size(); ++turns) {
      REQUIRE(turns < 100'000);
      pair.step();
    }
    pair.react = nullptr;
    CHECK((got == text));
  }
}

TEST_CASE("tcp borrow: the borrower may outlive the bytes' connection, however it ends") {
  for (const bool by_peer : {false, true}) {
    CAPTURE(by_peer);
    connected_pair pair;
    pair.establish();
    const std::string text = numbered_text(6'000);
    pair.send(0, text);
    pair.drive_for(10ms);
    loan some;
    CHECK(borrow(pair, 1, some).value == 4);
    pair.close(by_peer ? 0 : 1, close_mode::abort);
    pair.drive_for(10ms);
    CHECK(text_of(some) == text);
    if (by_peer) {
      CHECK(consume(pair, 1, 6'000) == 6'000);
    }
    pair.release(1);
    pair.drive_for(10ms);
    CHECK(pair[1].memory().connections == 0);
    CHECK(text_of(some) == text);
  }
}

TEST_CASE("tcp borrow: under pressure what is lent is not moved, and stays what it was") {
  connected_pair pair(1, {},
                      [](int, host_options& options) { options.policy.memory_limit = 1U << 20; });
  connect_options options;
  options.policy.nodelay = true;
  pair.establish(options, {.connection = with_receive_buffer(1U << 20)});
  std::size_t offered = 0;
  const std::string text = numbered_text(2'000'000);
  bool small = false;
  pair.react = [&] {
    small = !small;
    offered += pair.send(0, std::string_view(text).substr(offered, small ? 600 : 1'448));
  };
  pair.drive_for(50ms);
  std::array<net::owned_buffer, 32> some;
  CHECK(borrow(pair, 1, some).value > 10);
  const std::string lent = text_of(some);
  const std::byte* where = some[0].bytes().data();
  pair.drive_for(20s);
  CHECK(pair[1].memory().buffer_bytes <= 1U << 20);
  CHECK(text_of(some) == lent);
  loan again;
  CHECK(borrow(pair, 1, again).value > 0);
  CHECK(again[0].bytes().data() == where);
  CHECK(consume(pair, 1, lent.size()) == lent.size());
  std::string got = lent;
  while (got.size() < 1'000'000) {
    got += pair.receive(1);
    REQUIRE(pair.step());
  }
  CHECK((got == text.substr(0, got.size())));
  pair.react = nullptr;
}

TEST_CASE("tcp borrow: a proxy sends what it borrows without a copy and consumes what was taken") {
  // Two connections between the same hosts; the server forwards from the first to the second.
  connected_pair pair;
  pair.keep_trace = false;
  connect_options options;
  options.policy.send_buffer = 20'000;
  pair.establish({}, {.connection = with_receive_buffer(40'000)});
  const socket_id from = pair.server_socket;
  const socket_id source = pair.client_socket;
  const socket_id sink_listener = pair[0].listen({{}, 81}, {}, 7).value;
  const socket_id out = pair[1].connect({host_pair::address(0), 81}, options, 8, pair.now()).value;
  pair.drive_for(10s);
  const socket_id sink = pair[0].accept(sink_listener, 9).value;
  pair.faults = {.loss = 0.02, .reorder = 0.05};
  const std::string text = numbered_text(500'000);
  std::size_t offered = 0;
  std::string got;
  pair.react = [&] {
    const auto sent =
        pair[0].send(source, bytes_of(std::string_view(text).substr(offered)), pair.now());
    offered += sent.value;
    for (;;) {
      loan some;
      const auto lent = pair[1].borrow(from, some, SIZE_MAX, pair.now());
      if (!lent || lent.value == 0) break;
      std::size_t taken = 0;
      for (net::owned_buffer& each : some) {
        if (each.empty()) break;
        taken += pair[1].send_owned(out, each, pair.now()).value;
        if (!each.empty()) break;
      }
      CHECK(pair[1].consume(from, taken, pair.now()).value == taken);
      if (taken == 0) break;
    }
    got += receive_all(pair[0], sink, pair.now());
    CHECK(pair[1].snapshot(out).value.send_held_bytes < 40'000);
  };
  while (got.size() < text.size()) REQUIRE(pair.step());
  pair.react = nullptr;
  CHECK((got == text));
  pair[0].release(sink, pair.now());
  pair[1].release(out, pair.now());
  pair[0].close_listener(sink_listener, pair.now());
}

TEST_CASE("tcp receive: readv(2) fills several places in order") {
  connected_pair pair;
  pair.establish();
  std::array<std::byte, 3> one{};
  std::array<std::byte, 0> none{};
  std::array<std::byte, 5'000> two{};
  const std::array<std::span<std::byte>, 3> places{one, none, two};
  CHECK(pair[1].receive(pair.server_socket, places, pair.now()).error == error::would_block);
  const std::string text = numbered_text(4'000);
  pair.send(0, text);
  pair.drive_for(10ms);
  CHECK(pair[1].receive(pair.server_socket, places, pair.now()).value == 4'000);
  CHECK(std::ranges::equal(one, bytes_of(text).first(3)));
  CHECK(std::ranges::equal(std::span(two).first(3'997), bytes_of(text).subspan(3)));
  pair.shutdown(0);
  pair.drive_for(10ms);
  const auto end = pair[1].receive(pair.server_socket, places, pair.now());
  CHECK(end.error == error::none);
  CHECK(end.value == 0);
}
