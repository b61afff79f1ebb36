// Who may do what: the permissions file, once read, and what it means for one session.
//
// An entry is for a user (or everybody with a name, or clients without one) and, if it says so, for clients whose
// identifier begins in a certain way. It has lists of topic filters that allow, and lists that deny. A thing is
// allowed if an entry that applies allows it and none that applies denies it; their order does not matter.
//
//     publish     topics it may publish to                     may_publish
//     retain      topics it may leave a retained message at,   may_retain
//                 of those that it may publish to
//     subscribe   what it may subscribe to and receive         may_subscribe, may_receive
//
// In a filter %u stands for the user's name and %c for the client identifier. Whoever has no name, or one that would
// be more than a piece of one level, is given nothing by that filter; and is denied everything by it if it denies, for
// nobody shall get around it by the choice of an identifier.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"

namespace hf::identity {

// Whether each topic that the filter `narrow` matches is matched by `wide` as well. Both are valid and not shared. (A
// filter with as many levels as a topic may have is judged as if there could be more.)
bool filter_covers(Bytes wide, Bytes narrow);

enum class Action : uint8_t { kPublish, kRetain, kSubscribe, kReceive };
inline constexpr Action kActions[] = {Action::kPublish, Action::kRetain, Action::kSubscribe,
                                      Action::kReceive};
const char* action_name(Action action);  // "publish"

inline constexpr char kEverybody[] = "*";

// Topic filters as written, with %u and %c in them.
struct FilterLists {
  std::vector<std::string> publish;
  std::vector<std::string> retain;
  std::vector<std::string> subscribe;
  friend bool operator==(const FilterLists&, const FilterLists&) = default;
};

struct Permission {
  std::string user;    // A name, kEverybody (with a name), or empty: clients without a name.
  std::string client;  // An identifier, or its beginning and '*'; empty: any.
  FilterLists allow;
  FilterLists deny;
  std::map<std::string, uint32_t, std::less<>> lines;  // Where its keys are written, for people.
  friend bool operator==(const Permission&, const Permission&) = default;

  bool applies_to(Bytes user_name, Bytes client_id) const;
};

// A valid topic filter that is not shared: permissions are asked about what "$share/GROUP/" stands before.
bool permission_filter_valid(Bytes filter);
// Empty, or an identifier with no '*' but at the end.
bool client_pattern_valid(Bytes pattern);

// What one session may do: filters with its names put in. A value; what becomes of the Permissions it came from does
// not change it.
class Grant {
 public:
  Grant() = default;  // Nothing.
  static Grant everything();

  bool may_publish(Bytes topic) const;
  // A PUBLISH with RETAIN; implies may_publish.
  bool may_retain(Bytes topic) const;
  // One message to one subscriber, whatever subscription it has.
  bool may_receive(Bytes topic) const;
  // Whether some filter allows all that `filter` can match, and none denies all of it. What is denied in part is held
  // back message by message, by may_receive. `filter` is valid; of "$share/GROUP/FILTER" ask about FILTER.
  bool may_subscribe(Bytes filter) const;

  // What it is made of, for people: whether it is everything, and the filters of one action (of kReceive those of
  // kSubscribe) that allow, or deny, with the names put in. An empty one denies everything.
  bool all() const { return everything_; }
  std::vector<std::string> filters(Action action, bool denies) const;

 private:
  friend class Permissions;
  struct Rule {
    std::string filter;   // Empty, where it denies: everything.
    size_t entry = 0;     // In Permissions::entries().
    size_t position = 0;  // In the entry's list.
  };
  struct Rules {
    std::vector<Rule> allow;
    std::vector<Rule> deny;
  };
  // The first rule that denies, else the first that allows; nothing if none does either.
  struct Verdict {
    const Rule* denied = nullptr;
    const Rule* allowed = nullptr;
    explicit operator bool() const { return allowed != nullptr; }
  };
  static Verdict judge_topic(const Rules& rules, Bytes topic);
  static Verdict judge_filter(const Rules& rules, Bytes filter);

  bool everything_ = false;
  Rules publish_;
  Rules retain_;
  Rules subscribe_;
};

// Why something is or is not allowed, for people.
struct Explanation {
  bool allowed = false;
  std::string sentence;         // Without a full stop.
  std::optional<size_t> entry;  // In Permissions::entries(): the one that decided ...
  std::string key;              // ... and by which of its lists: "deny_publish".
};

class Permissions {
 public:
  Permissions() = default;  // There is no file: whoever was admitted may do everything.
  // Of a file, even an empty one: nothing but what these allow.
  explicit Permissions(std::vector<Permission> entries);

  // `user` is empty for a client without a name.
  Grant grant_for(Bytes user, Bytes client_id) const;
  // `topic` is a topic filter for kSubscribe and a topic name for all others.
  Explanation explain(Bytes user, Bytes client_id, Action action, Bytes topic) const;

  // Whether what a user may do depends on the client identifier.
  bool look_at_clients() const { return look_at_clients_; }
  bool everything() const { return everything_; }
  const std::vector<Permission>& entries() const { return entries_; }
  friend bool operator==(const Permissions&, const Permissions&) = default;

 private:
  bool everything_ = true;
  bool look_at_clients_ = false;
  std::vector<Permission> entries_;
};

}  // namespace hf::identity
