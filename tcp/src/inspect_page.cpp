#include "inspect_page.hpp"

#include <utility>

#include "shards_view.hpp"

// What a request shows of one host or of several shards of one.

namespace runnel::tcp::detail {

namespace {

/// A listener for any address of an IPv4 host is one for 0.0.0.0, as ss shows it.
net::address shown_address(const host& engine, const net::address& bound) noexcept {
  if (bound.family() != net::family::unspecified) return bound;
  for (const net::address& each : engine.addresses()) {
    if (each.is_v6()) return bound;
  }
  return net::address::any(net::family::v4);
}

}  // namespace

inspect_page::inspect_page(inspect_request wanted) : request_(std::move(wanted)) {
  format_.state_column = !request_.states.single();
  format_.timers = request_.timers;
  format_.info = request_.info;
  format_.memory = request_.memory;
  format_.one_line = request_.one_line;
}

void inspect_page::add_row(std::string& out, const snapshot& row, time_point now) {
  if (!request_.states.contains(row.state)) return;
  if (!request_.filter.matches(row.local, row.remote)) return;
  if (request_.json) {
    json_writer writer = json(out);
    append_json(writer, format_, row, now);
  } else {
    append_row(out, format_, row, now);
  }
  out += '\n';
}

void inspect_page::add_row(std::string& out, const host& engine, const listener_snapshot& of) {
  listener_snapshot row = of;
  row.local.address = shown_address(engine, row.local.address);
  if (!request_.states.contains(state::listen) || !request_.filter.matches(row.local, {})) return;
  if (request_.json) {
    json_writer writer = json(out);
    append_json(writer, format_, row);
  } else {
    append_row(out, format_, row);
  }
  out += '\n';
}

void inspect_page::begin(std::string& out) {
  if (std::exchange(begun_, true) || request_.view != inspect_view::sockets) return;
  if (request_.json) {
    json(out).open('{').open('[', "sockets");
    out += '\n';
  } else if (!request_.no_header) {
    append_header(out, format_);
  }
}

bool inspect_page::look_at_sockets(std::string& out, const host& engine, time_point now) {
  constexpr std::uint32_t step = 32;
  for (std::uint32_t seen = 0;
       seen < inspection::places_per_part && out.size() < inspection::part_bytes; seen += step) {
    if (listeners_left_) {
      listeners_left_ = engine.walk_listeners(
          listener_at_, step, [&](const listener_snapshot& row) { add_row(out, engine, row); });
      continue;
    }
    const bool more =
        engine.walk_connections(at_, step, [&](const snapshot& row) { add_row(out, row, now); });
    if (!more) return false;
  }
  return true;
}

bool inspect_page::look_for_summary(const host& engine) {
  if (fresh_) {
    engine.for_each_listener(
        [&](const listener_snapshot& row) { sums_.add(state::listen, row.local.address); });
  }
  const bool more = engine.walk_full_connections(at_, inspection::places_per_part,
                                                 [&](const snapshot& row) { sums_.add(row); });
  if (!more) sums_.add(engine.memory());
  return more;
}

bool inspect_page::look_for_diagnosis(const host& engine, time_point now) {
  if (fresh_) seen_.begin(engine);
  const bool more = engine.walk_connections(at_, inspection::places_per_part,
                                            [&](const snapshot& row) { seen_.add(row, {}, now); });
  if (!more) seen_.end(engine);
  return more;
}

bool inspect_page::look(std::string& out, const host& engine, time_point now) {
  begin(out);
  bool more = false;
  switch (request_.view) {
    case inspect_view::sockets:
      more = look_at_sockets(out, engine, now);
      break;
    case inspect_view::summary:
      more = look_for_summary(engine);
      break;
    case inspect_view::diagnosis:
      more = look_for_diagnosis(engine, now);
      break;
    case inspect_view::counters:
      break;
  }
  fresh_ = !more;
  if (!more) {
    add(all_, look_at(engine));
    listeners_left_ = true;
    listener_at_ = {};
    at_ = {};
  }
  return more;
}

void inspect_page::finish(std::string& out) {
  begin(out);
  switch (request_.view) {
    case inspect_view::sockets:
      if (!request_.json) return;
      json(out).close(']').close('}');
      break;
    case inspect_view::summary:
      if (!request_.json) return append_summary(out, sums_, all_);
      append_summary_json(json(out), sums_, all_);
      break;
    case inspect_view::diagnosis:
      if (!request_.json) return append_findings(out, conclude(seen_, {}));
      append_findings_json(json(out), conclude(seen_, {}));
      break;
    case inspect_view::counters:
      if (!request_.json) return append_counters(out, all_.counters, request_);
      append_counters_json(json(out), all_.counters, request_);
      break;
  }
  out += '\n';
}

}  // namespace runnel::tcp::detail
