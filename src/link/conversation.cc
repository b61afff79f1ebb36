#include "link/conversation.h"

#include <algorithm>

#include "base/assert.h"
#include "link/rows.h"

namespace hf::link {

namespace {

constexpr Duration kHelloTimeout = seconds(30);

uint64_t features_of(const Settings& settings) {
  return (settings.compress ? kFeatureZstd : 0) | (settings.chunks ? kFeatureChunks : 0) |
         (settings.hashes ? kFeatureHashes : 0);
}

}  // namespace

Conversation::Conversation(store::Store& store, Host& host, Entropy& entropy, Settings settings,
                           std::string peer)
    : store_(store),
      host_(host),
      settings_(std::move(settings)),
      peer_(std::move(peer)),
      called_(peer_ == kParentName ? "the parent" : peer_),
      sender_(store, host, entropy, peer_, settings_.prefix),
      receiver_(store, host, peer_, settings_.prefix) {}

void Conversation::begin(Channel& channel, const Now& now) {
  HF_ASSERT(state_ == State::kSilent);
  channel_ = &channel;
  state_ = State::kGreeting;
  stranger_ = false;
  began_ = alive_ = now.mono;
  unsent_bytes_ = 0;
  told_up_ = false;
  last_error_.clear();
  Hello hello;
  hello.features = features_of(settings_);
  hello.name = settings_.name;
  hello.store_id = store_.store_id();
  hello.incarnation = store_.incarnation();
  hello.wall_us = now.wall_us;
  hello.quality = now.quality;
  hello.marks = receiver_.marks();
  // What the marks say must be durable: the peer gives up what they cover.
  channel_->send(Kind::kHello, encode_hello(std::move(hello)), receiver_.commit());
}

void Conversation::end(const Now&) {
  if (state_ == State::kSilent) return;
  if (told_up_)
    host_.log("HF-LINK-002",
              "the link to " + called_ + " is down" + (last_error_.empty() ? "" : ": " + last_error_));
  sender_.stop();
  receiver_.stop();
  state_ = State::kSilent;
  channel_ = nullptr;
}

void Conversation::close(const char* event, const std::string& why) {
  if (state_ == State::kClosing || state_ == State::kSilent) return;
  state_ = State::kClosing;
  last_error_ = why;
  // Once, not at every attempt.
  if (why != last_logged_) host_.log(event, "the conversation with " + called_ + " ends: " + why);
  last_logged_ = why;
  channel_->close(last_error_.c_str());
}

void Conversation::received(Kind kind, Bytes message, uint16_t id, const Now& now) {
  if (state_ == State::kSilent || state_ == State::kClosing) return;
  alive_ = now.mono;
  if (state_ == State::kGreeting) {
    if (kind != Kind::kHello) return close("HF-LINK-003", "it began with something else than HELLO");
    channel_->acknowledge(id, mqtt::Reason::kSuccess, 0);
    return hello(message, now);
  }
  switch (kind) {
    case Kind::kBatch: {
      Receiver::Outcome outcome;
      host_.together([&] { outcome = receiver_.batch(message, now); });
      if (outcome.broken != nullptr) return close("HF-LINK-003", outcome.broken);
      channel_->acknowledge(id, outcome.reason, outcome.commit);
      return;
    }
    case Kind::kPairs:
      return pairs(message, id);
    case Kind::kChunk:
      return chunk(message, id, now);
    case Kind::kHello:
      return close("HF-LINK-003", "it said HELLO twice");
    case Kind::kClaim:
      return close("HF-LINK-003", "it claimed again");
  }
}

void Conversation::hello(Bytes message, const Now& now) {
  Result<Hello> hello = decode_hello(message);
  if (!hello) return close("HF-LINK-003", hello.error().text);
  if (hello->version_min > kProtocolVersion || hello->version_max < kProtocolVersion) {
    return close("HF-LINK-003", "it speaks versions " + std::to_string(hello->version_min) + " to " +
                                    std::to_string(hello->version_max) + " of the link, and this node " +
                                    std::to_string(kProtocolVersion) + ": upgrade the older of the two");
  }
  if (hello->store_id == store_.store_id()) {
    return close("HF-LINK-003", "it has this very store: a copy of this node, or the node itself");
  }
  state_ = State::kTalking;
  features_ = features_of(settings_) & hello->features;
  sender_.start(*channel_, *hello, features_, now);
  if ((features_ & kFeatureChunks) != 0) {
    // Where the peer goes on with what it has begun.
    Chunk halves;
    halves.halves = receiver_.halves();
    channel_->send(Kind::kChunk, chunk_codec_.encode(std::move(halves), false), receiver_.commit());
  }
  hello->marks.clear();
  hello_ = std::move(*hello);
}

void Conversation::pairs(Bytes message, uint16_t id) {
  const Result<PairsMessage> pairs = decode_pairs(message);
  if (!pairs) return close("HF-LINK-003", pairs.error().text);
  if (pairs->single && (features_ & kFeatureHashes) == 0)
    return close("HF-LINK-003", "it spoke of single hashes, which was not agreed");
  if (pairs->answer) {
    if (!sender_.pairs(*pairs)) return close("HF-LINK-003", "it answered a question that nobody asked");
  } else if (pairs->single) {
    if (!receiver_.asked(*pairs)) return close("HF-LINK-003", "it asked before it was answered");
  } else {
    channel_->send(Kind::kPairs, receiver_.answer(pairs->key), receiver_.commit());
  }
  channel_->acknowledge(id, mqtt::Reason::kSuccess, 0);
}

void Conversation::chunk(Bytes message, uint16_t id, const Now& now) {
  if ((features_ & kFeatureChunks) == 0) return close("HF-LINK-003", "it sent a chunk, which was not agreed");
  const Result<Chunk> chunk = chunk_codec_.decode(message);
  if (!chunk) return close("HF-LINK-003", chunk.error().text);
  if (chunk->kind == Chunk::Kind::kHalves || chunk->kind == Chunk::Kind::kVerdict) {
    const bool asked =
        chunk->kind == Chunk::Kind::kHalves ? sender_.halves(chunk->halves) : sender_.verdict(*chunk, now);
    if (!asked) return close("HF-LINK-003", "it spoke of a large record that was not sent");
    return channel_->acknowledge(id, mqtt::Reason::kSuccess, 0);
  }
  const Receiver::Outcome outcome = receiver_.chunk(*chunk, now);
  if (outcome.broken != nullptr) return close("HF-LINK-003", outcome.broken);
  channel_->acknowledge(id, outcome.reason, outcome.commit);
  if (outcome.decided) tell({chunk->of.key, chunk->of.number, outcome});
}

void Conversation::tell(const Receiver::Verdict& verdict) {
  Chunk told;
  told.kind = Chunk::Kind::kVerdict;
  told.of.key = verdict.key;
  told.of.number = verdict.number;
  told.reason = static_cast<uint8_t>(verdict.outcome.reason);
  channel_->send(Kind::kChunk, chunk_codec_.encode(std::move(told), false), verdict.outcome.commit);
}

void Conversation::acknowledged(uint16_t id, mqtt::Reason reason, const Now& now) {
  if (state_ == State::kSilent || state_ == State::kClosing) return;
  alive_ = now.mono;
  if (sender_.receipt(id, reason, now)) return;
  // HELLO, or a message about pairs.
  if (static_cast<uint8_t>(reason) >= 0x80) {
    stranger_ = state_ == State::kGreeting && reason == mqtt::Reason::kNotAuthorized;
    close("HF-LINK-003",
          stranger_ ? "it does not know this node; is it the right one? If so: holdfast node add NAME there, "
                      "and give its claim here"
                    : std::string("it refused a message: ") + mqtt::reason_name(reason));
  }
}

void Conversation::unsent(uint64_t bytes, const Now& now) {
  // Bytes that leave are a sign of life: somebody takes them.
  if (bytes < unsent_bytes_) alive_ = now.mono;
  unsent_bytes_ = bytes;
  sender_.unsent(bytes);
}

void Conversation::pump(const Now& now) {
  if (state_ == State::kGreeting && now.mono >= began_ + kHelloTimeout) {
    return close("HF-LINK-003", "it did not say HELLO within 30 s");
  }
  if (state_ != State::kTalking) return;
  if (sender_.awaiting() && now.mono >= alive_ + sender_.patience()) {
    sender_.silent();
    return close("HF-LINK-003", "no receipt and no other sign of life came");
  }
  if (const std::optional<Receiver::Verdict> verdict = receiver_.pump(now)) {
    if (verdict->outcome.broken != nullptr) return close("HF-LINK-003", verdict->outcome.broken);
    tell(*verdict);
  }
  if (const std::optional<PairsMessage> answer = receiver_.hashes()) {
    channel_->send(Kind::kPairs, encode_pairs(*answer), receiver_.commit());
  }
  const bool awaiting = sender_.awaiting();
  sender_.pump(now);
  // Patience begins when there is something to wait for.
  if (!awaiting) alive_ = now.mono;
  if (!told_up_ && sender_.flowing()) {
    told_up_ = true;
    last_logged_.clear();
    host_.log("HF-LINK-001",
              "the link to " + called_ + " is up (" + hello_->name + ", store " + to_hex(hello_->store_id) +
                  "); " + std::to_string(sender_.travel().owed().count) +
                  (sender_.travel().owed().count == 1 ? " record to send" : " records to send"));
  }
}

std::optional<Instant> Conversation::next_deadline() const {
  if (state_ == State::kGreeting) return began_ + kHelloTimeout;
  if (state_ != State::kTalking) return std::nullopt;
  if (sender_.wants_more() || receiver_.wants_more()) return Instant{};
  std::optional<Instant> deadline = sender_.next_deadline();
  if (sender_.awaiting()) {
    const Instant silent = alive_ + sender_.patience();
    if (!deadline || silent < *deadline) deadline = silent;
  }
  return deadline;
}

}  // namespace hf::link
