#include "holdfast/inspect_text.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "holdfast/inspect_json.h"
#include "holdfast/text.h"
#include "holdfast/units.h"

namespace hf::holdfast {

namespace {

using Kind = node::QueueStatus::Kind;
using broker::WaitsFor;

// Below this a client is slow; from here on it says nothing.
constexpr Duration kSilence = seconds(5);

std::string or_dash(const std::string& text) { return text.empty() ? "-" : text; }

// "3 h": what a column has room for.
std::string brief(const std::optional<Duration>& duration) {
  if (!duration) return "";
  const std::string text = format_duration(*duration);
  return text.substr(0, text.find(' ', text.find(' ') + 1));
}

std::string amount(uint64_t count, uint64_t bytes) {
  return fmt::format("{} ({})", format_counted(count, "message", "messages"), format_size(bytes));
}

std::vector<std::string> client_row(const Json& client) {
  const std::string since = brief(duration_of(client, "since_s"));
  const std::string node = text_of(client, "node");
  return {text_of(client, "client"),
          node.empty() ? or_dash(text_of(client, "user")) : "(node)",
          (flag_of(client, "connected") ? "online " : "away ") + since,
          or_dash(text_of(client, "address")),
          text_of(client, "version"),
          format_count(number_of(client, "subscription_count")),
          format_count(number_of(client, "owed_count")),
          format_size(number_of(client, "owed_bytes")),
          format_count(number_of(client, "inflight"))};
}

// "no local, as published, retained: new only, identifier 7"
std::string options_text(const Json& options) {
  std::string text;
  const auto add = [&](const std::string& part) { text += (text.empty() ? "" : ", ") + part; };
  if (flag_of(options, "no_local")) add("no local");
  if (flag_of(options, "retain_as_published")) add("retain as published");
  if (number_of(options, "retain_handling") == 1) add("retained if new");
  if (number_of(options, "retain_handling") == 2) add("no retained");
  if (const uint64_t identifier = number_of(options, "identifier"); identifier != 0)
    add(fmt::format("identifier {}", identifier));
  return or_dash(text);
}

std::vector<std::string> subscription_row(const Json& one) {
  return {text_of(one, "client"), flag_of(one, "connected") ? "online" : "away", text_of(one, "filter"),
          std::to_string(number_of(one, "qos")), options_text(one)};
}

std::vector<std::string> receiver_row(const Json& one) {
  std::vector<std::string> row = subscription_row(one);
  const bool online = flag_of(one, "connected");
  const std::string group = text_of(one, "group");
  const bool kept = number_of(one, "qos") > 0;
  row.back() = !flag_of(one, "allowed") ? "no: it has no right to it"
               : !group.empty()         ? "one of group " + group
               : online                 ? "yes"
               : kept                   ? "kept, from QoS 1 on"
                                        : "no: away, and QoS 0 is not kept";
  return row;
}

std::vector<std::string> retained_row(const Json& one) {
  const auto expires = duration_of(one, "expires_in_s");
  return {text_of(one, "topic"),
          format_size(number_of(one, "payload_bytes")),
          std::to_string(number_of(one, "qos")),
          or_dash(brief(duration_of(one, "age_s"))),
          expires ? "in " + brief(expires) : "-",
          or_dash(text_of(one, "client"))};
}

std::vector<std::string> queue_row(const Json& one) {
  return {text_of(one, "name"),
          text_of(one, "kind"),
          format_count(number_of(one, "owed_count")),
          format_size(number_of(one, "owed_bytes")),
          or_dash(brief(duration_of(one, "oldest_s"))),
          text_of(one, "summary")};
}

std::vector<std::string> config_row(const Json& one) {
  const auto found = one.find("value");
  const Json value = found == one.end() ? Json() : *found;
  return {text_of(one, "key"), value.is_null() ? "none" : dump(value), text_of(one, "from")};
}

std::string joined(const Json& texts) {
  std::string out;
  for (const Json& text : texts) {
    const std::string filter = text.is_string() ? text.get<std::string>() : "";
    out += (out.empty() ? "" : ", ") + (filter.empty() ? "everything" : filter);
  }
  return out;
}

std::string right_text(const Json& rights, const char* action) {
  const auto lists = rights.find(action);
  if (lists == rights.end() || !lists->is_object()) return "nothing";
  const std::string allow = joined(list_of(*lists, "allow"));
  const std::string deny = joined(list_of(*lists, "deny"));
  if (allow.empty()) return "nothing";
  return allow + (deny.empty() ? "" : ", but not " + deny);
}

std::string session_text(const Json& client) {
  if (!flag_of(client, "persistent")) return "ends with its connection";
  const auto expiry = client.find("expiry_s");
  if (expiry == client.end() || !expiry->is_number()) return "kept for ever";
  if (const auto left = duration_of(client, "expires_in_s"))
    return "kept for " + format_duration(*left) + " more";
  return "kept for " + format_duration(*duration_of(client, "expiry_s")) + " when it goes";
}

// "anna is owed 1,234 messages (5.6 MB), the oldest 3 h old"
std::string owed_text(const node::QueueStatus& queue, const std::string& who) {
  std::string text = fmt::format("{} is owed {}", who, amount(queue.info.owed_count, queue.info.owed_bytes));
  if (queue.info.oldest && *queue.info.oldest >= seconds(1)) {
    text += fmt::format(", the oldest {} old", format_duration(*queue.info.oldest));
  }
  return text;
}

std::string silence_text(const node::QueueStatus& queue) {
  const auto since = queue.info.since;
  if (since && *since >= kSilence) {
    return fmt::format("the client has acknowledged nothing for {}", format_duration(*since));
  }
  return "the client acknowledges more slowly than messages come";
}

std::string window_text(const node::QueueStatus& queue) {
  const broker::QueueInfo& info = queue.info;
  if (queue.kind == Kind::kGroup) {
    return fmt::format("the windows of all its {} are full: {} in flight",
                       format_counted(info.members_connected, "connected member", "connected members"),
                       format_count(info.inflight));
  }
  if (info.inflight < info.window) {
    return fmt::format("{} in flight, as much as is sent before a client acknowledges; {}",
                       format_size(info.inflight_bytes), silence_text(queue));
  }
  return fmt::format("window full: {} of {} in flight, {}", format_count(info.inflight),
                     format_count(info.window), silence_text(queue));
}

std::string link_why(const node::QueueStatus& queue) {
  if (queue.kind == Kind::kNode) {
    if (!queue.info.since) return "it is away";
    return fmt::format("it is away, last seen {} ago", format_duration(*queue.info.since));
  }
  std::string text = "the link is down";
  if (!queue.error.empty()) text += ": " + printable(queue.error);
  if (!queue.next_dial) return text;
  const bool soon = *queue.next_dial < seconds(1);
  return text + ", next attempt " + (soon ? "at once" : "in " + format_duration(*queue.next_dial));
}

std::string sending_text(const node::QueueStatus& queue) {
  if (queue.kind != Kind::kParent && queue.kind != Kind::kNode) {
    return "nothing stands in its way: it is being read and sent";
  }
  std::string text = "the link is up, and it is being sent";
  if (queue.goodput_bytes_s > 0) {
    text += fmt::format(" at {}/s", format_size(queue.goodput_bytes_s));
    const uint64_t left_s = queue.info.owed_bytes / queue.goodput_bytes_s;
    if (left_s >= 5)
      text += fmt::format(", about {}", format_duration(seconds(static_cast<int64_t>(left_s))));
  }
  return text;
}

// What follows the colon of the sentence.
std::string why_text(const node::QueueStatus& queue, int64_t now_wall_us) {
  const broker::QueueInfo& info = queue.info;
  const bool link = queue.kind == Kind::kParent || queue.kind == Kind::kNode;
  switch (info.waits_for) {
    case WaitsFor::kNothing:
      return "";
    case WaitsFor::kClient:
      if (queue.kind == Kind::kGroup) {
        if (info.members == 0) return "nobody is a member any more, and what its last members hold is theirs";
        if (info.members == 1) return "its only member is not connected";
        return fmt::format("none of its {} is connected", format_counted(info.members, "member", "members"));
      }
      if (!info.since) return "it is away";
      return fmt::format("it has been away since {}Z ({})",
                         format_utc(now_wall_us - info.since->ns / 1000).substr(0, 19),
                         format_duration(*info.since));
    case WaitsFor::kAcknowledgement:
      if (link) return sending_text(queue);
      if (queue.kind == Kind::kGroup) {
        return fmt::format("all is sent, {} in flight; its members acknowledge nothing",
                           format_count(info.inflight));
      }
      return fmt::format("all is sent, {} in flight, {}", format_count(info.inflight), silence_text(queue));
    case WaitsFor::kWindow:
      return window_text(queue);
    case WaitsFor::kNetwork:
      return fmt::format("{} wait for its network: the client does not read, or its link is thin",
                         format_size(info.unsent_bytes));
    case WaitsFor::kDisk:
      return fmt::format("the disk is behind: {} wait to be written", format_size(queue.pending_bytes));
    case WaitsFor::kTurn:
      return sending_text(queue);
    case WaitsFor::kStorage:
      return "the storage has failed; check the disk, then restart holdfast";
    case WaitsFor::kLink:
      return link_why(queue);
    case WaitsFor::kClaim:
      return queue.kind == Kind::kNode
                 ? "it has not shown its claim yet; another one: holdfast node renew " + printable(info.name)
                 : "the hub does not know this node; see: holdfast status";
    case WaitsFor::kUpstream:
      return "the configuration names no upstream any more; set [upstream] again, or give them up with: "
             "holdfast queue rm parent";
  }
  return "";
}

}  // namespace

const ListText& clients_list() {
  static const ListText list{
      "clients",
      {"CLIENT", "USER", "STATE", "ADDRESS", "MQTT", "SUBS", "OWED", "BYTES", "IN FLIGHT"},
      client_row,
      "No clients: none is connected, and no session is kept."};
  return list;
}

const ListText& subscriptions_list() {
  static const ListText list{"subscriptions",
                             {"CLIENT", "STATE", "FILTER", "QOS", "OPTIONS"},
                             subscription_row,
                             "No subscriptions."};
  return list;
}

const ListText& receivers_list() {
  static const ListText list{"subscriptions",
                             {"CLIENT", "STATE", "FILTER", "QOS", "GETS IT"},
                             receiver_row,
                             "Nobody: no subscription matches this topic."};
  return list;
}

const ListText& retained_list() {
  static const ListText list{"retained",
                             {"TOPIC", "SIZE", "QOS", "AGE", "EXPIRES", "FROM"},
                             retained_row,
                             "No retained messages there."};
  return list;
}

const ListText& queues_list() {
  static const ListText list{"queues",
                             {"NAME", "KIND", "OWED", "BYTES", "OLDEST", "WAITS FOR"},
                             queue_row,
                             "Nobody is owed anything."};
  return list;
}

const ListText& config_list() {
  static const ListText list{"values", {"KEY", "VALUE", "FROM"}, config_row, "No values."};
  return list;
}

std::string client_text(const Json& client) {
  std::vector<std::pair<std::string, std::string>> lines;
  lines.emplace_back("client", text_of(client, "client"));
  const std::string node = text_of(client, "node");
  const std::string user = text_of(client, "user");
  lines.emplace_back("user", !node.empty() ? "the node " + node : user.empty() ? "without a name" : user);
  const std::string since = text_of(client, "since");
  const auto for_long = duration_of(client, "since_s");
  std::string state = flag_of(client, "connected") ? "online" : "away";
  if (const std::string address = text_of(client, "address"); !address.empty()) state += " from " + address;
  if (!since.empty() && for_long)
    state += fmt::format(" since {} ({})", since.substr(0, 19) + "Z", format_duration(*for_long));
  lines.emplace_back("state", state);
  std::string protocol = "MQTT " + text_of(client, "version");
  if (const std::string method = text_of(client, "authentication"); !method.empty())
    protocol += ", " + method;
  lines.emplace_back("protocol", protocol);
  lines.emplace_back("session", session_text(client));
  if (flag_of(client, "connected")) {
    const uint64_t keep_alive_s = number_of(client, "keep_alive_s");
    std::string alive =
        keep_alive_s == 0 ? "none" : format_duration(seconds(static_cast<int64_t>(keep_alive_s)));
    if (const auto heard = duration_of(client, "heard_s"))
      alive += fmt::format(", last heard {} ago", format_duration(*heard));
    lines.emplace_back("keep alive", alive);
  }
  lines.emplace_back("owed", amount(number_of(client, "owed_count"), number_of(client, "owed_bytes")));
  const uint64_t window = number_of(client, "window");
  std::string inflight = format_count(number_of(client, "inflight"));
  if (window != 0) inflight += " of " + format_count(window);
  if (const uint64_t bytes = number_of(client, "inflight_bytes"); bytes != 0)
    inflight += fmt::format(" ({})", format_size(bytes));
  if (const auto last = duration_of(client, "acknowledged_s"))
    inflight += fmt::format(", last acknowledgement {} ago", format_duration(*last));
  lines.emplace_back("in flight", inflight);
  if (const uint64_t unsent = number_of(client, "unsent_bytes"); unsent != 0)
    lines.emplace_back("unsent", format_size(unsent) + " wait for its network");
  if (const uint64_t open = number_of(client, "received_open"); open != 0)
    lines.emplace_back("received",
                       format_counted(open, "message", "messages") + " of its own not yet answered");
  if (const uint64_t most = number_of(client, "max_packet_bytes"); most != 0)
    lines.emplace_back("takes", "packets of at most " + format_size(most));
  if (const auto will = client.find("will"); will != client.end() && will->is_object()) {
    const uint64_t delay_s = number_of(*will, "delay_s");
    lines.emplace_back(
        "will",
        fmt::format(
            "{} to {}, QoS {}{}{}", format_size(number_of(*will, "payload_bytes")), text_of(*will, "topic"),
            number_of(*will, "qos"), flag_of(*will, "retain") ? ", retained" : "",
            delay_s == 0 ? "" : ", after " + format_duration(seconds(static_cast<int64_t>(delay_s)))));
  }
  if (const auto rights = client.find("rights"); rights != client.end() && rights->is_object()) {
    lines.emplace_back("may publish", right_text(*rights, "publish"));
    lines.emplace_back("may retain", right_text(*rights, "retain"));
    lines.emplace_back("may subscribe", right_text(*rights, "subscribe"));
  } else if (node.empty()) {
    lines.emplace_back("rights", "everything: there is no permissions file");
  }
  std::string text = format_pairs(lines);
  const Json subscriptions = list_of(client, "subscriptions");
  if (subscriptions.empty()) return text + "\nNo subscriptions.\n";
  std::vector<std::vector<std::string>> rows = {{"FILTER", "QOS", "OPTIONS"}};
  for (const Json& one : subscriptions) {
    rows.push_back({text_of(one, "filter"), std::to_string(number_of(one, "qos")), options_text(one)});
  }
  text += "\n" + format_table(rows);
  const uint64_t count = number_of(client, "subscription_count");
  if (count > subscriptions.size()) {
    text += fmt::format("... and {} more; see: holdfast sub ls --client ID\n",
                        format_count(count - subscriptions.size()));
  }
  return text;
}

std::string client_loss(const Json& client) {
  std::string text;
  if (const uint64_t count = number_of(client, "subscription_count"); count > 0) {
    text = format_counted(count, "subscription", "subscriptions");
  }
  if (const uint64_t count = number_of(client, "owed_count"); count > 0) {
    text +=
        (text.empty() ? "" : " and ") + amount(count, number_of(client, "owed_bytes")) + " that it is owed";
  }
  return text;
}

std::string queue_summary(const node::QueueStatus& queue) {
  const broker::QueueInfo& info = queue.info;
  const bool link = queue.kind == Kind::kParent || queue.kind == Kind::kNode;
  switch (info.waits_for) {
    case WaitsFor::kNothing:
      return "-";
    case WaitsFor::kClient:
      if (queue.kind != Kind::kGroup) return "away " + brief(info.since);
      return fmt::format("0 of {} online", format_counted(info.members, "member", "members"));
    case WaitsFor::kAcknowledgement:
      return link ? "receipts" : fmt::format("acknowledgement of {}", format_count(info.inflight));
    case WaitsFor::kWindow:
      if (queue.kind == Kind::kGroup || info.inflight < info.window)
        return fmt::format("window full: {}", format_count(info.inflight));
      return fmt::format("window full: {} of {}", format_count(info.inflight), format_count(info.window));
    case WaitsFor::kNetwork:
      return "network: " + format_size(info.unsent_bytes);
    case WaitsFor::kDisk:
      return "disk";
    case WaitsFor::kTurn:
      return "being sent";
    case WaitsFor::kStorage:
      return "storage failed";
    case WaitsFor::kLink:
      if (queue.kind == Kind::kNode) return info.since ? "away " + brief(info.since) : "away";
      return queue.error.empty() ? "link down" : "link down: " + queue.error;
    case WaitsFor::kClaim:
      return "claim";
    case WaitsFor::kUpstream:
      return "no upstream is set";
  }
  return "";
}

std::string queue_sentence(const node::QueueStatus& queue, int64_t now_wall_us) {
  std::string who = printable(queue.info.name);
  // One that the configuration names no more is called by what it is.
  if (queue.kind == Kind::kParent)
    who = who == queue_kind_name(queue.kind) ? "The parent" : "The parent " + who;
  if (queue.kind == Kind::kNode) who = "The node " + who;
  if (queue.kind == Kind::kGroup) who = "The share group " + who;
  if (queue.info.owed_count == 0) {
    who[0] = who[0] == 'T' && queue.kind != Kind::kSession ? 't' : who[0];
    return "Nothing is owed to " + who + ".";
  }
  return owed_text(queue, who) + ": " + why_text(queue, now_wall_us) + ".";
}

}  // namespace hf::holdfast
