#include "broker/subscriptions.h"

#include <algorithm>
#include <string>
#include <tuple>

namespace hf::broker {

namespace {

// What follows "$share/", or nothing.
Bytes shared_name(Bytes filter) {
  mqtt::SharedFilter shared;
  if (!mqtt::parse_shared(filter, &shared) || shared.group.empty()) return {};
  return filter.substr(filter.find('/') + 1);
}

}  // namespace

bool Subscriptions::set(Session& session, Bytes filter, const SubscriptionOptions& options) {
  const auto found = session.subscriptions.find(filter);
  if (found != session.subscriptions.end() && found->second == options)
    return true;  // Every reconnect does that.
  changed();
  if (found != session.subscriptions.end()) {
    found->second = options;
    if (ShareGroup* group = this->group(filter)) join(*group, session, found->second);
    return true;
  }
  const auto made = session.subscriptions.emplace(std::string(filter), options).first;
  if (const Bytes name = shared_name(filter); !name.empty()) {
    join(make_group(name), session, made->second);
    return false;
  }
  HF_ASSERT(tree_.insert(filter, {session.number, &session, &made->second}));
  return false;
}

bool Subscriptions::erase(Session& session, Bytes filter) {
  const auto found = session.subscriptions.find(filter);
  if (found == session.subscriptions.end()) return false;
  changed();
  if (ShareGroup* group = this->group(filter)) {
    leave(*group, session);
  } else {
    HF_ASSERT(tree_.erase(filter, {session.number, nullptr, nullptr}));
  }
  session.subscriptions.erase(found);
  return true;
}

void Subscriptions::erase_all(Session& session) {
  if (session.subscriptions.empty()) return;
  changed();
  for (const auto& [filter, options] : session.subscriptions) {
    if (ShareGroup* group = this->group(filter)) {
      leave(*group, session);
    } else {
      HF_ASSERT(tree_.erase(filter, {session.number, nullptr, nullptr}));
    }
  }
  session.subscriptions.clear();
}

ShareGroup* Subscriptions::group(Bytes filter) {
  const Bytes name = shared_name(filter);
  if (name.empty()) return nullptr;
  const auto found = groups_.find(name);
  return found == groups_.end() ? nullptr : found->second.get();
}

ShareGroup& Subscriptions::make_group(Bytes name) {
  std::unique_ptr<ShareGroup>& group = groups_[std::string(name)];
  if (group == nullptr) {
    group = std::make_unique<ShareGroup>();
    group->number = kGroupNumbers + ++group_number_last_;
    group->name = std::string(name);
    group->filter = std::string(name.substr(name.find('/') + 1));
  }
  return *group;
}

void Subscriptions::end_group(ShareGroup& group) {
  HF_ASSERT(group.members.empty() && group.lease_count == 0);
  groups_.erase(groups_.find(group.name));
}

void Subscriptions::join(ShareGroup& group, Session& session, const SubscriptionOptions& options) {
  if (group.members.empty()) {
    HF_ASSERT(tree_.insert(group.filter, {group.number, nullptr, nullptr, &group}));
  }
  const auto [member, added] = group.members.try_emplace(session.number);
  if (added) {
    session.groups.push_back(&group);
  } else {
    --group.granted[member->second.qos];
  }
  member->second = {&session, &options, options.qos};
  ++group.granted[options.qos];
  group.ready.insert(session.number);
  count_qos(group);
}

void Subscriptions::count_qos(ShareGroup& group) {
  group.qos = 2;
  while (group.qos > 0 && group.granted[group.qos] == 0) --group.qos;
}

void Subscriptions::leave(ShareGroup& group, Session& session) {
  const auto member = group.members.find(session.number);
  HF_ASSERT(member != group.members.end());
  --group.granted[member->second.qos];
  group.members.erase(member);
  group.ready.erase(session.number);
  std::erase(session.groups, &group);
  count_qos(group);
  if (group.members.empty()) HF_ASSERT(tree_.erase(group.filter, {group.number, nullptr, nullptr}));
}

void Subscriptions::match(Bytes topic, uint64_t publisher, std::vector<Target>* targets, bool* no_local) {
  targets->clear();
  *no_local = false;
  found_.clear();
  tree_.match(topic, [&](const Subscriber& subscriber) {
    if (subscriber.group == nullptr && subscriber.options->no_local) {
      *no_local = true;
      if (subscriber.number == publisher) return;
    }
    found_.push_back({subscriber, found_.size()});
  });
  // A session's identifiers come in the order of its filters in the tree.
  std::sort(found_.begin(), found_.end(), [](const Found& a, const Found& b) {
    return std::tie(a.subscriber.number, a.order) < std::tie(b.subscriber.number, b.order);
  });
  for (const auto& [subscriber, order] : found_) {
    if (subscriber.group != nullptr) {
      targets->push_back({.group = subscriber.group, .qos = subscriber.group->qos});
      continue;
    }
    if (targets->empty() || targets->back().session != subscriber.session) {
      targets->push_back({.session = subscriber.session});
    }
    Target& target = targets->back();
    target.qos = std::max(target.qos, subscriber.options->qos);
    target.retain_as_published |= subscriber.options->retain_as_published;
    if (subscriber.options->identifier != 0) {
      target.subscription_identifiers.push_back(subscriber.options->identifier);
    }
  }
}

}  // namespace hf::broker
