#include <optional>

#include "inspect_tables.hpp"

// An answer in parts, and which page it is.

namespace runnel::tcp {

struct inspection::impl {
  impl(const host& of, inspect_request wanted) : engine(&of), request(std::move(wanted)) {
    format.state_column = !request.states.single();
    format.timers = request.timers;
    format.info = request.info;
    format.memory = request.memory;
    format.one_line = request.one_line;
    if (request.view == inspect_view::diagnosis) doctor.emplace(of);
  }

  detail::json_writer json(std::string& out) noexcept { return {out, json_first}; }
  bool next_sockets(std::string& out, time_point now);
  bool next_summary(std::string& out);
  bool next_diagnosis(std::string& out, time_point now);
  void add_row(std::string& out, const snapshot& row, time_point now);
  void add_row(std::string& out, const listener_snapshot& of);
  net::address shown_address(const net::address& bound) const noexcept;

  const host* engine;
  inspect_request request;
  detail::row_format format;
  bool started = false;
  bool json_first = true;
  bool listeners_left = true;
  walk_position listener_at;
  walk_position at;
  detail::summary sums;
  std::optional<diagnosis> doctor;
};

/// A listener for any address of an IPv4 host is one for 0.0.0.0, as ss shows it.
net::address inspection::impl::shown_address(const net::address& bound) const noexcept {
  if (bound.family() != net::family::unspecified) return bound;
  for (const net::address& each : engine->addresses()) {
    if (each.is_v6()) return bound;
  }
  return net::address::any(net::family::v4);
}

void inspection::impl::add_row(std::string& out, const snapshot& row, time_point now) {
  if (!request.states.contains(row.state) || !request.filter.matches(row.local, row.remote)) return;
  if (request.json) {
    detail::json_writer writer = json(out);
    append_json(writer, format, row, now);
    out += '\n';
    return;
  }
  detail::append_row(out, format, row, now);
  out += '\n';
}

void inspection::impl::add_row(std::string& out, const listener_snapshot& of) {
  listener_snapshot row = of;
  row.local.address = shown_address(row.local.address);
  if (!request.states.contains(state::listen) || !request.filter.matches(row.local, {})) return;
  if (request.json) {
    detail::json_writer writer = json(out);
    append_json(writer, format, row);
    out += '\n';
    return;
  }
  detail::append_row(out, format, row);
  out += '\n';
}

bool inspection::impl::next_sockets(std::string& out, time_point now) {
  if (!started) {
    started = true;
    if (request.json) {
      json(out).open('{').open('[', "sockets");
      out += '\n';
    } else if (!request.no_header) {
      detail::append_header(out, format);
    }
  }
  constexpr std::uint32_t step = 32;
  for (std::uint32_t seen = 0; seen < places_per_part && out.size() < part_bytes; seen += step) {
    if (listeners_left) {
      listeners_left = engine->walk_listeners(
          listener_at, step, [&](const listener_snapshot& row) { add_row(out, row); });
      continue;
    }
    const bool more =
        engine->walk_connections(at, step, [&](const snapshot& row) { add_row(out, row, now); });
    if (more) continue;
    if (request.json) {
      json(out).close(']').close('}');
      out += '\n';
    }
    return false;
  }
  return true;
}

bool inspection::impl::next_summary(std::string& out) {
  if (!started) {
    started = true;
    engine->for_each_listener(
        [&](const listener_snapshot& row) { sums.add(state::listen, row.local.address); });
  }
  if (engine->walk_connections(at, places_per_part, [&](const snapshot& row) { sums.add(row); })) {
    return true;
  }
  if (request.json) {
    append_summary_json(json(out), sums, *engine);
    out += '\n';
  } else {
    detail::append_summary(out, sums, *engine);
  }
  return false;
}

bool inspection::impl::next_diagnosis(std::string& out, time_point now) {
  if (doctor->step(places_per_part, now)) return true;
  if (request.json) {
    append_findings_json(json(out), doctor->findings());
    out += '\n';
  } else {
    detail::append_findings(out, doctor->findings());
  }
  return false;
}

inspection::inspection(const host& engine, inspect_request request)
    : impl_(std::make_unique<impl>(engine, std::move(request))) {}
inspection::inspection(inspection&&) noexcept = default;
inspection& inspection::operator=(inspection&&) noexcept = default;
inspection::~inspection() = default;

bool inspection::next(std::string& out, time_point now) {
  impl& self = *impl_;
  switch (self.request.view) {
    case inspect_view::sockets:
      return self.next_sockets(out, now);
    case inspect_view::summary:
      return self.next_summary(out);
    case inspect_view::diagnosis:
      return self.next_diagnosis(out, now);
    case inspect_view::counters:
      break;
  }
  if (self.request.json) {
    append_counters_json(self.json(out), self.engine->counters(), self.request);
    out += '\n';
  } else {
    detail::append_counters(out, self.engine->counters(), self.request);
  }
  return false;
}

std::string inspect(const host& engine, const inspect_request& request, time_point now) {
  std::string out;
  inspection answer(engine, request);
  while (true) {
    std::string part;
    const bool more = answer.next(part, now);
    out += part;
    if (!more) return out;
  }
}

}  // namespace runnel::tcp
