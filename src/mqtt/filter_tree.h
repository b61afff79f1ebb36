// FilterTree: topic filters to values, found by topic name.
//
// A trie with one node for each prefix of levels. Three ideas keep it small and quick:
//
//   - Labels are interned: every distinct level has a number, and a node finds a child by number. So matching
//   looks up
//     the text of each level of the name once, however many branches ask for it.
//   - '#' has no node. A filter that ends in '#' stands in `below` of the node it follows, which makes "a/#"
//   match "a"
//     without a special case; one that does not stands in `here` of its last node.
//   - Nodes name each other by index and are small, two to a cache line. What few of them need, many children
//   or a list
//     of values, lies elsewhere. Nothing is recursive, the destructor included.
//
// Invariant: every node but the root leads to a value, and every label is in use.
//
// Order of visits: depth first; at each node `below`, then `here`, then the literal child, then '+'; values
// ascending. It follows from the content alone: neither label numbers nor indexes show in it.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/assert.h"
#include "base/bytes.h"
#include "mqtt/topic.h"

namespace hf::mqtt {

template <typename Value>
class FilterTree {
 public:
  // `filter` is valid and not shared: topic_filter_valid() of the whole, parse_shared() for its inner filter.
  // False if the pair was there already.
  bool insert(Bytes filter, const Value& value);

  // False if the pair was not there.
  bool erase(Bytes filter, const Value& value);

  // Calls visit(const Value&) for each pair whose filter matches `name`, so a value that stands under several
  // matching filters is visited several times. `visit` must not change the tree. Does not allocate.
  template <typename Visit>
  void match(Bytes name, Visit&& visit) const;

  // How many pairs.
  size_t count() const { return count_; }

 private:
  using Index =
      uint32_t;  // Of an item in a pool; 0 is "none", and the root among the nodes: it is nobody's child.
  using Label = uint32_t;
  static constexpr Index kNone = 0;
  static constexpr Index kRoot = 0;
  static constexpr Label kNoLabel = UINT32_MAX;

  struct Child {
    Label label = kNoLabel;
    Index node = kNone;
  };
  using Fan = std::vector<Child>;     // By label.
  using Values = std::vector<Value>;  // Ascending.

  struct Node {
    Index parent = kNone;
    Index plus = kNone;
    Child child;        // One of the literal children, as most nodes have no other.
    Index fan = kNone;  // The others.
    Index here = kNone;
    Index below = kNone;
    bool unused() const {
      return plus == kNone && child.node == kNone && fan == kNone && here == kNone && below == kNone;
    }
  };
  struct LabelUse {
    Label label = kNoLabel;
    uint32_t nodes = 0;  // How many bear it.
  };

  // Items in one vector, used again after they are dropped. Item 0 is there from the start and stays.
  template <typename T>
  class Pool {
   public:
    T& operator[](Index i) { return items_[i]; }
    const T& operator[](Index i) const { return items_[i]; }
    Index make() {
      if (free_.empty()) {
        HF_ASSERT(items_.size() < UINT32_MAX);
        items_.emplace_back();
        return static_cast<Index>(items_.size() - 1);
      }
      const Index i = free_.back();
      free_.pop_back();
      return i;
    }
    void drop(Index i) {
      items_[i] = T();
      free_.push_back(i);
    }

   private:
    std::vector<T> items_ = std::vector<T>(1);
    std::vector<Index> free_;
  };

  bool add(Index Node::* list, Index node, const Value& value);
  bool remove(Index Node::* list, Index node, const Value& value);

  Label label_of(Bytes level) const;
  Index child_of(const Node& node, Label label) const;
  Index child_of(Index node, Bytes level) const {
    return level == "+" ? nodes_[node].plus : child_of(nodes_[node], label_of(level));
  }
  Index child_made(Index parent, Bytes level);
  void child_removed(Index parent, Bytes level);

  static auto place(auto& fan, Label label) {
    return std::lower_bound(fan.begin(), fan.end(), label,
                            [](const Child& child, Label wanted) { return child.label < wanted; });
  }

  Pool<Node> nodes_;
  Pool<Fan> fans_;
  Pool<Values> lists_;
  std::map<std::string, LabelUse, std::less<>> labels_;
  std::vector<Label> labels_free_;
  size_t count_ = 0;
};

template <typename Value>
bool FilterTree<Value>::insert(Bytes filter, const Value& value) {
  Index node = kRoot;
  size_t depth = 0;
  for (TopicLevels levels(filter); !levels.done();) {
    ++depth;
    HF_ASSERT(depth <= kTopicLevelsMax);
    const Bytes level = levels.next();
    if (level == "#") return add(&Node::below, node, value);
    node = child_made(node, level);
  }
  return add(&Node::here, node, value);
}

template <typename Value>
bool FilterTree<Value>::erase(Bytes filter, const Value& value) {
  Bytes path = filter;  // Of the node that holds the value.
  const bool below = filter == "#" || filter.ends_with("/#");
  if (below) path.remove_suffix(std::min<size_t>(path.size(), 2));

  Index node = kRoot;
  if (filter != "#") {
    for (TopicLevels levels(path); !levels.done();) {
      node = child_of(node, levels.next());
      if (node == kNone) return false;
    }
  }
  if (!remove(below ? &Node::below : &Node::here, node, value)) return false;
  if (count_ == 0) {
    *this = FilterTree();  // Gives the memory back.
    return true;
  }

  while (node != kRoot && nodes_[node].unused()) {
    const size_t slash = path.rfind('/');
    const bool first = slash == Bytes::npos;
    node = nodes_[node].parent;
    child_removed(node, first ? path : path.substr(slash + 1));
    path = first ? Bytes() : path.substr(0, slash);
  }
  return true;
}

template <typename Value>
template <typename Visit>
void FilterTree<Value>::match(Bytes name, Visit&& visit) const {
  struct Step {
    Index node;
    uint32_t depth;  // How many levels of the name lead to the node.
  };
  // A depth-first walk: each step taken puts at most two in its place, one level deeper.
  std::array<Step, kTopicLevelsMax + 2> steps;
  size_t step_count = 0;
  // The labels of the levels seen so far. The walk goes one level deeper at a time, so they are found as it
  // gets there.
  std::array<Label, kTopicLevelsMax + 1> labels;
  size_t label_count = 0;
  TopicLevels levels(name);

  // [MQTT-4.7.2-1] A wildcard at the first level does not match a name that starts with '$'.
  const bool reserved = name.starts_with('$');

  steps[step_count++] = {kRoot, 0};
  while (step_count > 0) {
    const Step step = steps[--step_count];
    const Node& node = nodes_[step.node];
    const bool wildcards = !(reserved && step.node == kRoot);

    if (wildcards) {
      for (const Value& value : lists_[node.below]) visit(value);
    }
    if (step.depth == label_count) {
      if (levels.done()) {
        for (const Value& value : lists_[node.here]) visit(value);
        continue;
      }
      labels[label_count++] = label_of(levels.next());
    }
    if (wildcards && node.plus != kNone) steps[step_count++] = {node.plus, step.depth + 1};
    const Index child = child_of(node, labels[step.depth]);
    if (child != kNone) steps[step_count++] = {child, step.depth + 1};
  }
}

template <typename Value>
bool FilterTree<Value>::add(Index Node::* list, Index node, const Value& value) {
  Index& index = nodes_[node].*list;
  if (index == kNone) index = lists_.make();
  Values& values = lists_[index];
  const auto at = std::lower_bound(values.begin(), values.end(), value);
  if (at != values.end() && !(value < *at)) return false;
  values.insert(at, value);
  ++count_;
  return true;
}

template <typename Value>
bool FilterTree<Value>::remove(Index Node::* list, Index node, const Value& value) {
  Index& index = nodes_[node].*list;
  Values& values = lists_[index];
  const auto at = std::lower_bound(values.begin(), values.end(), value);
  if (at == values.end() || value < *at) return false;
  values.erase(at);
  --count_;
  if (values.empty()) lists_.drop(std::exchange(index, kNone));
  return true;
}

template <typename Value>
typename FilterTree<Value>::Label FilterTree<Value>::label_of(Bytes level) const {
  const auto found = labels_.find(level);
  return found == labels_.end() ? kNoLabel : found->second.label;
}

template <typename Value>
typename FilterTree<Value>::Index FilterTree<Value>::child_of(const Node& node, Label label) const {
  if (label == node.child.label) return node.child.node;  // No label equals no label: no child then.
  if (node.fan == kNone) return kNone;
  const Fan& fan = fans_[node.fan];
  const auto at = place(fan, label);
  return at != fan.end() && at->label == label ? at->node : kNone;
}

template <typename Value>
typename FilterTree<Value>::Index FilterTree<Value>::child_made(Index parent, Bytes level) {
  const Index old = child_of(parent, level);
  if (old != kNone) return old;

  const Index made = nodes_.make();
  nodes_[made].parent = parent;
  Node& node = nodes_[parent];
  if (level == "+") {
    node.plus = made;
    return made;
  }

  auto entry = labels_.find(level);
  if (entry == labels_.end()) {
    LabelUse fresh;
    fresh.label = static_cast<Label>(labels_.size());  // If none is free, all below this are in use.
    if (!labels_free_.empty()) {
      fresh.label = labels_free_.back();
      labels_free_.pop_back();
    }
    entry = labels_.emplace(std::string(level), fresh).first;
  }
  LabelUse& use = entry->second;
  ++use.nodes;
  if (node.child.node == kNone) {
    node.child = {use.label, made};
  } else {
    if (node.fan == kNone) node.fan = fans_.make();
    Fan& fan = fans_[node.fan];
    fan.insert(place(fan, use.label), Child{use.label, made});
  }
  return made;
}

template <typename Value>
void FilterTree<Value>::child_removed(Index parent, Bytes level) {
  Node& node = nodes_[parent];
  if (level == "+") {
    nodes_.drop(std::exchange(node.plus, kNone));
    return;
  }

  const auto entry = labels_.find(level);
  HF_ASSERT(entry != labels_.end());
  LabelUse& use = entry->second;
  if (node.child.label == use.label) {
    nodes_.drop(std::exchange(node.child, Child()).node);
  } else {
    Fan& fan = fans_[node.fan];
    const auto at = place(fan, use.label);
    HF_ASSERT(at != fan.end() && at->label == use.label);
    nodes_.drop(at->node);
    fan.erase(at);
    if (fan.empty()) fans_.drop(std::exchange(node.fan, kNone));
  }
  if (--use.nodes == 0) {
    labels_free_.push_back(use.label);
    labels_.erase(entry);
  }
}

}  // namespace hf::mqtt
