#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

/// Helpers to find one's way in text whose comments and literals are blanked out.
namespace tidy {

constexpr auto npos = std::string_view::npos;

bool is_space(char c);
/// A letter, a digit or an underscore.
bool is_word(char c);

/// The offset of the next or previous character that is not white space; npos for none.
std::size_t next_visible(std::string_view code, std::size_t from);
std::size_t previous_visible(std::string_view code, std::size_t before);

/// The identifier that ends right before an offset (white space between is skipped); may be empty.
std::string_view word_before(std::string_view code, std::size_t before);
/// The identifier that starts at an offset; may be empty.
std::string_view word_at(std::string_view code, std::size_t at);

/// Where a whole word stands.
std::vector<std::size_t> find_words(std::string_view code, std::string_view word);
bool has_word(std::string_view code, std::string_view word);

/// The bracket that closes the one at `open`, any of ( [ {, or npos.
std::size_t close_of(std::string_view code, std::size_t open);
/// The bracket that opens the one at `close`, or npos.
std::size_t open_of(std::string_view code, std::size_t close);
/// The > that closes the template argument list at `open`, or npos.
std::size_t close_of_angle(std::string_view code, std::size_t open);

/// The full-expression around an offset, as [begin, end): from the last ; or brace of a block to
/// the next. What stands in a condition's parentheses counts as its own.
std::pair<std::size_t, std::size_t> statement_around(std::string_view code, std::size_t at);

/// The same text with every {} that holds statements (a lambda's body) blanked out.
std::string without_bodies(std::string_view code);

/// Where a lambda's capture list opens in this code, with the text between its brackets.
struct capture_list {
  std::size_t open;
  std::size_t close;
  std::string_view text;
};
std::vector<capture_list> find_captures(std::string_view code);

/// The lines of a text without their ends.
std::vector<std::string_view> split_lines(std::string_view text);

/// The text without white space at its ends.
std::string_view trim(std::string_view text);

/// What an #include line names, with its line number.
struct include_line {
  std::string name;
  bool quoted;
  int line;
};
std::vector<include_line> find_includes(std::string_view text);

}  // namespace tidy
