#include "sim/sim_network.h"

#include <algorithm>

#include "base/assert.h"

namespace hf::sim {

HostId SimNetwork::add_host(std::string name) {
  hosts_.push_back({std::move(name)});
  return static_cast<HostId>(hosts_.size() - 1);
}

void SimNetwork::set_path(HostId a, HostId b, const PathOptions& options) {
  paths_[{a, b}] = options;
  paths_[{b, a}] = options;
}

const PathOptions& SimNetwork::path(HostId a, HostId b) const {
  const auto it = paths_.find({a, b});
  return it == paths_.end() ? path_default_ : it->second;
}

SimNetwork::Connection* SimNetwork::find(uint64_t number) {
  const auto it = connections_.find(number);
  return it == connections_.end() ? nullptr : &it->second;
}

void SimNetwork::schedule(Instant at, Todo todo, uint64_t number, int side) {
  events_[{at.ns, event_next_++}] = {todo, number, side};
}

Duration SimNetwork::latency(const PathOptions& options) {
  const uint64_t spread = static_cast<uint64_t>((options.latency_max - options.latency_min).ns);
  return options.latency_min + Duration{static_cast<int64_t>(prng_.below(spread + 1))};
}

// --- What hosts do.

void SimNetwork::set_reading(HostId host, bool reading, Instant now) {
  if (hosts_[host].reading == reading) return;
  hosts_[host].reading = reading;
  if (!reading) return;
  for (auto& [number, connection] : connections_) {
    for (int side = 0; side < 2; ++side) {
      if (connection.ends[1 - side].host == host) schedule_arrival(number, side, now);
    }
  }
}

ConnectionId SimNetwork::dial(HostId from, HostId to, Instant now) {
  const uint64_t number = connection_next_++;
  Connection& connection = connections_[number];
  connection.ends[0].host = from;
  connection.ends[0].open = true;
  connection.ends[1].host = to;
  schedule(now + latency(path(from, to)), Todo::kReachTarget, number, 0);
  schedule(now + dial_timeout_, Todo::kDialTimeout, number, 0);
  return id_of(number, 0);
}

uint64_t SimNetwork::unsent_of(const Connection& connection, int side) const {
  const Pipe& pipe = connection.ends[side].out;
  const uint64_t held = pipe.waiting.size() - pipe.waiting_begin;
  const uint64_t buffer =
      path(connection.ends[side].host, connection.ends[1 - side].host).socket_buffer_bytes;
  return held > buffer ? held - buffer : 0;
}

uint64_t SimNetwork::unsent_bytes(ConnectionId id) const {
  const auto it = connections_.find(number_of(id));
  return it == connections_.end() ? 0 : unsent_of(it->second, side_of(id));
}

uint64_t SimNetwork::send(ConnectionId id, Bytes bytes, Instant now) {
  const uint64_t number = number_of(id);
  const int side = side_of(id);
  Connection* connection = find(number);
  if (connection == nullptr || !connection->ends[side].open || connection->ends[side].out.ended) return 0;
  Pipe& pipe = connection->ends[side].out;
  pipe.waiting.append(bytes);
  pump(number, side, now);
  pipe.unsent_told = unsent_of(*connection, side);
  return pipe.unsent_told;
}

void SimNetwork::close(ConnectionId id, Instant now) {
  const uint64_t number = number_of(id);
  const int side = side_of(id);
  Connection* connection = find(number);
  if (connection == nullptr || !connection->ends[side].open) return;
  End& end = connection->ends[side];
  end.open = false;
  end.out.ending = true;
  discard(connection->ends[1 - side].out);  // Nobody is there to read it.
  pump(number, side, now);
  if (!end.out.ended) schedule(now + seconds(5), Todo::kGiveUp, number, side);
  drop_if_over(number);
}

// --- What befalls them.

void SimNetwork::block(HostId from, HostId to, bool blocked, Instant now) {
  if (blocked) {
    blocked_.insert({from, to});
    return;
  }
  if (blocked_.erase({from, to}) == 0) return;
  for (auto& [number, connection] : connections_) {
    for (int side = 0; side < 2; ++side) {
      if (connection.ends[side].host == from && connection.ends[1 - side].host == to) {
        schedule_arrival(number, side, now);
      }
    }
  }
}

void SimNetwork::black_hole(ConnectionId id) {
  if (Connection* connection = find(number_of(id)); connection != nullptr) connection->black_hole = true;
}

void SimNetwork::discard(Pipe& pipe) {
  pipe.waiting.clear();
  pipe.waiting_begin = 0;
  pipe.way.clear();
  pipe.way_bytes = 0;
}

void SimNetwork::reset(ConnectionId id, Instant now) {
  const uint64_t number = number_of(id);
  Connection* connection = find(number);
  if (connection == nullptr || !connection->established) return;
  for (int side = 0; side < 2; ++side) {
    // What was on the way before the reset may still arrive, up to any chunk; the rest is gone.
    Pipe& pipe = connection->ends[side].out;
    const uint64_t kept = prng_.below(pipe.way.size() + 1);
    while (pipe.way.size() > kept) {
      pipe.way_bytes -= pipe.way.back().bytes.size();
      pipe.way.pop_back();
    }
    pipe.waiting.clear();
    pipe.waiting_begin = 0;
    push_end(*connection, number, side, now);
  }
}

void SimNetwork::vanish(HostId host, bool silent, Instant now) {
  std::vector<uint64_t> numbers;
  for (const auto& [number, connection] : connections_) numbers.push_back(number);
  for (const uint64_t number : numbers) {
    Connection& connection = connections_.at(number);
    for (int side = 0; side < 2; ++side) {
      End& end = connection.ends[side];
      if (end.host != host || !end.open) continue;
      end.open = false;
      discard(connection.ends[1 - side].out);
      end.out.waiting.clear();
      end.out.waiting_begin = 0;
      if (silent) {
        discard(end.out);
      } else if (connection.established) {
        push_end(connection, number, side, now);
      }
      end.out.ended = true;
    }
    drop_if_over(number);
  }
}

std::vector<ConnectionId> SimNetwork::between(HostId a, HostId b) const {
  std::vector<ConnectionId> out;
  for (const auto& [number, connection] : connections_) {
    for (int side = 0; side < 2; ++side) {
      if (connection.established && connection.ends[side].open && connection.ends[side].host == a &&
          connection.ends[1 - side].host == b) {
        out.push_back(id_of(number, side));
      }
    }
  }
  return out;
}

std::vector<ConnectionId> SimNetwork::of(HostId host) const {
  std::vector<ConnectionId> out;
  for (const auto& [number, connection] : connections_) {
    for (int side = 0; side < 2; ++side) {
      if (connection.established && connection.ends[side].open && connection.ends[side].host == host) {
        out.push_back(id_of(number, side));
      }
    }
  }
  return out;
}

HostId SimNetwork::peer_of(ConnectionId id) const {
  return connections_.at(number_of(id)).ends[1 - side_of(id)].host;
}

// --- Pipes.

void SimNetwork::pump(uint64_t number, int side, Instant now) {
  Connection& connection = connections_.at(number);
  if (!connection.established) return;
  Pipe& pipe = connection.ends[side].out;
  if (pipe.ended) return;
  const PathOptions& options = path(connection.ends[side].host, connection.ends[1 - side].host);
  while (pipe.waiting_begin < pipe.waiting.size() && pipe.way_bytes < options.on_the_way_bytes_max) {
    if (pipe.line_free > now) {
      if (!pipe.pump_scheduled) schedule(pipe.line_free, Todo::kPump, number, side);
      pipe.pump_scheduled = true;
      break;
    }
    // Small chunks as often as large ones: the exponent is what is uniform.
    uint64_t size = 1 + prng_.below(uint64_t{1} << prng_.below(17));
    size = std::min({size, options.chunk_bytes_max, pipe.waiting.size() - pipe.waiting_begin});
    // Not many thousands of events for a long run of bytes.
    if (pipe.waiting.size() - pipe.waiting_begin > 4096)
      size = std::max(size, std::min<uint64_t>(1024, options.chunk_bytes_max));
    Chunk chunk;
    chunk.bytes = pipe.waiting.substr(pipe.waiting_begin, size);
    pipe.waiting_begin += size;
    pipe.way_bytes += size;
    if (options.bytes_per_s > 0) {
      pipe.line_free = now + Duration{static_cast<int64_t>(size * 1'000'000'000 / options.bytes_per_s)};
    } else {
      pipe.line_free = now;
    }
    chunk.at = std::max(pipe.line_free + latency(options), pipe.arrival_last);
    pipe.arrival_last = chunk.at;
    pipe.way.push_back(std::move(chunk));
  }
  if (pipe.waiting_begin == pipe.waiting.size()) {
    pipe.waiting.clear();
    pipe.waiting_begin = 0;
    if (pipe.ending) push_end(connection, number, side, now);
  } else if (pipe.waiting_begin > (1 << 20)) {
    pipe.waiting.erase(0, pipe.waiting_begin);
    pipe.waiting_begin = 0;
  }
  schedule_arrival(number, side, now);
}

void SimNetwork::push_end(Connection& connection, uint64_t number, int side, Instant now) {
  Pipe& pipe = connection.ends[side].out;
  if (pipe.ended) return;
  pipe.ended = true;
  Chunk chunk;
  chunk.end = true;
  chunk.at = std::max(now + latency(path(connection.ends[side].host, connection.ends[1 - side].host)),
                      pipe.arrival_last);
  pipe.arrival_last = chunk.at;
  pipe.way.push_back(std::move(chunk));
  schedule_arrival(number, side, now);
}

void SimNetwork::schedule_arrival(uint64_t number, int side, Instant now) {
  Pipe& pipe = connections_.at(number).ends[side].out;
  if (pipe.way.empty() || pipe.arrival_scheduled) return;
  pipe.arrival_scheduled = true;
  schedule(std::max(now, pipe.way.front().at), Todo::kArrive, number, side);
}

void SimNetwork::arrive(uint64_t number, int side, Instant now, std::vector<Event>* out) {
  Connection& connection = connections_.at(number);
  End& from = connection.ends[side];
  End& to = connection.ends[1 - side];
  from.out.arrival_scheduled = false;
  if (from.out.way.empty()) return;
  if (from.out.way.front().at > now) {  // The chunk it was scheduled for is gone, and others follow.
    schedule_arrival(number, side, now);
    return;
  }
  if (connection.black_hole || blocked_.contains({from.host, to.host})) return;
  if (to.open && !hosts_[to.host].reading && !from.out.way.front().end) return;

  Chunk chunk = std::move(from.out.way.front());
  from.out.way.pop_front();
  from.out.way_bytes -= chunk.bytes.size();
  if (!to.open) {
    // The host forgot this connection: it says so when it is there. It closed it itself: its FIN is on the way.
    if (from.open && hosts_[to.host].listening && to.out.ended && to.out.way.empty()) {
      schedule(now + latency(path(to.host, from.host)), Todo::kResetByHost, number, side);
    }
    discard(from.out);
    drop_if_over(number);
    return;
  }
  if (chunk.end) {
    to.open = false;
    to.out.ended = true;
    if (!from.open) discard(to.out);  // Else it was a reset, and its other half is on the way.
    out->push_back({Event::Kind::kClosed, to.host, id_of(number, 1 - side), {}, 0});
    drop_if_over(number);
    return;
  }
  delivered_[{from.host, to.host}] += chunk.bytes.size();
  out->push_back({Event::Kind::kBytes, to.host, id_of(number, 1 - side), std::move(chunk.bytes), 0});
  pump(number, side, now);
  schedule_arrival(number, side, now);
  tell_unsent(number, side, out);
}

void SimNetwork::tell_unsent(uint64_t number, int side, std::vector<Event>* out) {
  Connection& connection = connections_.at(number);
  End& end = connection.ends[side];
  const uint64_t unsent = unsent_of(connection, side);
  if (!end.open || end.out.unsent_told == 0) return;
  // Not for every packet: at nothing, or when half of what was told is gone.
  if (unsent > 0 && unsent > end.out.unsent_told / 2) return;
  end.out.unsent_told = unsent;
  out->push_back({Event::Kind::kUnsent, end.host, id_of(number, side), {}, unsent});
}

void SimNetwork::drop_if_over(uint64_t number) {
  // Nobody is left who could notice what is still on the way.
  const auto it = connections_.find(number);
  if (it != connections_.end() && !it->second.ends[0].open && !it->second.ends[1].open)
    connections_.erase(it);
}

// --- Time.

std::optional<Instant> SimNetwork::next() const {
  if (events_.empty()) return std::nullopt;
  return Instant{events_.begin()->first.first};
}

void SimNetwork::advance(Instant now, std::vector<Event>* out) {
  while (!events_.empty() && events_.begin()->first.first <= now.ns) {
    const Instant at{events_.begin()->first.first};
    const Scheduled event = events_.begin()->second;
    events_.erase(events_.begin());
    if (connections_.contains(event.connection)) run(event, at, out);
  }
}

void SimNetwork::run(const Scheduled& event, Instant now, std::vector<Event>* out) {
  const uint64_t number = event.connection;
  Connection& connection = connections_.at(number);
  End& dialer = connection.ends[0];
  End& target = connection.ends[1];
  switch (event.todo) {
    case Todo::kReachTarget:
      if (!dialer.open) {
        connections_.erase(number);
      } else if (blocked_.contains({dialer.host, target.host}) ||
                 blocked_.contains({target.host, dialer.host})) {
        // SYN is sent again every second until the dial times out.
        schedule(now + seconds(1), Todo::kReachTarget, number, 0);
      } else if (!hosts_[target.host].listening) {
        dialer.open = false;
        out->push_back({Event::Kind::kRefused, dialer.host, id_of(number, 0), "connection refused", 0});
        connections_.erase(number);
      } else {
        connection.established = true;
        target.open = true;
        out->push_back({Event::Kind::kAccepted, target.host, id_of(number, 1), {}, 0});
        // Nothing overtakes the handshake.
        target.out.arrival_last = now + latency(path(target.host, dialer.host));
        schedule(target.out.arrival_last, Todo::kReachDialer, number, 0);
      }
      return;
    case Todo::kReachDialer:
      if (dialer.open) out->push_back({Event::Kind::kDialed, dialer.host, id_of(number, 0), {}, 0});
      return;
    case Todo::kDialTimeout:
      if (connection.established) return;
      if (dialer.open) out->push_back({Event::Kind::kRefused, dialer.host, id_of(number, 0), "timed out", 0});
      connections_.erase(number);
      return;
    case Todo::kPump:
      connection.ends[event.side].out.pump_scheduled = false;
      pump(number, event.side, now);
      if (connections_.contains(number)) tell_unsent(number, event.side, out);
      return;
    case Todo::kArrive:
      arrive(number, event.side, now, out);
      return;
    case Todo::kGiveUp: {
      Pipe& pipe = connection.ends[event.side].out;
      if (pipe.ended) return;
      pipe.waiting.clear();
      pipe.waiting_begin = 0;
      push_end(connection, number, event.side, now);
      return;
    }
    case Todo::kResetByHost: {
      End& end = connection.ends[event.side];
      if (!end.open || connection.black_hole) return;
      if (blocked_.contains({connection.ends[1 - event.side].host, end.host})) return;
      end.open = false;
      end.out.ended = true;
      discard(end.out);
      out->push_back({Event::Kind::kClosed, end.host, id_of(number, event.side), {}, 0});
      drop_if_over(number);
      return;
    }
  }
}

uint64_t SimNetwork::delivered_bytes(HostId from, HostId to) const {
  const auto it = delivered_.find({from, to});
  return it == delivered_.end() ? 0 : it->second;
}

}  // namespace hf::sim
