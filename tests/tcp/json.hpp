#pragma once

#include <cctype>
#include <cstdlib>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace runnel::tcp::test {

/// A JSON document as a test looks into it. What is not there reads as null.
struct json_value {
  enum class kind { null, boolean, number, text, array, object } what = kind::null;
  double number = 0;
  std::string text;
  std::vector<json_value> items;
  std::map<std::string, json_value> members;

  std::size_t size() const { return what == kind::array ? items.size() : members.size(); }
  const json_value& operator[](std::size_t at) const { return items.at(at); }
  const json_value& operator[](const std::string& name) const {
    const auto found = members.find(name);
    if (found == members.end()) throw std::out_of_range("no member " + name);
    return found->second;
  }
};

/// A strict reader of RFC 8259: whatever it does not allow throws.
class json_reader {
 public:
  explicit json_reader(std::string_view text) : text_(text) {}

  json_value document() {
    json_value out = value();
    skip();
    if (at_ != text_.size()) fail("something behind the document");
    return out;
  }

 private:
  [[noreturn]] void fail(const std::string& why) const {
    throw std::runtime_error("JSON: " + why + " at " + std::to_string(at_) + ": " +
                             std::string(text_.substr(at_, 30)));
  }
  void skip() {
    while (at_ < text_.size() &&
           std::string_view(" \t\r\n").find(text_[at_]) != std::string_view::npos)
      ++at_;
  }
  char peek() {
    skip();
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  bool accept(char c) {
    if (peek() != c) return false;
    ++at_;
    return true;
  }
  void expect(char c) {
    if (!accept(c)) fail(std::string("wanted ") + c);
  }

  json_value value() {
    json_value out;
    const char c = peek();
    if (c == '{') {
      out.what = json_value::kind::object;
      members(out);
    } else if (c == '[') {
      out.what = json_value::kind::array;
      items(out);
    } else if (c == '"') {
      out.what = json_value::kind::text;
      out.text = string();
    } else if (c == '-' || std::isdigit(static_cast<unsigned char>(c)) != 0) {
      out.what = json_value::kind::number;
      char* end = nullptr;
      const std::string rest(text_.substr(at_, 40));
      out.number = std::strtod(rest.c_str(), &end);
      at_ += static_cast<std::size_t>(end - rest.c_str());
    } else {
      word(out);
    }
    return out;
  }
  void word(json_value& out) {
    for (const std::string_view each : {"true", "false", "null"}) {
      if (text_.substr(at_, each.size()) != each) continue;
      at_ += each.size();
      out.what = each == "null" ? json_value::kind::null : json_value::kind::boolean;
      out.number = each == "true" ? 1 : 0;
      return;
    }
    fail("no value");
  }
  void members(json_value& out) {
    expect('{');
    if (accept('}')) return;
    do {
      skip();
      std::string name = string();
      expect(':');
      if (!out.members.emplace(name, value()).second) fail("a name twice: " + name);
    } while (accept(','));
    expect('}');
  }
  void items(json_value& out) {
    expect('[');
    if (accept(']')) return;
    do {
      out.items.push_back(value());
    } while (accept(','));
    expect(']');
  }
  std::string string() {
    expect('"');
    std::string out;
    while (at_ < text_.size() && text_[at_] != '"') {
      if (static_cast<unsigned char>(text_[at_]) < 0x20) fail("a control character");
      if (text_[at_] == '\\') ++at_;
      out += text_[at_++];
    }
    expect('"');
    return out;
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

inline json_value parse_json(std::string_view text) {
  return json_reader(text).document();
}

}  // namespace runnel::tcp::test
