// Sessions that are owed more than `session_owed_bytes_max`, whether they are away or acknowledge nothing.
//
// One that is subscribed to much could take all the space of the store, and then nobody's messages are taken any more. What it is
// owed is not thinned out behind its client's back: the session ends, a gap record says what was given up, and the client finds
// no session present. Of a share group that nobody serves all members end.
#include "broker/broker_impl.h"

namespace hf::broker {

namespace {

// Ending one erases all its rows, a thousand subscriptions perhaps.
constexpr int kEndedMax = 16;  // In one step.

}  // namespace

bool Broker::Impl::owed_too_much(const Session& session) const {
  // What is on its way to the client is bounded otherwise, and may be acknowledged any moment.
  const uint64_t open = session.connection != nullptr ? session.connection->sent_open_bytes : 0;
  const store::ReaderInfo* const reader = store_.reader(session.reader);
  return reader != nullptr && reader->owed_bytes > limits_.session_owed_bytes_max + open;
}

bool Broker::Impl::owed_too_much(const ShareGroup& group) const {
  const store::ReaderInfo* const reader = store_.reader(group.reader);
  return reader != nullptr && reader->owed_bytes > limits_.session_owed_bytes_max;
}

template <typename Owner>
void Broker::Impl::check_owed(Owner& owner) {
  if (limits_.session_owed_bytes_max == 0 || owner.overfull || !owed_too_much(owner)) return;
  owner.overfull = true;
  overfull_.push_back(owner.reader);
}
template void Broker::Impl::check_owed(Session& session);
template void Broker::Impl::check_owed(ShareGroup& group);

// Whose turn it is of those that end for what this reader is owed; null: nobody's any more.
Session* Broker::Impl::next_to_end(store::ReaderId reader) {
  if (const auto found = sessions_by_reader_.find(reader); found != sessions_by_reader_.end()) {
    found->second->overfull = owed_too_much(*found->second);
    return found->second->overfull ? found->second : nullptr;
  }
  ShareGroup* const group = find_group(reader);
  if (group == nullptr) return nullptr;
  // The group goes with the last of its members.
  group->overfull = !group->members.empty() && owed_too_much(*group);
  return group->overfull ? group->members.begin()->second.session : nullptr;
}

void Broker::Impl::end_overfull() {
  for (int ended = 0; ended < kEndedMax && !overfull_.empty();) {
    const store::ReaderId reader = overfull_.front();
    if (Session* const session = next_to_end(reader)) {
      end_overfull(*session, reader);
      boundary();
      ++ended;
    } else {
      overfull_.pop_front();
    }
  }
}

void Broker::Impl::end_overfull(Session& session, store::ReaderId reader) {
  ++counters_.of(Limit::kSessionQueue);
  if (log_due(kEventSessionOverfull)) {
    const store::ReaderInfo& owed = *store_.reader(reader);
    log(kEventSessionOverfull, "session of " + quoted_name(session.client_id) +
                                   " ends: " + (reader == session.reader ? "it" : "its share group") +
                                   " is owed " + std::to_string(owed.owed_count) + " messages of " +
                                   std::to_string(owed.owed_bytes) +
                                   " bytes, more than session_queue_max allows");
  }
  const uint64_t number = session.number;
  if (session.connection != nullptr)
    close(*session.connection, Reason::kQuotaExceeded, "more messages wait for it than may");
  // One without state has ended with its connection.
  if (const auto found = sessions_by_number_.find(number); found != sessions_by_number_.end())
    end_session(*found->second, Haste::kCommit);
}

}  // namespace hf::broker
