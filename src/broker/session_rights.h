// What each session may do, looked up when somebody asks: a change of the permissions costs nothing at that moment, however
// many sessions there are, and holds at the next look.
#pragma once

#include "broker/host.h"
#include "broker/session.h"

namespace hf::broker {

class SessionRights {
 public:
  explicit SessionRights(const Host& host) : host_(host) {}

  // Null: everything. Until changed() and until it is another's session.
  const Rights* of(const Session& session) const {
    if (session.rights_generation != generation_) {
      session.rights = session.node_name.empty()
                           ? host_.rights(session.user, session.by_certificate, session.client_id)
                           : nullptr;
      session.rights_generation = generation_;
    }
    return session.rights.get();
  }
  void changed() { ++generation_; }

 private:
  const Host& host_;
  uint64_t generation_ = 1;
};

}  // namespace hf::broker
