#include <sstream>

#include "host_pair.hpp"
#include "json.hpp"
#include "raw_peer.hpp"
#include "runnel/tcp/inspect.hpp"

// Pages as ss and nstat print them, and as JSON.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

inspect_request request(std::string_view line) {
  inspect_request out;
  const std::string complaint = parse_inspect_request(line, out);
  CHECK(complaint == "");
  return out;
}

std::string ask(const host& engine, time_point now, std::string_view line) {
  return inspect(engine, request(line), now);
}
std::string ask(raw_peer& peer, std::string_view line) {
  return ask(peer.engine(), peer.now(), line);
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> out;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) out.push_back(line);
  return out;
}

/// As awk splits a line.
std::vector<std::string> fields_of(const std::string& line) {
  std::vector<std::string> out;
  std::istringstream in(line);
  for (std::string word; in >> word;) out.push_back(word);
  return out;
}

using fields = std::vector<std::string>;

/// A listener with two in its accept queue, a half-open entry, a connection with bytes both ways,
/// and one in TIME-WAIT.
struct busy_host : raw_peer {
  busy_host() {
    listen({.backlog = 8});
    for (const std::uint16_t port : {std::uint16_t{1001}, std::uint16_t{1002}}) {
      shake_hands(port);
    }
    time_wait = accept_one();
    CHECK(engine().close(time_wait, close_mode::graceful, now()) == error::none);
    flush();
    peer_port = 1001;
    host_next = isn[1001] + 2;
    peer_next = peer_iss + 1;
    send({flags("FA")});
    socket = accept_one();
    peer_port = 1002;
    peer_next = peer_iss + 1;
    host_next = isn[1002] + 1;
    send({text("unread")});
    write("unacknowledged");
    for (const std::uint16_t port : {std::uint16_t{1003}, std::uint16_t{1004}}) {
      shake_hands(port);
    }
    send_syn({from_port(1005)});
    forget();
    peer_port = 1002;
  }
  ~busy_host() { engine().release(time_wait, now()); }
  void shake_hands(std::uint16_t port) {
    peer_port = port;
    send_syn();
    isn[port] = host_iss;
    send({});
  }
  socket_id accept_one() { return engine().accept(listener, 9).value; }

  std::map<std::uint16_t, std::uint32_t> isn;
  socket_id time_wait;
};

}  // namespace

TEST_CASE("S112: ss -tan has ss's columns, and a line for every socket") {
  busy_host peer;
  const auto lines = lines_of(ask(peer, "ss -tan"));
  REQUIRE(lines.size() == 7);
  CHECK(fields_of(lines[0]) ==
        fields{"State", "Recv-Q", "Send-Q", "Local", "Address:Port", "Peer", "Address:Port"});
  CHECK(fields_of(lines[1]) == fields{"LISTEN", "2", "8", "0.0.0.0:80", "0.0.0.0:*"});
  std::vector<fields> rows;
  for (std::size_t i = 2; i < lines.size(); ++i) rows.push_back(fields_of(lines[i]));
  std::sort(rows.begin(), rows.end(), [](const fields& a, const fields& b) { return a[4] < b[4]; });
  CHECK(rows[0] == fields{"TIME-WAIT", "0", "0", "10.0.0.2:80", "10.0.0.1:1001"});
  CHECK(rows[1] == fields{"ESTAB", "6", "14", "10.0.0.2:80", "10.0.0.1:1002"});
  CHECK(rows[2] == fields{"ESTAB", "0", "0", "10.0.0.2:80", "10.0.0.1:1003"});
  CHECK(rows[3] == fields{"ESTAB", "0", "0", "10.0.0.2:80", "10.0.0.1:1004"});
  CHECK(rows[4] == fields{"SYN-RECV", "0", "0", "10.0.0.2:80", "10.0.0.1:1005"});
}

TEST_CASE("S112: the columns of every line stand where the header's stand") {
  busy_host peer;
  const auto lines = lines_of(ask(peer, "-ta"));
  const std::size_t local = lines[0].find(":Port");
  const std::size_t remote = lines[0].rfind(":Port");
  for (const std::string& line : lines) {
    CAPTURE(line);
    CHECK(line[local] == ':');
    CHECK(line[remote] == ':');
    CHECK(line.substr(11, 1) != " ");
    CHECK(line.substr(18, 1) != " ");
  }
}

TEST_CASE("S111: ss -tln shows a listener's depth and limit") {
  busy_host peer;
  const auto lines = lines_of(ask(peer, "-tln"));
  REQUIRE(lines.size() == 2);
  CHECK(fields_of(lines[1]) == fields{"LISTEN", "2", "8", "0.0.0.0:80", "0.0.0.0:*"});
  SUBCASE("with -i its peaks and what it dropped") {
    listener_policy dropping = peer.engine().listener_settings(peer.listener).value;
    dropping.syncookies = syncookies::off;
    CHECK(peer.engine().set_listener_policy(peer.listener, dropping) == error::none);
    for (std::uint16_t port = 2000; port < 2020; ++port) peer.send_syn({from_port(port)});
    peer.forget();
    const auto more = lines_of(ask(peer, "-tlni"));
    REQUIRE(more.size() == 3);
    CHECK(more[2].starts_with("\t "));
    CHECK(fields_of(more[2]) == fields{"accept_queue_peak:2", "syn_queue:9", "syn_queue_limit:9",
                                       "syn_queue_peak:9", "accepted:4", "drops:12",
                                       "syn_queue_full:12"});
  }
  SUBCASE("bound to one address it shows that") {
    const auto other = peer.engine().listen({peer.host_address(), 81}, {.backlog = 3}, 7);
    const auto more = lines_of(ask(peer, "-lnt sport = :81"));
    REQUIRE(more.size() == 2);
    CHECK(fields_of(more[1]) == fields{"LISTEN", "0", "3", "10.0.0.2:81", "0.0.0.0:*"});
    CHECK(peer.engine().close_listener(other.value, peer.now()) == error::none);
  }
}

TEST_CASE("S112: ss without -a leaves out LISTEN, SYN-RECV and TIME-WAIT, and -H the header") {
  busy_host peer;
  CHECK(lines_of(ask(peer, "-t")).size() == 4);
  const auto lines = lines_of(ask(peer, "-tH"));
  REQUIRE(lines.size() == 3);
  CHECK(fields_of(lines[0])[0] == "ESTAB");
}

TEST_CASE("S112: with one state asked for there is no state column, as in ss") {
  busy_host peer;
  const auto lines = lines_of(ask(peer, "-tan state time-wait"));
  REQUIRE(lines.size() == 2);
  CHECK(fields_of(lines[0])[0] == "Recv-Q");
  CHECK(fields_of(lines[1]) == fields{"0", "0", "10.0.0.2:80", "10.0.0.1:1001"});
}

TEST_CASE("S112: ss -o shows the timer, ss -m the buffers, ss -i what TCP_INFO tells") {
  busy_host peer;
  peer.run_for(50ms);
  SUBCASE("timers") {
    CHECK(fields_of(lines_of(ask(peer, "-tno dport = :1002"))[1])[5].starts_with("timer:(on,"));
    CHECK(fields_of(lines_of(ask(peer, "-tnao dport = :1001"))[1])[5] ==
          "timer:(timewait,59sec,0)");
    CHECK(fields_of(lines_of(ask(peer, "-tnao dport = :1005"))[1])[5] == "timer:(on,950ms,0)");
    CHECK(fields_of(lines_of(ask(peer, "-tnao dport = :1003"))[1]).size() == 5);
  }
  SUBCASE("buffers") {
    const auto lines = lines_of(ask(peer, "-tnm dport = :1002"));
    REQUIRE(lines.size() == 3);
    const snapshot row = peer.look();
    CHECK(lines[2] == "\t skmem:(r" + std::to_string(row.held_bytes - row.send_held_bytes) + ",rb" +
                          std::to_string(row.receive_buffer) + ",t0,tb" +
                          std::to_string(row.send_buffer) + ",f0,w" +
                          std::to_string(row.send_held_bytes) + ",o0,bl0,d0)");
  }
  SUBCASE("the line of info, with ss's names") {
    const auto words = fields_of(lines_of(ask(peer, "-tin dport = :1002"))[2]);
    const auto has = [&](const std::string& word) {
      CAPTURE(word);
      CHECK(std::find(words.begin(), words.end(), word) != words.end());
    };
    for (const char* word :
         {"wscale:0,0", "mss:1460", "cwnd:10", "bytes_sent:14", "bytes_received:6", "segs_out:2",
          "data_segs_out:1", "data_segs_in:1", "lastsnd:50", "lastrcv:50", "lastack:50",
          "unacked:1", "snd_wnd:65535", "rcv_space:14600", "rcv_ssthresh:64076"}) {
      has(word);
    }
  }
  SUBCASE("with the path and the acknowledgements") {
    const auto words = fields_of(lines_of(ask(peer, "-tin dport = :1002"))[2]);
    for (const char* word : {"pmtu:1500", "advmss:1460", "ato:40"}) {
      CAPTURE(word);
      CHECK(std::find(words.begin(), words.end(), word) != words.end());
    }
    CHECK(std::find(words.begin(), words.end(), "backoff:1") == words.end());
    peer.run_for(1s);
    const auto later = fields_of(lines_of(ask(peer, "-tin dport = :1002"))[2]);
    CHECK(std::any_of(later.begin(), later.end(),
                      [](const std::string& word) { return word.starts_with("backoff:"); }));
    peer.forget();
  }
  SUBCASE("-O puts them on the line itself") {
    const auto lines = lines_of(ask(peer, "-tnimO dport = :1002"));
    REQUIRE(lines.size() == 2);
    CHECK(lines[1].find(" skmem:(") != std::string::npos);
    CHECK(lines[1].find(" mss:1460") != std::string::npos);
  }
}

TEST_CASE("S112: ss -i says which options both sides have agreed on") {
  raw_peer peer([](host_options& options) { options.policy.ecn = ecn::accept; });
  peer.listen();
  peer.send_syn({flags("SEC"), mss(1460), sack_permitted()});
  const auto half_open = fields_of(lines_of(ask(peer, "-taiH state syn-recv"))[1]);
  CHECK(half_open[0] == "sack");
  CHECK(half_open[1] == "ecn");
  peer.send({});
  peer.accept();
  const auto words = fields_of(lines_of(ask(peer, "-tiH"))[1]);
  CHECK(words[0] == "sack");
  CHECK(words[1] == "ecn");
  const json_value info = parse_json(ask(peer, "-tij"))["sockets"][0]["info"];
  CHECK(info["sack"].number == 1);
  CHECK(info["ecn"].number == 1);
  CHECK(info["timestamps"].number == 0);
  CHECK(info["fastopen"].number == 0);
  CHECK(info["fastopen_client_fail"].text == "none");
  CHECK(info["advmss"].number == 1460);
}

TEST_CASE("S112: Recv-Q and Send-Q count SYN and FIN, as the kernel's ss does") {
  const auto queues = [](raw_peer& peer) {
    const auto words = fields_of(lines_of(ask(peer, "-taH state connected"))[0]);
    return words[0] + " " + words[1] + " " + words[2];
  };
  const auto in = [&](state wanted) {
    raw_peer peer;
    bring_to(peer, wanted);
    std::string out = queues(peer);
    peer.forget();
    return out;
  };
  CHECK(in(state::fin_wait_1) == "FIN-WAIT-1 0 1");
  CHECK(in(state::fin_wait_2) == "FIN-WAIT-2 0 0");
  CHECK(in(state::closing) == "CLOSING 1 1");
  CHECK(in(state::last_ack) == "LAST-ACK 1 1");
  raw_peer active;
  active.connect();
  CHECK(queues(active) == "SYN-SENT 0 1");
  active.forget();
  raw_peer peer;
  peer.establish();
  peer.send({text("abc")});
  peer.send({flags("FA")});
  peer.forget();
  CHECK(queues(peer) == "CLOSE-WAIT 4 0");
  CHECK(peer.look().unread_bytes == 3);
  CHECK(parse_json(ask(peer, "-tj"))["sockets"][0]["recv_q"].number == 4);
  CHECK(peer.read() == "abc");
  CHECK(queues(peer) == "CLOSE-WAIT 0 0");
}

TEST_CASE("S112: a listener for any address of an IPv4 host is IPv4's") {
  busy_host peer;
  CHECK(lines_of(ask(peer, "-tlH6")).empty());
  CHECK(lines_of(ask(peer, "-tlH4")).size() == 1);
  CHECK(lines_of(ask(peer, "-tlH src 0.0.0.0")).size() == 1);
  CHECK(parse_json(ask(peer, "-tlj"))["sockets"][0]["local"]["address"].text == "0.0.0.0");
}

TEST_CASE("S112: ss's flags for what is not here do no harm") {
  busy_host peer;
  const std::string all = ask(peer, "-tln");
  CHECK(ask(peer, "-tlnp") == all);
  CHECK(ask(peer, "-tlner") == all);
  CHECK(ask(peer, "-tln --processes --extended --resolve") == all);
}

TEST_CASE("S112: ss -s counts what there is by state") {
  busy_host peer;
  const auto lines = lines_of(ask(peer, "-s"));
  REQUIRE(lines.size() > 10);
  CHECK(lines[0] == "Total: 6");
  CHECK(lines[1] == "TCP:   6 (estab 3, closed 1, orphaned 0, timewait 1)");
  CHECK(lines[3] == "Transport Total     IP        IPv6");
  CHECK(fields_of(lines[4]) == fields{"TCP", "5", "5", "0"});
  const std::string text = ask(peer, "-s");
  for (const char* line :
       {"\nLISTEN     1\n", "\nSYN-RECV   1\n", "\nESTAB      3\n", "\nTIME-WAIT  1\n"}) {
    CHECK(text.find(line) != std::string::npos);
  }
}

TEST_CASE("S113: nstat prints counters by Linux's names, aligned as nstat does") {
  busy_host peer;
  SUBCASE("those that are not zero") {
    const auto lines = lines_of(ask(peer, "nstat"));
    CHECK(lines[0] == "#runnel");
    CHECK(std::find(lines.begin(), lines.end(),
                    "TcpPassiveOpens                 4                  0.0") != lines.end());
    for (std::size_t i = 1; i < lines.size(); ++i) {
      CHECK(fields_of(lines[i]).size() == 3);
      CHECK(fields_of(lines[i])[1] != "0");
    }
  }
  SUBCASE("with -z all") {
    std::size_t known = 0;
    peer.count().for_each([&](std::string_view, std::uint64_t) { ++known; });
    CHECK(lines_of(ask(peer, "nstat -az")).size() == 1 + known);
  }
  SUBCASE("those that fit a pattern") {
    const auto lines = lines_of(ask(peer, "nstat -z TcpExtListen* *CurrEsta?"));
    REQUIRE(lines.size() == 4);
    CHECK(fields_of(lines[1]) == fields{"TcpCurrEstab", "3", "0.0"});
    CHECK(fields_of(lines[2]) == fields{"TcpExtListenOverflows", "0", "0.0"});
    CHECK(fields_of(lines[3]) == fields{"TcpExtListenDrops", "0", "0.0"});
  }
}

TEST_CASE("S112: filters choose by state, port and address as ss's do") {
  busy_host peer;
  const auto ports = [&](std::string_view line) {
    std::vector<std::string> out;
    for (const std::string& each : lines_of(ask(peer, "-taH " + std::string(line)))) {
      const auto words = fields_of(each);
      out.push_back(words.back().substr(words.back().rfind(':') + 1));
    }
    std::sort(out.begin(), out.end());
    return out;
  };
  using names = std::vector<std::string>;
  CHECK(ports("state all") == names{"*", "1001", "1002", "1003", "1004", "1005"});
  CHECK(ports("state connected") == names{"1001", "1002", "1003", "1004", "1005"});
  CHECK(ports("state synchronized") == names{"1001", "1002", "1003", "1004", "1005"});
  CHECK(ports("state bucket") == names{"1001", "1005"});
  CHECK(ports("state big") == names{"*", "1002", "1003", "1004"});
  CHECK(ports("state established") == names{"1002", "1003", "1004"});
  CHECK(ports("state ESTABLISHED state time_wait") == names{"1001", "1002", "1003", "1004"});
  CHECK(ports("state syn-sent") == names{});
  CHECK(ports("state closed") == names{});
  CHECK(ports("exclude established") == names{"*", "1001", "1005"});
  CHECK(ports("state all exclude bucket") == names{"*", "1002", "1003", "1004"});
  CHECK(ports("sport = :80 and dport = :1003") == names{"1003"});
  CHECK(ports("sport = :80 dport = :1003") == names{"1003"});
  CHECK(ports("dport = 1003 or dport eq 1004") == names{"1003", "1004"});
  CHECK(ports("( dport = :1003 or dport = :1004 ) and not dport = :1004") == names{"1003"});
  CHECK(ports("(dport=:1003 or dport=:1004) and dport!=:1004") == names{"1003"});
  CHECK(ports("dport >= :1004") == names{"1004", "1005"});
  CHECK(ports("dport > :1001 and dport < :1003") == names{"1002"});
  CHECK(ports("dport le 1001") == names{"*", "1001"});
  CHECK(ports("dst 10.0.0.1 dport = :1001") == names{"1001"});
  CHECK(ports("dst 10.0.0.0/30") == names{"1001", "1002", "1003", "1004", "1005"});
  CHECK(ports("dst 10.0.0.4/30") == names{});
  CHECK(ports("dst = 10.0.0.1:1002") == names{"1002"});
  CHECK(ports("dst *:1002") == names{"1002"});
  CHECK(ports("sport = :*").size() == 6);
  CHECK(ports("sport = * and dport = :1002") == names{"1002"});
  CHECK(ports("dport != *").empty());
  CHECK(ports("src 10.0.0.2:80 and dst != 10.0.0.1") == names{});
  CHECK(ports("src 10.0.0.1") == names{});
  CHECK(ports("dst [2001:db8::1]:80") == names{});
  CHECK(ports("-4 dport = :1001").size() == 1);
  CHECK(ports("-6 dport = :1001").empty());
}

TEST_CASE("S112: a request that means nothing is answered with one sentence") {
  const auto complaint = [](std::string_view line) {
    inspect_request out;
    const std::string text = parse_inspect_request(line, out);
    CHECK(text.ends_with('.'));
    CHECK(text.find('\n') == std::string::npos);
    return text;
  };
  CHECK(complaint("ss -tu") == "There is no flag -u here.");
  CHECK(complaint("ss --packet") == "There is no flag --packet here.");
  CHECK(complaint("-t state open").starts_with("\"open\" is no state; ss knows established,"));
  CHECK(complaint("-t state").starts_with("\"\" is no state"));
  const std::string hint = "; write conditions as in sport = :80 and dst 10.0.0.0/24.";
  CHECK(complaint("-t sport = :http") == "Filter: \":http\" is no port number" + hint);
  CHECK(complaint("-t sport = :65536") == "Filter: \":65536\" is no port number" + hint);
  CHECK(complaint("-t sport > :*") == "Filter: \":*\" is no port number" + hint);
  CHECK(complaint("-t dst 10.0.0.300") == "Filter: \"10.0.0.300\" is no address" + hint);
  CHECK(complaint("-t dst") == "Filter: \"\" is no address" + hint);
  CHECK(complaint("-t dst < 10.0.0.1").find("equal or not") != std::string::npos);
  CHECK(complaint("-t ( sport = :80") == "Filter: a ) is missing" + hint);
  CHECK(complaint("-t sport = :80 )") == "Filter: \")\" does not belong there" + hint);
  CHECK(complaint("-t sport = :80 and") == "Filter: a condition is missing at its end" + hint);
  CHECK(complaint("-t port = :80") == "Filter: \"port\" is no condition" + hint);
  CHECK(complaint("-t " + std::string(100, '(')).find("too deeply") != std::string::npos);
  std::string many = "-t sport = :1";
  for (int i = 0; i < 1100; ++i) many += " and sport = :1";
  CHECK(complaint(many).find("too many conditions") != std::string::npos);
  CHECK(complaint("nstat -x") == "There is no flag -x here.");
  CHECK(complaint("diagnose now") == "diagnose takes no \"now\", only -j.");
}

TEST_CASE("S112: every page is one valid JSON document") {
  busy_host peer;
  const json_value sockets = parse_json(ask(peer, "-taoimj"));
  CHECK(sockets["sockets"].size() == 6);
  const json_value& listener = sockets["sockets"][0];
  CHECK(listener["state"].text == "LISTEN");
  CHECK(listener["recv_q"].number == 2);
  CHECK(listener["send_q"].number == 8);
  CHECK(listener["local"]["port"].number == 80);
  CHECK(listener["info"]["accepted"].number == 4);
  CHECK(listener["info"]["drops"]["syn_queue_full"].number == 0);
  const json_value row = parse_json(ask(peer, "-taoimj dport = :1002"))["sockets"][0];
  CHECK(row["state"].text == "ESTAB");
  CHECK(row["remote"]["address"].text == "10.0.0.1");
  CHECK(row["remote"]["port"].number == 1002);
  CHECK(row["timer"]["name"].text == "on");
  CHECK(row["info"]["bytes_received"].number == 6);
  CHECK(row["memory"]["send_buffer"].number == peer.look().send_buffer);
  CHECK(parse_json(ask(peer, "-taj state closed"))["sockets"].size() == 0);
  CHECK(parse_json(ask(peer, "-sj"))["states"]["ESTAB"].number == 3);
  CHECK(parse_json(ask(peer, "nstat -j"))["runnel"]["TcpPassiveOpens"].number == 4);
  CHECK(parse_json(ask(peer, "nstat -j Nothing*"))["runnel"].size() == 0);
  CHECK(parse_json(ask(peer, "diagnose -j"))["findings"].size() == 0);
}

TEST_CASE("S94: a page of many TIME-WAIT entries comes in parts of bounded size") {
  raw_peer peer([](host_options& options) { options.policy.reject_limit = 0; });
  peer.listen({.backlog = 10});
  constexpr std::uint16_t count = 5000;
  for (std::uint16_t port = 1; port <= count; ++port) {
    peer.peer_port = port;
    peer.send_syn();
    peer.send({});
    const socket_id socket = peer.engine().accept(peer.listener, port).value;
    CHECK(peer.engine().close(socket, close_mode::graceful, peer.now()) == error::none);
    peer.flush();
    peer.send({flags("FA")});
    peer.engine().release(socket, peer.now());
    peer.forget();
  }
  const auto parts_of = [&](std::string_view line) {
    inspection answer(peer.engine(), request(line));
    std::vector<std::string> parts;
    for (bool more = true; more;) {
      more = answer.next(parts.emplace_back(), peer.now());
      CHECK(parts.back().size() < 2 * inspection::part_bytes);
    }
    return parts;
  };
  for (const std::string_view line : {"-ta", "-taoim", "-tajoim"}) {
    const auto parts = parts_of(line);
    CHECK(parts.size() > count * 50 / inspection::part_bytes);
    std::string whole;
    for (const std::string& part : parts) whole += part;
    CHECK(whole == ask(peer, line));
  }
  CHECK(lines_of(ask(peer, "-ta")).size() == count + 2U);
  CHECK(parse_json(ask(peer, "-tajoi"))["sockets"].size() == count + 1U);
  // What the filter takes away is looked at in bounded steps, too.
  CHECK(parts_of("-ta dport = :9999").size() > count / inspection::places_per_part);
  // Entries are counted without a look at each.
  CHECK(parts_of("-s").size() == 1);
  CHECK(parts_of("-s")[0].find("\nTIME-WAIT  " + std::to_string(count) + "\n") !=
        std::string::npos);
}

TEST_CASE("S104: ss -o shows when an idle peer will be looked after") {
  raw_peer peer([](host_options& options) { options.connection.keepalive = true; });
  peer.establish();
  peer.run_for(1min);
  CHECK(fields_of(lines_of(ask(peer, "-tno"))[1])[5] == "timer:(keepalive,119min,0)");
  peer.run_for(7200s);
  CHECK(fields_of(lines_of(ask(peer, "-tno"))[1])[5] == "timer:(keepalive,15sec,1)");
  peer.forget();
}
