// How much may be under way: bytes sent and not receipted stay within what the link carries in a few seconds,
// so that an alarm that comes now waits behind seconds and not behind the backlog.
//
//   window = max(4 KiB, max(2 s, 2 x round trip) x goodput), at most 8 MiB
//   batch  = 1 s x goodput, from 1 KiB to 256 KiB
//
// What is more urgent than all that is under way need not wait until the window has room: one small batch goes at once, and
// the next one after a receipt. So an alarm waits behind a window and not behind a window and a receipt.
//
// Goodput is measured over the way of each batch: what was receipted between its sending and its receipt, for
// that time. (Between two receipts would be shorter and wrong: a parent that commits several batches at once
// receipts them at once, and so does a path that was blocked for a while.) It rises at once by half the
// distance to a better measurement, and falls by a quarter only if the window was what held us back (a link
// that has nothing to carry is not a slow link). The round trip is measured on batches that were alone on the
// way, less what their own bytes took: any other waited behind our own bytes, and a window made of that would feed itself. Where none was
// alone for half a minute, the pipe is let run dry once.
//
// All numbers are integers, so that two machines decide alike.
#pragma once

#include <array>
#include <cstdint>
#include <deque>

#include "base/time.h"

namespace hf::link {

// A window of this is a second and a half at 20 kbit/s; loopback leaves it behind in a round trip.
inline constexpr uint64_t kGoodputStart = 2 << 10;
inline constexpr uint64_t kWindowBytesMin = 4 << 10;
inline constexpr uint64_t kWindowBytesMax = 8 << 20;
inline constexpr uint64_t kBatchBytesMin = 1 << 10;
inline constexpr uint64_t kBatchBytesMax = 256 << 10;

class Pace {
 public:
  // `goodput` as remembered of this peer, in bytes a second; 0: nothing is.
  explicit Pace(uint64_t goodput = 0);

  // A new conversation: nothing is under way.
  void begin();

  uint64_t window() const;
  uint64_t batch() const;
  // What may leave now as one batch; 0 while the window is full. `wanted`: there is something to send; `urgent`: it comes
  // before all that is under way.
  uint64_t room(bool wanted, bool urgent, const Now& now);

  // A batch leaves. True if nothing else is under way: hand that back with its receipt.
  bool sent(uint64_t bytes, const Now& now);
  void receipted(uint64_t bytes, Instant sent, bool alone, const Now& now);
  // Receipts stopped coming: the link carries less than we think.
  void silent();

  uint64_t outstanding() const { return outstanding_; }
  uint64_t goodput() const { return goodput_; }
  // Smallest of the recent round trips; zero before the first.
  Duration round_trip() const;
  // How long what is under way should take.
  Duration expected() const;

 private:
  void measured(uint64_t sample);

  uint64_t goodput_;
  uint64_t outstanding_ = 0;
  uint64_t receipted_bytes_ = 0;              // In this conversation.
  std::deque<uint64_t> receipted_when_sent_;  // For each batch under way: what that was when it left.
  bool overdrawn_ = false;                 // Something urgent left beyond the window since the last receipt.
  bool held_back_ = false;                 // The window was full while there was more to send.
  std::array<Duration, 8> round_trips_{};  // Zero: none.
  uint32_t round_trip_next_ = 0;
  Instant alone_last_{};  // When a batch last left alone.
};

}  // namespace hf::link
