#include "runnel/net/http/files.hpp"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <memory>
#include <system_error>
#include <utility>

#include "file_range.hpp"
#include "runnel/net/http/date.hpp"
#include "runnel/net/http/path.hpp"

namespace runnel::http {
namespace {

constexpr std::string_view allowed_methods = "GET, HEAD";

/// O_NONBLOCK so that a named pipe does not stop the loop; it means nothing for regular files.
constexpr int open_flags = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;

result<file> open_beneath(int root, const std::string& name, std::uint64_t resolve) noexcept {
  open_how how{};
  how.flags = open_flags;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | resolve;
  const long opened = ::syscall(SYS_openat2, root, name.c_str(), &how, sizeof how);
  if (opened < 0) return std::error_code{errno, std::generic_category()};
  return file{static_cast<int>(opened)};
}

status refusal_for(std::error_code why) noexcept {
  if (why == std::errc::permission_denied || why == std::errc::operation_not_permitted) {
    return status::forbidden;
  }
  if (why == std::errc::too_many_files_open || why == std::errc::too_many_files_open_in_system) {
    return status::service_unavailable;
  }
  for (const std::errc absent :
       {std::errc::no_such_file_or_directory, std::errc::not_a_directory,
        std::errc::filename_too_long, std::errc::cross_device_link,
        std::errc::too_many_symbolic_link_levels, std::errc::no_such_device_or_address}) {
    if (why == absent) return status::not_found;
  }
  return status::internal_server_error;
}

/// Whether a segment of the name begins with a dot.
bool is_hidden(std::string_view name) noexcept {
  constexpr std::string_view well_known = ".well-known/";
  if (name.starts_with(well_known)) name.remove_prefix(well_known.size());
  return name.starts_with('.') || name.find("/.") != std::string_view::npos;
}

void append_hexadecimal(std::string& text, std::int64_t number) {
  std::array<char, 20> digits;
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), number, 16).ptr;
  text.append(digits.data(), end);
}

std::string entity_tag(const struct stat& of) {
  std::string tag{'"'};
  append_hexadecimal(tag, of.st_mtim.tv_sec * 1'000'000'000 + of.st_mtim.tv_nsec);
  tag += '-';
  append_hexadecimal(tag, of.st_size);
  tag += '"';
  return tag;
}

/// Part of an open file.
class file_source final : public body_source {
 public:
  file_source(file opened, std::uint64_t offset, std::uint64_t size) noexcept
      : opened_(std::move(opened)), offset_(offset), size_(size) {}

  std::optional<std::uint64_t> size() const noexcept override { return size_; }
  task<result<std::size_t>> read(std::span<std::byte> into) override {
    auto got = co_await opened_.read(into, offset_);
    if (got) offset_ += *got;
    co_return got;
  }

 private:
  file opened_;
  std::uint64_t offset_;
  std::uint64_t size_;
};

}  // namespace

struct file_handler::description {
  std::uint64_t size = 0;
  wall_time changed;
  std::string tag;
};

file_handler::file_handler(const std::string& folder, file_options options)
    : root_(::open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)),
      options_(std::move(options)) {
  if (root_) return;
  const int why = errno;
  const std::error_code code{why, std::generic_category()};
  throw startup_error(code, "The folder " + folder + " cannot be served: " + code.message() +
                                "; name one that exists and may be read.");
}

task<response> file_handler::operator()(request& asked) {
  return serve(asked, asked.path());
}

// The cache answers at once or not at all. What is not in it is looked up by the ring, for the sake
// of the cache alone: what counts is always opened beneath the root.
task<result<file>> file_handler::open(std::string name) {
  const int root = root_.descriptor();
  result<file> opened = open_beneath(root, name, RESOLVE_CACHED);
  if (opened || opened.error() != std::errc::resource_unavailable_try_again) co_return opened;
  const auto looked_up = co_await file::open(
      std::string{"/proc/self/fd/"}.append(std::to_string(root)).append("/").append(name),
      O_PATH | O_NOFOLLOW);
  if (looked_up.has_error() && looked_up.error() == runnel::errc::cancelled) {
    co_return looked_up.error();
  }
  opened = open_beneath(root, name, RESOLVE_CACHED);
  if (opened || opened.error() != std::errc::resource_unavailable_try_again) co_return opened;
  co_return open_beneath(root, name, 0);
}

task<response> file_handler::serve(const request& asked, std::string_view path) {
  if (asked.method() != method::get && asked.method() != method::head) {
    co_return response::method_not_allowed(allowed_methods);
  }
  auto name = resolve_path(path);
  if (!name) co_return response::plain(status::bad_request);
  if (!options_.hidden && is_hidden(*name)) co_return response::plain(status::not_found);
  const bool named_folder = name->empty() || name->ends_with('/');
  if (named_folder) {
    if (options_.index.empty()) co_return response::plain(status::not_found);
    *name += options_.index;
  }
  auto opened = co_await open(*name);
  if (!opened) co_return response::plain(refusal_for(opened.error()));
  struct stat of {};
  if (::fstat(opened->descriptor(), &of) != 0) {
    co_return response::plain(status::internal_server_error);
  }
  if (S_ISDIR(of.st_mode) && !named_folder) {
    std::string location{path};
    location += '/';
    if (!asked.query().empty()) location.append("?").append(asked.query());
    co_return response::redirect(status::moved_permanently, location);
  }
  if (!S_ISREG(of.st_mode)) co_return response::plain(status::not_found);
  description found;
  found.size = static_cast<std::uint64_t>(of.st_size);
  found.changed = wall_time{std::chrono::seconds{of.st_mtim.tv_sec}};
  found.tag = entity_tag(of);
  auto made = co_await answer(asked, std::move(*opened), found, *name);
  co_return made;
}

task<response> file_handler::answer(const request& asked, file opened, const description& of,
                                    std::string_view name) {
  std::array<char, date_size> changed;
  format_date(of.changed, changed);
  response made;
  made.header("ETag", of.tag);
  made.header("Last-Modified", {changed.data(), changed.size()});
  const detail::file_version version{.tag = of.tag, .changed = of.changed};
  if (detail::is_unchanged(asked.headers(), version)) {
    made.set_status(status::not_modified);
    co_return made;
  }
  made.header("Accept-Ranges", "bytes");
  const detail::byte_range range = detail::wanted_range(asked.headers(), version, of.size);
  if (range.kind == detail::range_kind::unsatisfiable) {
    made.set_status(status::range_not_satisfiable);
    made.header("Content-Range", detail::content_range(range, of.size));
    co_return made;
  }
  if (range.kind == detail::range_kind::part) {
    made.set_status(status::partial_content);
    made.header("Content-Range", detail::content_range(range, of.size));
  }
  made.header("Content-Type", media_type(name));
  const bool ahead = range.size <= options_.read_ahead_bytes && asked.method() == method::get;
  if (!ahead) {
    made.set_body(std::make_unique<file_source>(std::move(opened), range.begin, range.size));
    co_return made;
  }
  std::string content(static_cast<std::size_t>(range.size), '\0');
  std::size_t filled = 0;
  while (filled < content.size()) {
    const auto room = std::as_writable_bytes(std::span{content}.subspan(filled));
    const auto got = co_await opened.read(room, range.begin + filled);
    if (!got || *got == 0) co_return response::plain(status::internal_server_error);
    filled += *got;
  }
  made.set_body(std::move(content));
  co_return made;
}

}  // namespace runnel::http
