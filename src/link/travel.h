// How our streams travel to one peer: by which reader, and under which incarnation.
//
// A *lane* is one durable reader of the store: one for each priority in use. A stream stays in the lane it
// began in, even if its priority changes, until that lane owes nothing more: in two lanes at once its records
// could overtake each other, and a receiver takes an overtaken one for a repeat. Where it changed lanes is
// kept, because a rewind may go back beyond that.
//
// A *label* is the trace of a fork: from number `from` on the stream's records travel under another
// incarnation, because the peer holds other records than ours under the old one. Labels are of one peer's
// store.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "store/store.h"

namespace hf::link {

struct Label {
  uint64_t from = 0;
  uint64_t incarnation = 0;
  uint64_t doubtful_last =
      0;  // Up to this number the peer may hold the record already, under the old incarnation.
  bool operator==(const Label&) const = default;
};

struct Lane {
  uint8_t priority = 0;
  store::ReaderId reader = 0;
};

// Through which lanes a stream went, one after the other.
struct Course {
  struct Change {
    uint8_t from = 0;    // The lane of everything up to...
    store::Position at;  // ... here.
    bool operator==(const Change&) const = default;
  };
  std::vector<Change> changes;  // Oldest first.
  uint8_t priority = 0;         // The lane since then.
  bool operator==(const Course&) const = default;
};

// Lane `priority` may not go on beyond `at` before lane `before` has.
struct Barrier {
  uint8_t priority = 0;
  uint8_t before = 0;
  store::Position at;
};

class Travel {
 public:
  // `peer`: a registered name, or kParentName.
  // `topic_prefix`: of the peer's topics here (prefix.h).
  Travel(store::Store& store, std::string peer, std::string topic_prefix = {});

  // The reader to which a new record of the stream is owed. Makes it if there is none yet.
  store::ReaderId reader_for(store::StreamId stream);
  // In order of priority.
  const std::vector<Lane>& lanes() const { return lanes_; }
  // The course of a travelling stream, if it ever was in a lane.
  std::optional<Course> course_of(const store::StreamKey& travelling) const;
  void put_course(const store::StreamKey& travelling, const Course& course);
  // Of all streams that changed lanes.
  std::vector<Barrier> barriers() const;

  const std::string& prefix() const { return prefix_; }
  // As in marks and pairs: of what travels.
  uint64_t hash_of(const store::Record& record) const;

  // The store that the labels are of; from its HELLO, remembered over restarts. 0: none was met yet.
  uint64_t store_id() const { return store_id_; }
  // Takes up the labels of another store. True if it is another one than before.
  bool meet(uint64_t store_id);
  uint64_t goodput() const { return goodput_; }
  void remember_goodput(uint64_t goodput);

  // The labels of a stream here, ascending; empty for most.
  const std::vector<Label>& labels(const store::StreamKey& local);
  void add_label(const store::StreamKey& local, const Label& label);
  // The key under which its next records travel.
  store::StreamKey open_key(const store::StreamKey& local);

  // What the peer is owed, in all lanes; after a crash a little more than it is, until the lanes go on.
  struct Owed {
    uint64_t count = 0;
    uint64_t bytes = 0;
  };
  Owed owed() const;

  // What the peer is owed is given up: the lanes go on behind it, and a gap of each says so, to the peer too.
  void give_up();
  // The peer is no peer any more: its readers and their rows go.
  void remove();

 private:
  store::ReaderId lane_reader(uint8_t priority);
  void put_memory();

  store::Store& store_;
  const std::string peer_;
  const std::string prefix_;
  std::vector<Lane> lanes_;
  uint64_t store_id_ = 0;
  uint64_t goodput_ = 0;
  std::map<store::StreamKey, std::vector<Label>> labels_;  // Those looked up so far.
};

}  // namespace hf::link
