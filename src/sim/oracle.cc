#include "sim/oracle.h"

#include <algorithm>
#include <cstdarg>
#include <cstdio>

#include "base/assert.h"
#include "base/crc32c.h"
#include "mqtt/topic.h"

namespace hf::sim {

namespace {

std::string name_of(MessageId id) {
  return "p" + std::to_string(id.publisher) + "#" + std::to_string(id.number);
}

std::string printable(Bytes bytes) {
  std::string out;
  for (const char c : bytes.substr(0, 24)) out.push_back(c >= ' ' && c <= '~' ? c : '.');
  return out;
}

}  // namespace

void Oracle::violate(const char* promise, const char* format, ...) {
  if (failed()) return;  // The first one is the story; what follows from it is noise.
  char text[1000];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  violation_ = std::string(promise) + ": " + text;
  trace_.say("VIOLATION %.380s", violation_.c_str());
}

// --- The world.

uint32_t Oracle::add_node(std::string name, std::optional<uint32_t> parent,
                          std::vector<std::string> down_filters, std::string prefix) {
  nodes_.push_back({std::move(name), parent, std::move(down_filters), std::move(prefix)});
  return static_cast<uint32_t>(nodes_.size() - 1);
}

uint32_t Oracle::add_client(std::string name, uint32_t node, bool persistent) {
  Client client;
  client.name = std::move(name);
  client.node = node;
  client.persistent = persistent;
  client.counted_as = static_cast<uint32_t>(clients_.size());
  clients_.push_back(std::move(client));
  return static_cast<uint32_t>(clients_.size() - 1);
}

void Oracle::share(uint32_t first, uint32_t other) {
  HF_ASSERT(clients_[first].persistent && clients_[first].node == clients_[other].node);
  clients_[first].shares = true;
  clients_[other].counted_as = first;
}

std::optional<std::string> Oracle::topic_at(uint32_t from, const std::string& topic, uint32_t node) const {
  // A walk over the tree: up always (the default route), behind the child's prefix; down where a filter of the child matches,
  // without it; never back.
  struct Step {
    uint32_t node;
    std::optional<uint32_t> came_from;
    std::string topic;
  };
  std::vector<Step> steps = {{from, std::nullopt, topic}};
  while (!steps.empty()) {
    const Step step = std::move(steps.back());
    steps.pop_back();
    if (step.node == node) return step.topic;
    const Node& here = nodes_[step.node];
    if (here.parent && here.parent != step.came_from && !step.topic.starts_with('$'))
      steps.push_back({*here.parent, step.node, here.prefix + step.topic});
    for (uint32_t child = 0; child < nodes_.size(); ++child) {
      if (nodes_[child].parent != step.node || child == step.came_from) continue;
      const auto& filters = nodes_[child].down_filters;
      const std::string& prefix = nodes_[child].prefix;
      const std::string below =
          step.topic.starts_with(prefix) ? step.topic.substr(prefix.size()) : step.topic;
      if (below.empty() || below.starts_with('$')) continue;
      if (std::any_of(filters.begin(), filters.end(),
                      [&](const std::string& filter) { return mqtt::topic_matches(filter, step.topic); })) {
        steps.push_back({child, step.node, below});
      }
    }
  }
  return std::nullopt;
}

bool Oracle::is_above(uint32_t node, uint32_t other) const {
  for (std::optional<uint32_t> at = other; at; at = nodes_[*at].parent) {
    if (*at == node) return true;
  }
  return false;
}

std::optional<uint8_t> Oracle::owed(const Client& client, const Message& message) const {
  if (!client.persistent || message.qos == 0) return std::nullopt;
  std::optional<uint8_t> qos;
  if (client.subscriptions.empty()) return std::nullopt;
  const std::optional<std::string> topic = topic_at(message.node, message.topic, client.node);
  if (!topic) return std::nullopt;
  for (const Subscription& subscription : client.subscriptions) {
    if (message.sent_at <= subscription.since || !mqtt::topic_matches(subscription.filter, *topic)) continue;
    const uint8_t granted = std::min(subscription.qos, message.qos);
    if (granted > 0) qos = std::max(qos.value_or(0), granted);
  }
  return qos;
}

bool Oracle::stored_at(const Message& message, uint32_t node) const {
  if (message.qos == 0 || !reaches(message.node, message.topic, node)) return false;
  if (node != message.node) return true;  // What a link brings is always stored.
  if (nodes_[node].parent && !message.topic.starts_with('$')) return true;
  for (uint32_t child = 0; child < nodes_.size(); ++child) {
    if (nodes_[child].parent == node && reaches(node, message.topic, child))
      return true;  // (It was published here.)
  }
  return std::any_of(clients_.begin(), clients_.end(), [&](const Client& client) {
    return client.node == node && owed(client, message).has_value();
  });
}

const Message* Oracle::find(MessageId id) const {
  const auto it = messages_.find(id);
  return it == messages_.end() ? nullptr : &it->second;
}

uint32_t Oracle::count(uint32_t client, MessageId id) const {
  const auto it = clients_[client].counts.find(id);
  return it == clients_[client].counts.end() ? 0 : it->second;
}

std::string Oracle::describe(MessageId id) const {
  const Message* message = find(id);
  if (message == nullptr) return name_of(id);
  return name_of(id) + " (QoS " + std::to_string(message->qos) + ", " + message->topic + ", published at " +
         nodes_[message->node].name + (message->acknowledged_at ? ", acknowledged)" : ", not acknowledged)");
}

// --- What happens.

void Oracle::sent(MessageId id, const std::string& topic, uint8_t qos, bool retain, Bytes payload,
                  Instant now) {
  Message message;
  message.node = clients_[id.publisher].node;
  message.topic = topic;
  message.qos = qos;
  message.retain = retain;
  message.checksum = crc32c(payload);
  message.size = payload.size();
  message.sent_at = now;
  HF_ASSERT(messages_.emplace(id, message).second);
  if (qos > 0) unsettled_.insert(id);
}

void Oracle::acknowledged(MessageId id, Instant now) {
  Message& message = messages_.at(id);
  if (message.acknowledged_at) return;
  message.acknowledged_at = now;
  ++acknowledgements_;
}

void Oracle::completed(MessageId id) { messages_.at(id).completed = true; }

void Oracle::refused(MessageId id) { messages_.at(id).refused = true; }

void Oracle::subscribed(uint32_t client, const std::string& filter, uint8_t qos, Instant now) {
  // The subscription they share holds from when the one who stays has it.
  if (clients_[client].counted_as != client) return;
  mqtt::SharedFilter shared;
  HF_ASSERT(mqtt::parse_shared(filter, &shared));
  std::vector<Subscription>& subscriptions = clients_[client].subscriptions;
  for (const Subscription& subscription : subscriptions) {
    if (subscription.filter == shared.filter && clients_[client].persistent)
      return;  // Said again; it held all the time.
  }
  subscriptions.push_back({std::string(shared.filter), qos, now});
}

void Oracle::delivered(uint32_t number, Bytes topic, Bytes payload, uint8_t qos, bool retain,
                       bool may_double) {
  Client& client = clients_[clients_[number].counted_as];
  ++deliveries_;
  const std::optional<MessageId> id = read_payload(payload);
  const Message* message = id ? find(*id) : nullptr;
  if (message == nullptr) {
    violate("true", "%s was given %zu bytes on %.*s that nobody sent (\"%s\")", client.name.c_str(),
            payload.size(), static_cast<int>(topic.size()), topic.data(), printable(payload).c_str());
    return;
  }
  const std::optional<std::string> here = topic_at(message->node, message->topic, client.node);
  if (!here) {
    violate("true", "%s was given %s, which has no way to it", client.name.c_str(), describe(*id).c_str());
    return;
  }
  if (message->checksum != crc32c(payload) || message->size != payload.size() || *here != topic) {
    violate("true", "%s was given %s on %.*s, changed", client.name.c_str(), describe(*id).c_str(),
            static_cast<int>(topic.size()), topic.data());
    return;
  }
  if (message->retain && retain) return;  // What SUBSCRIBE brought: another matter.

  const uint32_t count = ++client.counts[*id];
  if (count == 1) {
    uint64_t& last = client.last[{id->publisher, message->topic}];
    if (id->number < last && !message->may_be_lost && !client.shares) {
      violate("ordered", "%s was given %s after #%llu of the same topic", client.name.c_str(),
              describe(*id).c_str(), static_cast<unsigned long long>(last));
    }
    last = std::max(last, id->number);
  }
  // A delivery at QoS 0 waits for no disk; what comes over a link again after a crash is delivered again.
  if (count > 1 && qos == 2 && !may_double && !message->may_double(client.node)) {
    violate("once", "%s was given %s %u times, at QoS %u", client.name.c_str(), describe(*id).c_str(), count,
            qos);
  }
}

bool Oracle::session_lost(uint32_t number) {
  Client& client = clients_[number];
  if (!nodes_[client.node].sessions_may_be_lost) {
    violate("remembered", "the session of %s is gone at %s", client.name.c_str(),
            nodes_[client.node].name.c_str());
    return false;
  }
  client.subscriptions.clear();
  return true;
}

void Oracle::repeated(uint32_t client, uint16_t packet_id, MessageId before, Bytes payload) {
  const std::optional<MessageId> id = read_payload(payload);
  if (id && *id == before) return;
  const Message* message = find(before);
  if (message != nullptr && message->may_double(clients_[client].node)) return;
  violate("once", "%s was given %s under packet identifier %u, which still stands for %s and is not released",
          clients_[client].name.c_str(), id ? describe(*id).c_str() : "unknown bytes", packet_id,
          describe(before).c_str());
}

void Oracle::excuse(const std::function<void(MessageId, Message&)>& visit) {
  for (auto& [id, message] : messages_) visit(id, message);
}

// --- Looking into stores.

void Oracle::remember_places(uint32_t node, const Autopsy& found) {
  for (const Autopsy::Item& item : found.items) {
    if (item.message) places_[{node, *item.message}] = item;
  }
}

bool Oracle::named_by_gap(uint32_t node, const Autopsy& found, MessageId id) const {
  const auto place = places_.find({node, id});
  for (const Autopsy::Gap& gap : found.gaps) {
    // Where it stood was never seen: any gap record of damage may be its name.
    if (place == places_.end()) {
      if (nodes_[node].damaged &&
          (gap.cause == store::GapCause::kRot || gap.cause == store::GapCause::kTailCut))
        return true;
      continue;
    }
    const Autopsy::Item& item = place->second;
    if (gap.stream.name.empty()) {
      if (nodes_[node].damaged && gap.first <= item.position.value && item.position.value <= gap.last)
        return true;
    } else if (gap.stream == item.stream && gap.first <= item.sequence && item.sequence <= gap.last) {
      return true;
    }
  }
  return false;
}

std::string Oracle::claimant(MessageId id, const Message& message) const {
  for (uint32_t node = 0; node < nodes_.size(); ++node) {
    const bool beside = nodes_[node].parent == message.node || nodes_[message.node].parent == node;
    if (!beside || nodes_[node].evicts || !stored_at(message, node)) continue;
    if (!places_.contains({node, id})) return nodes_[node].name;
  }
  for (const Client& client : clients_) {
    if (client.node == message.node && owed(client, message) && !client.counts.contains(id))
      return client.name;
  }
  return "";
}

void Oracle::check_numbers(uint32_t node, const Autopsy& found) {
  if (nodes_[node].evicts) return;
  const store::StreamKey* stream = nullptr;
  uint64_t last = 0;
  const auto check = [&](const store::StreamKey& key, uint64_t from, uint64_t to) {
    // Numbers from..to are not there: each must lie in a gap record.
    for (uint64_t number = from; number <= to; ++number) {
      const bool covered = std::any_of(found.gaps.begin(), found.gaps.end(), [&](const Autopsy::Gap& gap) {
        if (gap.stream.name.empty()) return nodes_[node].damaged;
        return gap.stream == key && gap.first <= number && number <= gap.last;
      });
      if (!covered) {
        violate(
            "numbered",
            "%s has no number %llu of stream %s (incarnation %016llx), and no gap record says so; it has %s",
            nodes_[node].name.c_str(), static_cast<unsigned long long>(number), key.name.c_str(),
            static_cast<unsigned long long>(key.incarnation), found.summary().c_str());
        return;
      }
    }
  };
  for (const Autopsy::Item& item : found.items) {
    if (stream == nullptr || item.stream != *stream) {
      stream = &item.stream;
      last = item.sequence;
      continue;
    }
    if (item.sequence <= last) {
      violate("numbered", "%s holds number %llu of stream %s after %llu", nodes_[node].name.c_str(),
              static_cast<unsigned long long>(item.sequence), item.stream.name.c_str(),
              static_cast<unsigned long long>(last));
      return;
    }
    // A stream that comes down holds only what is for this node.
    const Message* message = item.message ? find(*item.message) : nullptr;
    const bool from_below = message == nullptr || is_above(node, message->node);
    if (from_below) check(item.stream, last + 1, item.sequence - 1);
    last = item.sequence;
  }
}

void Oracle::after_crash(uint32_t node, const Autopsy& found, const std::vector<Held>& held_by_peers) {
  const Node& at = nodes_[node];
  for (const auto& [id, message] : messages_) {
    if (found.counts.contains(id) || message.may_be_lost || message.refused) continue;
    if (message.node == node && message.acknowledged_at && stored_at(message, node)) {
      if (at.evicts && claimant(id, message).empty()) continue;
      if (!named_by_gap(node, found, id)) {
        violate(
            "kept",
            "%s acknowledged %s at %.3f s; after the crash its store has neither it nor a gap record, but %s",
            at.name.c_str(), describe(id).c_str(), static_cast<double>(message.acknowledged_at->ns) / 1e9,
            found.summary().c_str());
        return;
      }
    }
    if (at.evicts || message.qos == 0) continue;
    for (const Client& client : clients_) {
      if (client.node != node || !client.counts.contains(id) || !owed(client, message)) continue;
      if (named_by_gap(node, found, id)) continue;
      violate("settled", "%s was given %s by %s, whose store does not have it after the crash; it has %s",
              client.name.c_str(), describe(id).c_str(), at.name.c_str(), found.summary().c_str());
      return;
    }
  }
  if (!at.rolled_back && !at.damaged) {
    for (const Held& held : held_by_peers) {
      for (const auto& [key, last] : held.last) {
        const Autopsy::Stream* stream = found.find(key);
        const uint64_t own = stream == nullptr ? 0 : stream->sequence_last;
        if (last <= own) continue;
        violate("settled", "%s holds number %llu of stream %s, but after its crash %s remembers only %llu",
                held.who.c_str(), static_cast<unsigned long long>(last), key.name.c_str(), at.name.c_str(),
                static_cast<unsigned long long>(own));
        return;
      }
    }
  }
  check_numbers(node, found);
  remember_places(node, found);
}

void Oracle::at_the_end(uint32_t node, const Autopsy& found) {
  const Node& at = nodes_[node];
  remember_places(node, found);
  for (const auto& [id, message] : messages_) {
    const auto held = found.counts.find(id);
    if (held == found.counts.end()) {
      if (!message.acknowledged_at || message.may_be_lost || !stored_at(message, node)) continue;
      if (at.evicts || named_by_gap(node, found, id)) continue;
      violate("kept", "%s does not have %s at the end; it has %s", at.name.c_str(), describe(id).c_str(),
              found.summary().c_str());
      return;
    }
    // A publisher sends a QoS 1 message again when it does not know; then both are messages. Others have one number.
    if (held->second > 1 && message.qos != 1 && !message.may_double(node)) {
      violate("once", "%s holds %s under %u numbers", at.name.c_str(), describe(id).c_str(), held->second);
      return;
    }
  }
  check_numbers(node, found);
}

size_t Oracle::accept_named_losses(uint32_t node, const Autopsy& found) {
  size_t named = 0;
  for (auto& [id, message] : messages_) {
    if (message.node != node || !message.acknowledged_at || message.may_be_lost || !stored_at(message, node))
      continue;
    if (found.counts.contains(id)) continue;
    const std::string owing = claimant(id, message);
    if (owing.empty()) continue;
    if (!named_by_gap(node, found, id)) {
      violate("kept",
              "%s acknowledged %s, and %s does not have it yet; its store has neither it nor a gap record, "
              "but %s",
              nodes_[node].name.c_str(), describe(id).c_str(), owing.c_str(), found.summary().c_str());
      return named;
    }
    message.may_be_lost = true;
    ++named;
  }
  return named;
}

size_t Oracle::missing(std::string* examples) {
  size_t count = 0;
  const auto note = [&](const std::string& text) {
    if (examples != nullptr && count < 4) *examples += (count > 0 ? "; " : "") + text;
    ++count;
  };
  for (auto it = unsettled_.begin(); it != unsettled_.end();) {
    const MessageId id = *it;
    const Message& message = messages_.at(id);
    const size_t before = count;
    if (!message.acknowledged_at && !message.refused) {
      note(describe(id) + " has no acknowledgement");
    } else if (!message.may_be_lost && !message.refused) {
      for (const Client& client : clients_) {
        if (owed(client, message) && !client.counts.contains(id))
          note(client.name + " has not got " + describe(id));
      }
    }
    it = count == before ? unsettled_.erase(it) : std::next(it);
  }
  return count;
}

}  // namespace hf::sim
