#include "holdfast/status_text.h"

#include <fmt/format.h>

#include <algorithm>

#include "holdfast/text.h"
#include "holdfast/units.h"

namespace hf::holdfast {

namespace {

using store::Mode;

// "41,220 messages (6.1 MB)"
std::string amount(uint64_t count, uint64_t bytes) {
  return fmt::format("{} ({})", format_counted(count, "message", "messages"), format_size(bytes));
}

// How long ago; nothing for a moment that lies ahead (a clock was set back).
std::optional<Duration> ago(const node::Status& status, std::optional<int64_t> wall_us) {
  if (!wall_us || *wall_us > status.wall_us) return std::nullopt;
  return microseconds(status.wall_us - *wall_us);
}

std::string backlog(const node::Status& status) {
  const node::LinkStatus& link = status.link;
  std::string text = amount(link.backlog_count, link.backlog_bytes) + " safe";
  if (const auto age = ago(status, link.oldest_wall_us)) text += ", oldest " + format_duration(*age);
  return text + ".";
}

// What the link is about, or who this node is without one.
std::string link_sentence(const node::Status& status) {
  const node::LinkStatus& link = status.link;
  if (!link.configured) {
    std::string said =
        status.nodes_registered == 0
            ? fmt::format("Standalone: no upstream is set. {} on disk.", format_size(status.store.file_bytes))
            : fmt::format("Hub. {} registered, {} connected.",
                          format_counted(status.nodes_registered, "node", "nodes"),
                          format_count(status.nodes_connected));
    if (link.backlog_count > 0) {
      said += " " + amount(link.backlog_count, link.backlog_bytes) +
              (link.backlog_count == 1 ? " waits" : " wait") +
              " for the upstream that was set before: set [upstream] again, or give up on what waits: "
              "holdfast queue rm parent.";
    }
    return said;
  }
  if (!link.up) {
    const bool refused = link.claimed && link.rejected;
    if (!link.claimed || refused) {
      const std::string why =
          refused ? "Refused upstream: the hub does not know this node any more. There: holdfast node renew "
                  : "Not registered upstream. At the hub: holdfast node add ";
      return why + status.name + "; here: holdfast claim FILE. " + backlog(status);
    }
    const std::string said = fmt::format("Offline {}.", format_duration(link.since));
    return link.backlog_count == 0 ? said + " Nothing waits to be sent." : said + " " + backlog(status);
  }
  std::string said = fmt::format("Online with {} for {}.", link.peer, format_duration(link.since));
  if (link.backlog_count == 0) return said + " All messages delivered upstream.";
  said += fmt::format(" {} on the way", amount(link.backlog_count, link.backlog_bytes));
  // Below a few seconds the estimate is noise.
  if (link.goodput_bytes_s > 0 && link.backlog_bytes / link.goodput_bytes_s >= 5) {
    const auto left_s = static_cast<int64_t>(link.backlog_bytes / link.goodput_bytes_s);
    said += fmt::format(", about {} at the present rate", format_duration(seconds(left_s)));
  }
  return said + ".";
}

// What takes the space, most likely.
const char* full_advice(const node::LinkStatus& link) {
  if (!link.configured && link.backlog_count > 0) return "Give up what waits for an upstream that is gone, ";
  return link.configured && !link.up ? "Connect the upstream, " : "End sessions that are away, ";
}

std::string space_sentence(const node::Status& status) {
  if (!status.space_left) return "";
  // Said when somebody waits on it: offline, or little is left.
  const bool short_of_space = *status.space_left < seconds(3 * 86400);
  if (status.link.configured ? status.link.up : !short_of_space) return "";
  const bool whole_day = status.uptime >= seconds(86400);
  return fmt::format(" {} of space left at the {}.", format_days(*status.space_left),
                     whole_day ? "last day's rate" : "rate since start");
}

std::string key_text(const StatusView& view) {
  return view.key == KeyPlace::kBesideData ? "file beside the data: theft of the machine is not covered"
                                           : "file on another disk than the data";
}

std::string joined(const std::vector<std::string>& parts) {
  std::string text;
  for (const std::string& part : parts) text += (text.empty() ? "" : ", ") + part;
  return text.empty() ? "nowhere" : text;
}

std::string link_text(const node::Status& status) {
  const node::LinkStatus& link = status.link;
  if (!link.configured) return "none";
  std::string text =
      fmt::format("{}, {} {}", link.peer, link.up ? "up" : "down", format_duration(link.since));
  if (!link.up && !link.last_error.empty()) text += "; last attempt: " + link.last_error;
  if (!link.up && link.next_dial) text += "; next in " + format_duration(*link.next_dial);
  return text;
}

std::string recovery_text(const store::OpenReport& report) {
  if (report.created) return "new store";
  std::string text = format_counted(report.segments, "segment", "segments");
  if (report.segments_scanned > 0) text += fmt::format(", {} read frame by frame", report.segments_scanned);
  if (report.frames_rotten > 0) {
    text += fmt::format(", {} rotten and set aside", format_counted(report.frames_rotten, "frame", "frames"));
  }
  if (report.tail_cut) text += ", the last commit was not whole and was cut";
  if (report.new_incarnation) text += ", new incarnation (a copy, or another machine)";
  return text;
}

}  // namespace

std::string status_state(const StatusView& view) {
  if (!view.locked.empty()) return "locked";
  switch (view.status.mode) {
    case Mode::kStorageFailed:
      return "storage-failed";
    case Mode::kFull:
      return "full";
    case Mode::kDegraded:
      return "degraded";
    case Mode::kReady:
      break;
  }
  if (view.status.link.configured) return view.status.link.up ? "online" : "offline";
  return view.status.nodes_registered > 0 ? "hub" : "standalone";
}

bool status_needs_a_hand(const StatusView& view) {
  const node::LinkStatus& link = view.status.link;
  return !view.locked.empty() || view.status.mode != Mode::kReady ||
         (link.configured && !link.up && (!link.claimed || link.rejected));
}

std::string status_sentence(const StatusView& view) {
  if (!view.locked.empty()) return "Locked: " + view.locked;
  const node::Status& status = view.status;
  switch (status.mode) {
    case Mode::kStorageFailed:
      return "Storage failed: nothing can be made safe any more, so messages of QoS 1 and 2 are refused; "
             "reading and QoS 0 go on. "
             "What was acknowledged is safe. Check the disk, then restart holdfast. " +
             link_sentence(status);
    case Mode::kFull:
      return fmt::format(
                 "Full: {} of {} used, {} free on the disk; new messages are refused. {}raise quota, or free "
                 "space. ",
                 format_size(status.store.file_bytes), format_size(status.store.quota_bytes),
                 format_size(status.store.free_bytes), full_advice(status.link)) +
             link_sentence(status);
    case Mode::kDegraded:
      return "Degraded: the disk failed to write a file, which was left behind; everything still works, but "
             "a second failure "
             "would stop it. Check the disk soon. " +
             link_sentence(status);
    case Mode::kReady:
      break;
  }
  return link_sentence(status) + space_sentence(status);
}

std::string status_text(const StatusView& view) {
  const node::Status& status = view.status;
  std::string text = status_sentence(view) + "\n\n";
  if (!view.locked.empty()) {
    return text + format_pairs({{"node", status.name}, {"data", view.data}, {"key", key_text(view)}});
  }
  std::vector<std::pair<std::string, std::string>> lines;
  lines.emplace_back("node", fmt::format("{}, up {}", status.name, format_duration(status.uptime)));
  lines.emplace_back("listens on", joined(view.listen));
  if (!status.moved_to.empty())
    lines.emplace_back("moved to", status.moved_to + ": no client is let in, all are sent there");
  if (status.insecure)
    lines.emplace_back("insecure", "connections from other machines are allowed and not encrypted");
  lines.emplace_back("upstream", link_text(status));
  const node::LinkStatus& link = status.link;
  if (link.configured || link.backlog_count > 0)
    lines.emplace_back("to send", amount(link.backlog_count, link.backlog_bytes));
  if (link.configured) {
    lines.emplace_back(
        "sent", fmt::format("{}, {} on the wire", format_counted(link.records_sent, "message", "messages"),
                            format_size(link.sent_bytes)));
    if (link.repeats_ignored > 0)
      lines.emplace_back("repeats", format_count(link.repeats_ignored) + " came again and were recognised");
    if (link.forks > 0) {
      lines.emplace_back("forks", format_counted(link.forks, "time a copy of this store was",
                                                 "times a copy of this store was") +
                                      " found at work");
    }
  }
  if (status.nodes_registered > 0) {
    lines.emplace_back("nodes",
                       fmt::format("{} registered, {} connected", format_count(status.nodes_registered),
                                   format_count(status.nodes_connected)));
  }
  const broker::Counters& broker = status.broker;
  lines.emplace_back(
      "clients", fmt::format("{} connected",
                             format_count(broker.connections -
                                          std::min<uint64_t>(broker.connections, status.nodes_connected))));
  lines.emplace_back(
      "received",
      fmt::format("{} (QoS 0: {}, 1: {}, 2: {})",
                  format_counted(broker.publishes_received[0] + broker.publishes_received[1] +
                                     broker.publishes_received[2],
                                 "message", "messages"),
                  format_count(broker.publishes_received[0]), format_count(broker.publishes_received[1]),
                  format_count(broker.publishes_received[2])));
  if (broker.publishes_refused > 0)
    lines.emplace_back("refused", format_counted(broker.publishes_refused, "message", "messages"));
  if (broker.qos0_dropped > 0) {
    lines.emplace_back("dropped", format_counted(broker.qos0_dropped, "message", "messages") +
                                      " of QoS 0, for slow readers");
  }
  if (status.gaps > 0) {
    lines.emplace_back("gaps",
                       format_counted(status.gaps, "gap record", "gap records") + " of messages given up");
  }
  const store::Figures& store = status.store;
  lines.emplace_back("disk", fmt::format("{} of {} used, {} free", format_size(store.file_bytes),
                                         format_size(store.quota_bytes), format_size(store.free_bytes)));
  if (status.space_left) lines.emplace_back("space left", format_days(*status.space_left));
  if (store.sync_failures > 0) lines.emplace_back("disk errors", format_count(store.sync_failures));
  lines.emplace_back("recovery", recovery_text(status.recovery));
  lines.emplace_back(
      "clock", fmt::format("{} ({})", format_utc(status.wall_us), clock_quality_name(status.clock_quality)));
  lines.emplace_back("key", key_text(view));
  lines.emplace_back("data", view.data);
  lines.emplace_back("store",
                     fmt::format("{}, incarnation {}", to_hex(status.store_id), to_hex(status.incarnation)));
  return text + format_pairs(lines);
}

std::string streams_text(const std::vector<node::StreamStatus>& streams) {
  if (streams.empty()) return "No streams yet: they appear with their first message.\n";
  std::vector<std::vector<std::string>> rows = {
      {"STREAM", "ORIGIN", "PRIORITY", "TIME TO LIVE", "LAST", "INCARNATION"}};
  for (const node::StreamStatus& stream : streams) {
    rows.push_back({stream.name, stream.origin.empty() ? "this node" : stream.origin,
                    std::to_string(stream.priority),
                    stream.time_to_live_s == 0 ? "for ever" : format_duration(seconds(stream.time_to_live_s)),
                    format_count(stream.sequence_last), to_hex(stream.incarnation)});
  }
  return format_table(rows);
}

std::string nodes_text(const std::vector<node::NodeStatus>& nodes, int64_t now_wall_us) {
  if (nodes.empty()) return "No nodes are registered; add one with: holdfast node add NAME\n";
  std::vector<std::vector<std::string>> rows = {
      {"NODE", "STATE", "LAST SEEN", "RECEIVED", "OWED", "DOWN", "PREFIX"}};
  for (const node::NodeStatus& node : nodes) {
    std::string seen = "never";
    if (node.connected) {
      seen = "now";
    } else if (node.last_seen_wall_us) {
      seen =
          format_duration(microseconds(std::max<int64_t>(0, now_wall_us - *node.last_seen_wall_us))) + " ago";
    }
    rows.push_back({node.name,
                    node.connected ? "connected"
                    : node.claimed ? "away"
                                   : "not yet claimed",
                    seen, format_count(node.records_received), format_count(node.backlog_count),
                    node.down_filters.empty() ? "-" : joined(node.down_filters),
                    node.prefix.empty() ? "-" : printable(node.prefix)});
  }
  return format_table(rows);
}

std::string records_text(const std::vector<node::TailRecord>& records) {
  std::string text;
  for (const node::TailRecord& record : records) {
    constexpr size_t kPayloadMax = 160;
    const bool cut = record.payload.size() > kPayloadMax;
    text += fmt::format("{}  {}  {}  {}{}\n", format_utc(record.arrived_wall_us), record.sequence,
                        printable(record.topic), printable(Bytes(record.payload).substr(0, kPayloadMax)),
                        cut ? fmt::format("... ({})", format_size(record.payload.size())) : "");
  }
  return text;
}

}  // namespace hf::holdfast
