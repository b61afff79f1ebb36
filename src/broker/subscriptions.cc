#include "broker/subscriptions.h"

#include <algorithm>
#include <string>
#include <tuple>

namespace hf::broker {

bool Subscriptions::set(Session& session, Bytes filter, const SubscriptionOptions& options) {
  const auto found = session.subscriptions.find(filter);
  if (found != session.subscriptions.end() && found->second == options)
    return true;  // Every reconnect does that.
  changed();
  if (found != session.subscriptions.end()) {
    found->second = options;
    return true;
  }
  const auto made = session.subscriptions.emplace(std::string(filter), options).first;
  HF_ASSERT(tree_.insert(filter, {session.number, &session, &made->second}));
  return false;
}

bool Subscriptions::erase(Session& session, Bytes filter) {
  const auto found = session.subscriptions.find(filter);
  if (found == session.subscriptions.end()) return false;
  changed();
  HF_ASSERT(tree_.erase(filter, {session.number, nullptr, nullptr}));
  session.subscriptions.erase(found);
  return true;
}

void Subscriptions::erase_all(Session& session) {
  if (session.subscriptions.empty()) return;
  changed();
  for (const auto& [filter, options] : session.subscriptions) {
    HF_ASSERT(tree_.erase(filter, {session.number, nullptr, nullptr}));
  }
  session.subscriptions.clear();
}

void Subscriptions::match(Bytes topic, uint64_t publisher, std::vector<Target>* targets, bool* no_local) {
  targets->clear();
  *no_local = false;
  found_.clear();
  tree_.match(topic, [&](const Subscriber& subscriber) {
    if (subscriber.options->no_local) {
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
