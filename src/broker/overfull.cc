// Sessions that are owed more than `session_queue_bytes_max`, whether they are away or do not acknowledge: one that is subscribed to much could
// take all the space of the store, and then nobody's messages are taken any more. What it is owed is not thinned out behind its
// client's back: the session ends, a gap record says what was given up, and the client finds no session present.
#include "broker/broker_impl.h"

namespace hf::broker {

void Broker::Impl::check_owed(store::ReaderId reader) {
  if (limits_.session_queue_bytes_max == 0) return;
  if (store_.reader(reader)->owed_bytes > limits_.session_queue_bytes_max) overfull_.push_back(reader);
}

void Broker::Impl::end_overfull(store::ReaderId reader) {
  if (const auto found = sessions_by_reader_.find(reader); found != sessions_by_reader_.end())
    return end_overfull(*found->second, reader);
  ShareGroup* group = find_group(reader);
  if (group == nullptr) return;  // It ended already.
  std::vector<uint64_t> members;
  for (const auto& [number, member] : group->members) members.push_back(number);
  for (const uint64_t number : members) {
    if (const auto found = sessions_by_number_.find(number); found != sessions_by_number_.end())
      end_overfull(*found->second, reader);
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
