#include "holdfast/metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "holdfast/version.h"

namespace hf::holdfast {

namespace {

using Labels = std::initializer_list<std::pair<std::string_view, std::string_view>>;

// "0.0025", and never with an exponent that some readers do not know.
std::string seconds_text(uint64_t ns) {
  std::string text = fmt::format("{}.{:09}", ns / 1'000'000'000, ns % 1'000'000'000);
  while (text.ends_with('0')) text.pop_back();
  if (text.ends_with('.')) text.pop_back();
  return text;
}
std::string seconds_text(Duration duration) {
  return seconds_text(static_cast<uint64_t>(std::max<int64_t>(duration.ns, 0)));
}

class Page {
 public:
  // Begins a metric; its samples follow.
  void metric(std::string_view name, const char* type, std::string_view help) {
    name_ = name;
    out_ += fmt::format("# HELP holdfast_{} {}\n# TYPE holdfast_{} {}\n", name, help, name, type);
  }
  void sample(Labels labels, std::string_view value, std::string_view suffix = "") {
    out_ += "holdfast_";
    out_ += name_;
    out_ += suffix;
    if (labels.size() > 0) {
      char before = '{';
      for (const auto& [name, text] : labels) {
        out_ += before;
        out_ += fmt::format("{}=\"{}\"", name, escaped(text));
        before = ',';
      }
      out_ += '}';
    }
    out_ += ' ';
    out_ += value;
    out_ += '\n';
  }
  void sample(Labels labels, uint64_t value) { sample(labels, std::to_string(value)); }

  void gauge(std::string_view name, std::string_view help, uint64_t value) {
    metric(name, "gauge", help);
    sample({}, value);
  }
  void counter(std::string_view name, std::string_view help, uint64_t value) {
    metric(name, "counter", help);
    sample({}, value);
  }
  void histogram(std::string_view name, std::string_view help, const Histogram& histogram) {
    metric(name, "histogram", help);
    uint64_t sum = 0;
    for (size_t i = 0; i < Histogram::kBounds.size(); ++i) {
      sum += histogram.in(i);
      sample({{"le", seconds_text(Histogram::kBounds[i])}}, std::to_string(sum), "_bucket");
    }
    sample({{"le", "+Inf"}}, std::to_string(histogram.count()), "_bucket");
    sample({}, seconds_text(histogram.sum_ns()), "_sum");
    sample({}, std::to_string(histogram.count()), "_count");
  }

  std::string take() { return std::move(out_); }

 private:
  static std::string escaped(std::string_view text) {
    std::string out;
    for (const char c : text) {
      if (c == '\\' || c == '"') out += '\\';
      out += c == '\n' ? std::string("\\n") : std::string(1, c);
    }
    return out;
  }

  std::string out_;
  std::string name_;
};

void add_mqtt(Page& page, const node::Status& status) {
  const broker::Counters& broker = status.broker;
  page.gauge("mqtt_connections", "MQTT connections that stand now.", broker.connections);
  page.metric("mqtt_connects_total", "counter", "CONNECTs since the start, by what came of them.");
  page.sample({{"result", "accepted"}}, broker.connects_accepted);
  page.sample({{"result", "refused"}}, broker.connects_refused);
  constexpr std::string_view kQos[] = {"0", "1", "2"};
  page.metric("mqtt_messages_received_total", "counter", "PUBLISHes that clients sent, by QoS.");
  for (size_t qos = 0; qos < 3; ++qos) page.sample({{"qos", kQos[qos]}}, broker.publishes_received[qos]);
  page.metric("mqtt_messages_sent_total", "counter", "PUBLISHes that were sent to clients, by QoS.");
  for (size_t qos = 0; qos < 3; ++qos) page.sample({{"qos", kQos[qos]}}, broker.publishes_sent[qos]);
  page.histogram("mqtt_publish_ack_seconds",
                 "From a PUBLISH of QoS 1 or 2 to its acknowledgement, which waits for the disk.",
                 broker.publish_acks);
  page.counter("mqtt_messages_refused_total",
               "PUBLISHes that were not taken: no space, too large, not allowed.", broker.publishes_refused);
  page.counter("mqtt_received_bytes_total", "Bytes of MQTT packets that clients sent.",
               broker.bytes_received);
  page.counter("mqtt_sent_bytes_total", "Bytes of MQTT packets that were sent to clients.",
               broker.bytes_sent);
  page.counter("mqtt_protocol_errors_total", "Connections that ended because of what the client sent.",
               broker.protocol_errors);
  page.counter("mqtt_slow_disconnects_total", "Clients that were disconnected because they did not read.",
               broker.slow_disconnected);
  page.counter("mqtt_sessions_expired_total",
               "Sessions that ended because their client did not come back in time.",
               broker.sessions_expired);
  page.metric("mqtt_limits_total", "counter", "How often a bound on clients was met, by which.");
  for (size_t i = 0; i < broker::kLimitCount; ++i)
    page.sample({{"limit", broker::limit_name(static_cast<broker::Limit>(i))}}, broker.limits[i]);
  page.counter("mqtt_not_authorized_total",
               "PUBLISHes, filters and deliveries that a client had no right to.", broker.not_authorized);
}

void add_store(Page& page, const node::Status& status, const io::LoopFigures& loop) {
  const store::Figures& store = status.store;
  page.metric("store_bytes", "gauge", "Disk that the store takes: spare gives way when space is short.");
  const uint64_t spare = std::min(store.spare_bytes, store.file_bytes);
  page.sample({{"state", "needed"}}, store.file_bytes - spare);
  page.sample({{"state", "spare"}}, spare);
  page.gauge("store_quota_bytes", "Disk that the store may take.", store.quota_bytes);
  page.gauge("store_free_bytes", "Free space of the file system.", store.free_bytes);
  page.histogram("store_fsync_seconds", "One commit on the disk: sealing, one write, one sync.",
                 loop.commits);
  page.counter("store_fsync_failures_total", "Commits whose write or sync failed.", store.sync_failures);
  page.counter("store_commits_total", "Commits since the start.", store.commits);
  page.counter("store_records_total", "Records that were appended since the start.", store.records);
  page.counter("store_written_bytes_total", "Bytes that commits wrote.", store.ingest_bytes);
  page.counter("store_rewritten_bytes_total", "Bytes that rewrites and indexes wrote.", store.rewrite_bytes);
  page.counter("store_corrupt_blocks_total", "Frames that were found rotten and set aside.",
               store.frames_rotten);
  page.metric("store_gap_records_total", "counter", "Gap records since the store was made, by cause.");
  for (const auto& gap : status.gaps_by_cause) page.sample({{"cause", gap.cause}}, gap.gaps);
  page.metric("store_mode", "gauge", "1 for what the store does now.");
  for (const store::Mode mode :
       {store::Mode::kReady, store::Mode::kFull, store::Mode::kDegraded, store::Mode::kStorageFailed})
    page.sample({{"mode", store::mode_name(mode)}}, mode == status.mode ? 1 : 0);
  page.gauge("store_row_bytes",
             "Memory that holds table rows: sessions, subscriptions, retained messages, gap records.",
             store.row_bytes);
  page.gauge("store_cache_bytes", "Memory that holds what was written or read last.", store.cache_bytes);
}

void add_queue(Page& page, const node::Status& status) {
  const node::LinkStatus& link = status.link;
  page.metric("queue_messages", "gauge",
              "Records that the parent is owed, by the priority of their streams.");
  for (const auto& lane : link.lanes) page.sample({{"priority", std::to_string(lane.priority)}}, lane.count);
  page.metric("queue_bytes", "gauge", "Their bytes.");
  for (const auto& lane : link.lanes) page.sample({{"priority", std::to_string(lane.priority)}}, lane.bytes);
  page.metric("queue_oldest_age_seconds", "gauge", "How long ago the oldest of them came; 0 without one.");
  for (const auto& lane : link.lanes) {
    const int64_t age_us =
        lane.oldest_wall_us ? std::max<int64_t>(status.wall_us - *lane.oldest_wall_us, 0) : 0;
    page.sample({{"priority", std::to_string(lane.priority)}}, seconds_text(microseconds(age_us)));
  }
  // Clients: sessions and share groups. Who of them is not a label; `holdfast queue ls` says it.
  page.metric("owed_messages", "gauge",
              "Stored messages that somebody is owed, by whom; one for each who is owed it.");
  page.sample({{"to", "parent"}}, link.backlog_count);
  page.sample({{"to", "nodes"}}, status.nodes_owed_count);
  page.sample({{"to", "clients"}}, status.store.owed_count);
  page.metric("owed_bytes", "gauge", "Their bytes.");
  page.sample({{"to", "parent"}}, link.backlog_bytes);
  page.sample({{"to", "nodes"}}, status.nodes_owed_bytes);
  page.sample({{"to", "clients"}}, status.store.owed_bytes);
  page.metric("queue_dropped_total", "counter", "Messages that somebody was owed and did not get, by cause.");
  page.sample({{"cause", "slow_reader"}}, status.broker.qos0_dropped);
  page.sample({{"cause", "message_expired"}}, status.broker.expired);
  page.sample({{"cause", "too_large"}}, status.broker.deliveries_too_large);
  page.sample({{"cause", "refused"}}, status.broker.deliveries_refused);
  for (const auto& gap : status.gaps_by_cause)
    page.sample({{"cause", fmt::format("gap_{}", gap.cause)}}, gap.records);
}

void add_link(Page& page, const node::Status& status) {
  page.gauge("nodes_registered", "Nodes below that are registered here.", status.nodes_registered);
  page.gauge("nodes_connected", "Those of them that are connected.", status.nodes_connected);
  const node::LinkStatus& link = status.link;
  if (!link.configured) return;
  page.gauge("link_up", "1 while the parent is connected and records flow.", link.up ? 1 : 0);
  page.metric("link_state_seconds", "gauge", "For how long it has been as it is.");
  page.sample({}, seconds_text(link.since));
  page.counter("link_drain_bytes_total", "Bytes that were sent to the parent.", link.sent_bytes);
  page.counter("link_received_bytes_total", "Bytes that came from the parent.", link.received_bytes);
  page.counter("link_records_sent_total", "Records that were sent to the parent.", link.records_sent);
  page.counter("link_records_receipted_total", "Records that the parent has said to have.",
               link.records_receipted);
  page.counter("link_repeats_total", "Records that came again and were recognised.", link.repeats_ignored);
  if (link.up && link.goodput_bytes_s > 0) {
    page.gauge("link_eta_seconds", "When the backlog will have been sent, at the rate of now.",
               link.backlog_bytes / link.goodput_bytes_s);
  }
}

void add_doors(Page& page, const node::Status& status, const io::LoopFigures& loop) {
  page.metric("handshakes_total", "counter", "TLS, WebSocket and PROXY handshakes, by what came of them.");
  page.sample({{"result", "done"}}, loop.doors.done);
  page.sample({{"result", "failed"}}, loop.doors.failed);
  page.sample({{"result", "timed_out"}}, loop.doors.timed_out);
  page.sample({{"result", "evicted"}}, loop.doors.evicted);
  page.sample({{"result", "throttled"}}, loop.doors.throttled);
  page.metric("connections_turned_away_total", "counter",
              "Connections that were closed because of their address before they said a word, by why.");
  page.sample({{"reason", "unfinished"}}, status.turned_away.unfinished);
  page.sample({{"reason", "rate"}}, status.turned_away.rate);
  if (!loop.certificates.empty()) {
    page.metric("cert_expiry_seconds", "gauge",
                "Until the certificate that is shown there is good no more; below 0 since then.");
    for (const io::CertificateFigures& shown : loop.certificates) {
      page.sample({{"listener", shown.listener}},
                  std::to_string(shown.not_after_s - loop.now.wall_us / 1'000'000));
    }
  }
  const auto dated = [](const io::CertificateFigures& shown) { return shown.crl_made_s.has_value(); };
  if (std::any_of(loop.certificates.begin(), loop.certificates.end(), dated)) {
    page.metric("crl_age_seconds", "gauge", "How long ago the oldest revocation list there was made.");
    for (const io::CertificateFigures& shown : loop.certificates) {
      if (!dated(shown)) continue;
      page.sample({{"listener", shown.listener}},
                  std::to_string(std::max<int64_t>(loop.now.wall_us / 1'000'000 - *shown.crl_made_s, 0)));
    }
  }
  page.gauge("handshakes_unfinished", "Handshakes that go on now.", loop.openings);
  page.gauge("preauth_bytes", "Memory that holds bytes of those who have not said who they are.",
             loop.preauth_bytes + status.broker.connect_bytes);
  page.gauge("connections", "Connections of every kind.", loop.connections);
  page.gauge("http_connections", "Connections that speak HTTP.", loop.https);
  page.counter("http_requests_total", "HTTP requests that were read.", loop.http.requests);
  page.metric("http_refusals_total", "counter",
              "HTTP connections and requests that were turned away, by why.");
  page.sample({{"reason", "limit"}}, loop.http.refused);
  page.sample({{"reason", "malformed"}}, loop.http.malformed);
  page.sample({{"reason", "timed_out"}}, loop.http.timed_out);
}

void add_logins(Page& page, const node::LoginFailures& logins, const TokenFailures& tokens) {
  page.metric("auth_failures_total", "counter", "Logins that were refused, by why.");
  page.sample({{"reason", "credentials"}}, logins.credentials);
  page.sample({{"reason", "not_authorized"}}, logins.not_authorized);
  page.sample({{"reason", "throttled"}}, logins.throttled);
  page.sample({{"reason", "busy"}}, logins.busy);
  page.sample({{"reason", "method"}}, logins.method);
  page.sample({{"reason", "other"}}, logins.other);
  page.sample({{"reason", "token_missing"}}, tokens.missing);
  page.sample({{"reason", "token_wrong"}}, tokens.wrong);
  page.sample({{"reason", "token_throttled"}}, tokens.throttled);
  page.sample({{"reason", "token_role"}}, tokens.role);
}

}  // namespace

std::string metrics_text(const StatusView& view, const io::LoopFigures& loop, const TokenFailures& tokens) {
  Page page;
  page.metric("build_info", "gauge", "Always 1; the version is its label.");
  page.sample({{"version", kVersion}}, 1);
  page.gauge("locked", "1 while the store cannot be opened with the key that is there.",
             view.locked.empty() ? 0 : 1);
  if (view.locked.empty()) {
    page.metric("uptime_seconds", "gauge", "Since the start.");
    page.sample({}, seconds_text(view.status.uptime));
    page.gauge("time_quality", "How far the clock may be believed: 0 unknown to 6 GNSS.",
               static_cast<uint64_t>(view.status.clock_quality));
    add_mqtt(page, view.status);
    add_store(page, view.status, loop);
    add_queue(page, view.status);
    add_link(page, view.status);
  }
  add_doors(page, view.status, loop);
  add_logins(page, view.status.login_failures, tokens);
  return page.take();
}

}  // namespace hf::holdfast
