#include <runnel/wire/address.hpp>

#include <doctest/doctest.h>

#include <string>
#include <unordered_set>

using runnel::net::address;
using runnel::net::endpoint;
using runnel::net::family;
using runnel::net::prefix;

namespace {

std::string reprinted(std::string_view text) {
  const auto value = address::parse(text);
  return value ? value->to_string() : "refused";
}

}  // namespace

TEST_CASE("address: IPv4 text is read strictly and printed as written") {
  CHECK(reprinted("0.0.0.0") == "0.0.0.0");
  CHECK(reprinted("255.255.255.255") == "255.255.255.255");
  CHECK(reprinted("10.77.0.1") == "10.77.0.1");
  CHECK(address::parse("10.77.0.1") == address::v4(10, 77, 0, 1));
  CHECK(address::v4(0x0a4d0001) == address::v4(10, 77, 0, 1));
  CHECK(address::v4(10, 77, 0, 1).to_v4_number() == 0x0a4d0001);
  for (const char* bad :
       {"", "1", "1.2.3", "1.2.3.4.5", "1.2.3.256", "01.2.3.4", "1.2.3.4 ", " 1.2.3.4", "1..3.4",
        "1.2.3.", ".1.2.3", "1.2.3.-4", "1.2.3.+4", "0x1.2.3.4", "a.b.c.d", "1.2.3.99999999999"}) {
    CAPTURE(bad);
    CHECK_FALSE(address::parse(bad));
  }
}

TEST_CASE("address: IPv6 text is printed as RFC 5952 says") {
  CHECK(reprinted("::") == "::");
  CHECK(reprinted("::1") == "::1");
  CHECK(reprinted("1::") == "1::");
  CHECK(reprinted("2001:db8::1") == "2001:db8::1");
  CHECK(reprinted("2001:0DB8:0:0:0:0:0:0001") == "2001:db8::1");
  CHECK(reprinted("2001:db8:0:1:1:1:1:1") == "2001:db8:0:1:1:1:1:1");
  CHECK(reprinted("2001:db8:0:0:1:0:0:1") == "2001:db8::1:0:0:1");
  CHECK(reprinted("2001:0:0:1:0:0:0:1") == "2001:0:0:1::1");
  CHECK(reprinted("1:2:3:4:5:6:7:8") == "1:2:3:4:5:6:7:8");
  CHECK(reprinted("1:2:3:4:5:6:7::") == "1:2:3:4:5:6:7:0");
  CHECK(reprinted("::2:3:4:5:6:7:8") == "0:2:3:4:5:6:7:8");
  CHECK(reprinted("0:0:1::") == "0:0:1::");
  CHECK(reprinted("::ffff:1.2.3.4") == "::ffff:1.2.3.4");
  CHECK(reprinted("::ffff:0102:0304") == "::ffff:1.2.3.4");
  CHECK(reprinted("64:ff9b::192.0.2.33") == "64:ff9b::c000:221");
  CHECK(reprinted("fe80::1%3") == "fe80::1%3");
  CHECK(reprinted("fe80::1%4294967295") == "fe80::1%4294967295");
  CHECK(reprinted("fe80::1%0") == "fe80::1");
  CHECK(reprinted("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%4294967295") ==
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%4294967295");
  CHECK(address::parse("fe80::1%3")->scope_id() == 3);
}

TEST_CASE("address: text that is no IPv6 address is refused") {
  for (const char* bad : {":",
                          ":::",
                          "1:2:3:4:5:6:7",
                          "1:2:3:4:5:6:7:8:9",
                          "1:2:3:4:5:6:7::8",
                          "::1::",
                          "1::2::3",
                          "12345::",
                          "g::",
                          "1:2:3:4:5:6:7:",
                          ":1:2:3:4:5:6:7",
                          "::1.2.3",
                          "1.2.3.4::",
                          "::1.2.3.4:5",
                          "fe80::1%",
                          "fe80::1%eth0",
                          "fe80::1%4294967296",
                          "1.2.3.4%1",
                          "1:2:3:4:5:6:7:1.2.3.4",
                          "[::1]",
                          "::1 ",
                          "::-1",
                          "::+1",
                          "::0x1"}) {
    CAPTURE(bad);
    CHECK_FALSE(address::parse(bad));
  }
}

TEST_CASE("address: no address, any IPv4 and any IPv6 are three different values") {
  const address none;
  CHECK(none.family() == family::unspecified);
  CHECK(none.to_string() == "-");
  CHECK(none.bytes().empty());
  CHECK_FALSE(none.is_any());
  CHECK(address::any(family::v4).is_any());
  CHECK(address::any(family::v6).is_any());
  const std::unordered_set<address> all{none, address::any(family::v4), address::any(family::v6)};
  CHECK(all.size() == 3);
}

TEST_CASE("address: special ranges end where they should") {
  const auto v = [](std::string_view text) { return address::parse(text).value(); };
  CHECK(v("127.0.0.1").is_loopback());
  CHECK(v("127.255.255.255").is_loopback());
  CHECK_FALSE(v("128.0.0.1").is_loopback());
  CHECK(v("::1").is_loopback());
  CHECK_FALSE(v("::2").is_loopback());
  CHECK_FALSE(v("1::1").is_loopback());
  CHECK(v("224.0.0.1").is_multicast());
  CHECK(v("239.255.255.255").is_multicast());
  CHECK_FALSE(v("240.0.0.1").is_multicast());
  CHECK_FALSE(v("223.255.255.255").is_multicast());
  CHECK(v("ff02::1").is_multicast());
  CHECK_FALSE(v("fe02::1").is_multicast());
  CHECK(v("255.255.255.255").is_limited_broadcast());
  CHECK_FALSE(v("255.255.255.254").is_limited_broadcast());
  CHECK(v("169.254.0.1").is_link_local());
  CHECK_FALSE(v("169.253.0.1").is_link_local());
  CHECK(v("fe80::1").is_link_local());
  CHECK(v("febf::1").is_link_local());
  CHECK_FALSE(v("fec0::1").is_link_local());
}

TEST_CASE("endpoint: reads and prints both families") {
  CHECK(endpoint::parse("10.0.0.1:80")->to_string() == "10.0.0.1:80");
  CHECK(endpoint::parse("[2001:db8::1]:65535")->to_string() == "[2001:db8::1]:65535");
  CHECK(endpoint::parse("[fe80::1%2]:0")->to_string() == "[fe80::1%2]:0");
  for (const char* bad :
       {"", ":", "10.0.0.1", "10.0.0.1:", "10.0.0.1:65536", "10.0.0.1:-1", "10.0.0.1:080",
        "2001:db8::1:80", "[10.0.0.1]:80", "[::1]", "[::1]80", "[]:1", "[::1:80", ":80"}) {
    CAPTURE(bad);
    CHECK_FALSE(endpoint::parse(bad));
  }
}

TEST_CASE("prefix: holds the addresses that share its first bits") {
  const auto p = [](std::string_view text) { return prefix::parse(text).value(); };
  const auto v = [](std::string_view text) { return address::parse(text).value(); };
  CHECK(p("10.77.0.1/24").contains(v("10.77.0.200")));
  CHECK_FALSE(p("10.77.0.1/24").contains(v("10.77.1.1")));
  CHECK(p("10.77.0.1/23").contains(v("10.77.1.1")));
  CHECK_FALSE(p("10.77.0.1/23").contains(v("10.77.2.1")));
  CHECK(p("0.0.0.0/0").contains(v("1.2.3.4")));
  CHECK_FALSE(p("0.0.0.0/0").contains(v("::1")));
  CHECK_FALSE(p("::/0").contains(address{}));
  CHECK(p("10.0.0.1").length == 32);
  CHECK(p("10.0.0.1").contains(v("10.0.0.1")));
  CHECK_FALSE(p("10.0.0.1").contains(v("10.0.0.2")));
  CHECK(p("2001:db8::/33").contains(v("2001:db8:7fff::1")));
  CHECK_FALSE(p("2001:db8::/33").contains(v("2001:db8:8000::1")));
  CHECK(p("::1").length == 128);
  CHECK(p("10.77.0.1/24").to_string() == "10.77.0.1/24");
  CHECK_FALSE(prefix{}.contains(address{}));
  for (const char* bad :
       {"", "/24", "10.0.0.1/", "10.0.0.1/33", "::1/129", "10.0.0.1/-1", "10.0.0.1/024"}) {
    CAPTURE(bad);
    CHECK_FALSE(prefix::parse(bad));
  }
}

TEST_CASE("address: the order is that of the bytes") {
  const auto v = [](std::string_view text) { return address::parse(text).value(); };
  CHECK(v("10.0.0.1") < v("10.0.0.2"));
  CHECK(v("10.0.0.255") < v("10.0.1.0"));
  CHECK(v("9.255.255.255") < v("10.0.0.0"));
  CHECK(v("2001:db8::1") < v("2001:db8::100"));
  CHECK(v("2001:db8::ffff") < v("2001:db8:0:1::"));
  CHECK(v("fe80::1%1") < v("fe80::1%2"));
  CHECK(address::any(family::v4) < address::any(family::v6));
  CHECK(endpoint::parse("10.0.0.1:80") < endpoint::parse("10.0.0.1:81"));
}

TEST_CASE("address: RFC 5952 section 4, rule by rule") {
  // 4.1: no leading zeros, and a zero group is one zero.
  CHECK(reprinted("2001:0db8::0001") == "2001:db8::1");
  CHECK(reprinted("2001:db8:aaaa:bbbb:cccc:dddd:eeee:0001") ==
        "2001:db8:aaaa:bbbb:cccc:dddd:eeee:1");
  // 4.2.1: as short as possible.
  CHECK(reprinted("2001:db8:0:0:0:0:2:1") == "2001:db8::2:1");
  CHECK(reprinted("2001:db8::0:1") == "2001:db8::1");
  // 4.2.2: a single zero group stays.
  CHECK(reprinted("2001:db8::1:1:1:1:1") == "2001:db8:0:1:1:1:1:1");
  // 4.2.3: the longest run, the first of two equals.
  CHECK(reprinted("2001:0:0:1:0:0:0:1") == "2001:0:0:1::1");
  CHECK(reprinted("2001:db8:0:0:1:0:0:1") == "2001:db8::1:0:0:1");
  // 4.3: lower case.
  CHECK(reprinted("2001:DB8:AAAA:BBBB:CCCC:DDDD:EEEE:AAAA") ==
        "2001:db8:aaaa:bbbb:cccc:dddd:eeee:aaaa");
  // 5: a dotted quad where the prefix says that one is embedded.
  CHECK(reprinted("::FFFF:192.0.2.1") == "::ffff:192.0.2.1");
  CHECK(reprinted("0:0:0:0:0:ffff:192.0.2.1") == "::ffff:192.0.2.1");
  CHECK(reprinted("::ffff:0.0.0.0") == "::ffff:0.0.0.0");
  CHECK(reprinted("1:2:3:4:5:6:1.2.3.4") == "1:2:3:4:5:6:102:304");
  CHECK(reprinted("::192.0.2.1") == "::c000:201");
}

TEST_CASE("address: a mapped IPv4 address is IPv6, and known as such") {
  const auto v = [](std::string_view text) { return address::parse(text).value(); };
  CHECK(v("::ffff:1.2.3.4").is_v6());
  CHECK(v("::ffff:1.2.3.4").is_v4_mapped());
  CHECK(v("::ffff:0:0").is_v4_mapped());
  CHECK_FALSE(v("::fffe:1.2.3.4").is_v4_mapped());
  CHECK_FALSE(v("1::ffff:1.2.3.4").is_v4_mapped());
  CHECK_FALSE(v("1.2.3.4").is_v4_mapped());
  CHECK_FALSE(v("::1.2.3.4").is_v4_mapped());
  CHECK(v("::ffff:1.2.3.4") != v("1.2.3.4"));
}

TEST_CASE("address: zones go by the names one gives them (RFC 4007 section 11)") {
  const runnel::net::zone_names zones{
      [](std::string_view name) noexcept -> std::uint32_t {
        return name == "eth0" ? 7 : name == "12" ? 99 : 0;
      },
      [](std::uint32_t zone) { return std::string(zone == 7 ? "eth0" : ""); }};
  const auto named = address::parse("fe80::1%eth0", zones);
  REQUIRE(named);
  CHECK(named->scope_id() == 7);
  CHECK(named->to_string() == "fe80::1%7");
  CHECK(named->to_string(zones) == "fe80::1%eth0");
  CHECK(address::parse("fe80::1%7", zones) == named);
  CHECK(address::parse("fe80::1%8", zones)->to_string(zones) == "fe80::1%8");
  // A number is a number, even where something is called so.
  CHECK(address::parse("fe80::1%12", zones)->scope_id() == 12);
  CHECK(address::parse("2001:db8::1", zones)->to_string(zones) == "2001:db8::1");
  CHECK(address::parse("10.0.0.1", zones)->to_string(zones) == "10.0.0.1");
  for (const char* bad : {"fe80::1%", "fe80::1%eth1", "fe80::1%eth0 ", "10.0.0.1%eth0", "%eth0",
                          "fe80::1%4294967296"}) {
    CAPTURE(bad);
    CHECK_FALSE(address::parse(bad, zones));
  }

  const auto where = endpoint::parse("[fe80::1%eth0]:80", zones);
  REQUIRE(where);
  CHECK(where->to_string(zones) == "[fe80::1%eth0]:80");
  CHECK(where->to_string() == "[fe80::1%7]:80");
  CHECK(endpoint::parse("10.0.0.1:80", zones)->to_string(zones) == "10.0.0.1:80");
  CHECK_FALSE(endpoint::parse("[fe80::1%eth0]:80"));
  CHECK_FALSE(endpoint::parse("fe80::1%eth0:80", zones));
}
