// A chat server: what a client writes, the others read, line by line. Each client is read by a
// fiber, in blocking style, and written to by a coroutine that drains a bounded channel, so that a
// client that does not read delays nobody: it loses its oldest lines, or its connection.
//
//   sudo ./chat --tun runnel0 --tun-address 10.77.0.1/24 --address 10.77.0.2 --port 6667
//   nc 10.77.0.2 6667
//       twice or more; /name NAME, /who and /quit are commands
//   sudo ./chat --slow disconnect --queue 16
//       and stop an nc with Ctrl-Z while the others go on writing

#include <map>
#include <string>

#include "runnel/tcp/stack.hpp"
#include "support/chat_room.hpp"
#include "support/link_flags.hpp"
#include "support/serving.hpp"

using namespace runnel;

int main(int argc, char** argv) {
  CLI::App app{"A chat server by its own TCP on a TUN device.", "chat"};
  example::link_flags flags;
  example::chat_options chat;
  std::uint16_t port = 6667;
  std::uint32_t send_buffer = 64 * 1024;
  const std::map<std::string, example::slow_client> policies{
      {"drop-oldest", example::slow_client::drop_oldest},
      {"disconnect", example::slow_client::disconnect}};
  flags.add_to(app);
  app.add_option("--port", port, "Port to listen on")->capture_default_str();
  app.add_option("--slow", chat.policy, "What happens to a client that does not read")
      ->transform(CLI::CheckedTransformer(policies, CLI::ignore_case));
  app.add_option("--queue", chat.queue_lines, "Lines that may wait for one client")
      ->capture_default_str()
      ->check(CLI::Range(1, 1'000'000));
  app.add_option("--clients", chat.most_clients, "Clients at once")->capture_default_str();
  app.add_option("--send-buffer", send_buffer, "Bytes that TCP keeps for one client besides")
      ->capture_default_str();
  return example::run(app, argc, argv, [&] {
    tcp::policy_set policy;
    policy.connection.nodelay = true;
    policy.connection.send_buffer = send_buffer;
    example::interruption signals;
    loop owner;
    example::tun_stack network(owner, flags, policy);
    example::chat_room room(chat);
    const auto serve = [&room](tcp::stream client) { return room.serve(std::move(client)); };
    return owner.run(example::serve_until_signal(owner, network, "chat", port, serve, signals));
  });
}
