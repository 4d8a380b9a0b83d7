// An HTTP server on the kernel's TCP by Boost.Asio and Boost.Beast, as their users write it: a
// coroutine for each connection, one thread. What a coroutine runtime with its own TCP is measured
// against where the question is the whole program.
//
//   kernel_asio --address 10.78.0.2 --port 80

#include <arpa/inet.h>

#include <boost/asio.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <csignal>
#include <exception>
#include <tuple>
#include <utility>

#include "serving.hpp"

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;

namespace {

using stream = beast::basic_stream<asio::ip::tcp, asio::io_context::executor_type>;

constexpr auto await = asio::as_tuple(asio::use_awaitable);

asio::awaitable<void> converse(stream peer) {
  beast::flat_buffer buffer;
  for (;;) {
    http::request<http::empty_body> request;
    const auto got = co_await http::async_read(peer, buffer, request, await);
    if (std::get<0>(got)) co_return;
    http::response<http::string_body> response(http::status::ok, request.version());
    response.set(http::field::content_type, "text/plain");
    response.keep_alive(request.keep_alive());
    response.body() = "Hello, world!\n";
    response.prepare_payload();
    const auto sent = co_await http::async_write(peer, response, await);
    if (std::get<0>(sent) || !response.keep_alive()) co_return;
  }
}

asio::awaitable<void> accept_all(asio::io_context& context, asio::ip::tcp::endpoint at) {
  asio::ip::tcp::acceptor acceptor(context);
  acceptor.open(at.protocol());
  acceptor.set_option(asio::socket_base::reuse_address(true));
  acceptor.set_option(asio::ip::tcp::no_delay(true));
  acceptor.bind(at);
  acceptor.listen(4096);
  bench::say_ready();
  for (;;) {
    asio::basic_stream_socket<asio::ip::tcp, asio::io_context::executor_type> socket(context);
    const auto accepted = co_await acceptor.async_accept(socket, await);
    if (!std::get<0>(accepted)) {
      asio::co_spawn(context, converse(stream(std::move(socket))), asio::detached);
    }
  }
}

void serve(const bench::serving_options& given) {
  asio::io_context context(1);
  // It wakes the loop, which the handler of the others cannot.
  asio::signal_set signals(context, SIGINT, SIGTERM);
  signals.async_wait([&](auto, auto) { context.stop(); });
  const asio::ip::tcp::endpoint at(asio::ip::address_v4(ntohl(given.address.s_addr)), given.port);
  asio::co_spawn(context, accept_all(context, at), [](std::exception_ptr failed) {
    if (failed) std::rethrow_exception(failed);
  });
  context.run();
}

}  // namespace

int main(int argc, char** argv) {
  const auto given = bench::read_arguments(argc, argv, bench::path::kernel,
                                           "Answers HTTP on the kernel's TCP, by Boost.Beast.");
  return bench::run_server("kernel_asio", &serve, given);
}
