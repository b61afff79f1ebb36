#include "broker/audience.h"

#include <functional>
#include <string_view>
#include <utility>

namespace hf::broker {

bool Audiences::holds(const Entry& entry, Bytes topic, const Source& source) const {
  return entry.epoch == subscriptions_.epoch() && entry.host_epoch == host_.routing_epoch() &&
         entry.topic == topic && entry.source == source;
}

const Audience& Audiences::find(Bytes topic, const Source& source, uint64_t publisher) {
  if (entries_.empty()) entries_.resize(kEntryCount);
  if (!holds(entries_[last_], topic, source)) {
    last_ = std::hash<std::string_view>()(topic) & (kEntryCount - 1);
    if (!holds(entries_[last_], topic, source)) {
      if (targets_count_ > kTargetsMax) {
        for (Entry& entry : entries_) entry = Entry();
        targets_count_ = 0;
      }
      Entry& entry = entries_[last_];
      targets_count_ -= entry.audience.targets.size();
      fill(&entry, topic, source, 0);
      targets_count_ += entry.audience.targets.size();
    }
  }
  const Audience& common = entries_[last_].audience;
  if (!common.no_local || publisher == 0) return common;
  if (!holds(personal_, topic, source) || personal_.publisher != publisher)
    fill(&personal_, topic, source, publisher);
  return personal_.audience;
}

void Audiences::fill(Entry* entry, Bytes topic, const Source& source, uint64_t publisher) {
  entry->epoch = subscriptions_.epoch();
  entry->host_epoch = host_.routing_epoch();
  entry->publisher = publisher;
  entry->source = source;
  entry->topic.assign(topic);

  Audience& audience = entry->audience;
  Routing routing = host_.route(topic, source);
  audience.routed = routing.stored || !routing.links.empty();
  audience.stream = routing.stream;
  subscriptions_.match(topic, publisher, &audience.targets, &audience.no_local);
  std::erase_if(audience.targets, [&](const Target& target) {
    const Rights* const rights = target.session != nullptr ? rights_.of(*target.session) : nullptr;
    return rights != nullptr && !rights->receive(topic);
  });

  members_ = std::move(routing.links);
  audience.links = store::encode_audience(members_);
  audience.durable_wants = false;
  for (const Target& target : audience.targets) {
    // Sessions do not queue QoS 0.
    if (target.qos == 0) continue;
    if (target.group != nullptr) {
      audience.durable_wants = true;
      members_.push_back({.reader = target.group->reader, .qos = target.qos});
      continue;
    }
    if (target.session->reader == 0) continue;
    audience.durable_wants |= target.session->durable;
    members_.push_back({.reader = target.session->reader,
                        .qos = target.qos,
                        .retain_as_published = target.retain_as_published,
                        .subscription_identifiers = target.subscription_identifiers});
  }
  audience.all = store::encode_audience(std::move(members_));
}

}  // namespace hf::broker
