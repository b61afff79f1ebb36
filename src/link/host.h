// What link/ asks of the node that composes it.
#pragma once

#include <functional>
#include <string>

#include "base/time.h"
#include "store/record.h"

namespace hf::link {

class Host {
 public:
  virtual ~Host() = default;

  // A record that `peer` sent (kParentName for the parent): append it in the open batch, audience decided by
  // the node, with the stream, number and stamps that it has. store.admit() was asked for the whole batch; no
  // boundary() in here.
  virtual void ingest(const std::string& peer, const store::NewRecord& record, const Now& now) = 0;
  // Runs `work`, which ingests what one batch brings, up to its marks: what the node does behind each record it may do once, behind
  // the last. No boundary() in `work`; there may be one behind it.
  virtual void together(const std::function<void()>& work) = 0;
  // A large record is to be put together from its pieces, which takes its size in memory: only one peer at a time. False:
  // another one is at it; pump() is called when it has ended.
  virtual bool begin_assembly(const std::string& peer) = 0;
  virtual void end_assembly(const std::string& peer) = 0;
  // The store has a new incarnation: its own streams have new ids, so routes are to be looked up again.
  virtual void incarnation_renewed() = 0;
  // A line for the operator: a stable event id ("HF-LINK-004") and a sentence.
  virtual void log(const char* event, std::string text) = 0;
};

}  // namespace hf::link
