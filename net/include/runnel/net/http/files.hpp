#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "runnel/file.hpp"
#include "runnel/net/http/request.hpp"
#include "runnel/net/http/response.hpp"
#include "runnel/task.hpp"

namespace runnel::http {

/// How files are served.
struct file_options {
  /// What is served for a folder; empty: nothing. A folder is never listed.
  std::string index = "index.html";
  /// Files up to this many bytes are read before the response begins and leave with its header;
  /// longer ones are read while they are sent.
  std::size_t read_ahead_bytes = std::size_t{32} << 10;
  /// Whether names that begin with a dot are served; ".well-known" always is.
  bool hidden = false;
};

/// A handler that serves the regular files below one folder, for GET and HEAD: media types by name,
/// Last-Modified and ETag with 304, a single byte range with 206.
///
/// No request leads out of the folder, by ".." or by a symbolic link: every file is opened with
/// openat2(2) and RESOLVE_BENEATH. Opening looks into the kernel's caches first and lets the ring
/// fetch what is not there; reading goes through the loop, so neither holds it up. A file that
/// changes while it is sent breaks the connection off where the length no longer holds.
class file_handler {
 public:
  /// Throws `startup_error`, which is one sentence, when `folder` cannot be opened. Relative to the
  /// current folder of this moment.
  explicit file_handler(const std::string& folder, file_options options = {});

  /// Answers for the path of the request. It must outlive the task.
  task<response> operator()(request& asked);
  /// Answers for another path, percent-encoded, such as what is left behind a prefix.
  task<response> serve(const request& asked, std::string_view path);

 private:
  struct description;

  task<result<file>> open(std::string name);
  task<response> answer(const request& asked, file opened, const description& of,
                        std::string_view name);

  file root_;
  file_options options_;
};

}  // namespace runnel::http
