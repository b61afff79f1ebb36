#include "io/filter_chain.h"

namespace hf::io {

using State = Filter::State;

void FilterChain::receive(Bytes wire, std::string* core, std::string* reply) {
  if (state_ == State::kEnded || state_ == State::kFailed) return;
  pass_up(0, wire, core, reply);
  look();
}

bool FilterChain::introducing() const {
  return filters_.size() > 1 && filters_[0]->transparent() && filters_[0]->state() == State::kHandshaking;
}

void FilterChain::introduce(Bytes wire, std::string* rest, std::string* reply) {
  filters_[0]->receive(wire, rest, reply);
  look();
}

// Bytes for filter `index`, or for the core behind the last one.
void FilterChain::pass_up(size_t index, Bytes bytes, std::string* core, std::string* reply) {
  if (index == filters_.size()) {
    core->append(bytes);
    return;
  }
  Filter& filter = *filters_[index];
  const bool was_established = filter.state() == State::kEstablished;
  const bool last = index + 1 == filters_.size();
  std::string above;
  if (index == 0) {
    filter.receive(bytes, last ? core : &above, reply);
  } else {
    std::string back;
    filter.receive(bytes, last ? core : &above, &back);
    if (!back.empty()) pass_down(index, back, reply);
  }
  // The next one may be the end that begins, so it hears of it when this one stands.
  const bool stands = !was_established && filter.state() == State::kEstablished;
  if (!last && (stands || !above.empty())) pass_up(index + 1, above, core, reply);
}

// What filter `index` wants on the wire, through those below it.
void FilterChain::pass_down(size_t index, Bytes bytes, std::string* wire) {
  if (index == 0) {
    wire->append(bytes);
  } else if (index == 1) {
    filters_[0]->send(bytes, wire);
  } else {
    std::string below;
    filters_[index - 1]->send(bytes, &below);
    pass_down(index - 1, below, wire);
  }
}

void FilterChain::send(Bytes core, std::string* wire) {
  pass_down(filters_.size(), core, wire);
  look();
}

void FilterChain::finish(std::string* wire) {
  for (size_t index = filters_.size(); index-- > 0;) {
    if (filters_[index]->state() != State::kEstablished) continue;
    std::string last_words;
    filters_[index]->finish(&last_words);
    if (!last_words.empty()) pass_down(index, last_words, wire);
  }
}

void FilterChain::look() {
  state_ = State::kEstablished;
  for (const auto& filter : filters_) {
    filter->tell(&facts_);
    const State state = filter->state();
    if (state == State::kEstablished || state_ == State::kFailed) continue;
    if (state == State::kFailed) failure_ = filter->failure();
    if (state_ != State::kEnded || state == State::kFailed) state_ = state;
  }
  std::erase_if(filters_, [](const auto& filter) {
    return filter->transparent() && filter->state() == State::kEstablished;
  });
}

bool FilterChain::laborious() const {
  for (const auto& filter : filters_) {
    if (filter->laborious() && filter->state() == State::kHandshaking) return true;
  }
  return false;
}

bool FilterChain::upgrading() const {
  for (const auto& filter : filters_) {
    if (filter->state() == State::kHandshaking && !filter->upgrades()) return false;
  }
  return true;
}

}  // namespace hf::io
