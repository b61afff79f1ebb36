// Goal: the hot path asks for no memory, and what is erased gives its memory back. Method: this file replaces
// the global operator new and delete of the test program by ones that count.
#include <gtest/gtest.h>
#include <malloc.h>

#include <cstdlib>
#include <new>
#include <string>

#include "mqtt/packet.h"
#include "mqtt/packet_hex.h"
#include "mqtt/topic.h"

namespace {

size_t allocations = 0;
size_t bytes_in_use = 0;

void* counted(size_t size) {
  void* memory = std::malloc(size);
  if (memory == nullptr) std::abort();
  ++allocations;
  bytes_in_use += malloc_usable_size(memory);
  return memory;
}

void uncounted(void* memory) {
  if (memory != nullptr) bytes_in_use -= malloc_usable_size(memory);
  std::free(memory);
}

}  // namespace

void* operator new(size_t size) { return counted(size); }
void* operator new[](size_t size) { return counted(size); }
void operator delete(void* memory) noexcept { uncounted(memory); }
void operator delete[](void* memory) noexcept { uncounted(memory); }
void operator delete(void* memory, size_t) noexcept { uncounted(memory); }
void operator delete[](void* memory, size_t) noexcept { uncounted(memory); }

namespace hf::mqtt {
namespace {

TEST(Allocation, HotPathAsksForNone) {
  std::string bytes;
  for (const Version version : {Version::k311, Version::k5}) {
    const PublishHead head{.qos = 1, .topic = "plant/line4/press17/temperature", .packet_id = 7};
    const std::string payload(300, 'x');
    bytes.clear();
    bytes.reserve(1'000);
    Packet packet;
    Framed framed;
    DecodeError error;
    const size_t before = allocations;
    encode_publish(bytes, version, head, payload);
    encode_ack(bytes, version, PacketType::kPuback, 7, Reason::kQuotaExceeded);
    const bool publish_ok = frame_next(bytes, SIZE_MAX, &framed, &error) == FrameStatus::kWhole &&
                            decode(framed, version, Sender::kClient, &packet, &error);
    const Bytes rest = Bytes(bytes).substr(framed.size);
    const bool ack_ok = frame_next(rest, SIZE_MAX, &framed, &error) == FrameStatus::kWhole &&
                        decode(framed, version, Sender::kClient, &packet, &error);
    EXPECT_EQ(allocations, before);
    EXPECT_TRUE(publish_ok);
    EXPECT_TRUE(ack_ok);
  }
}

TEST(Allocation, MatchingAsksForNone) {
  FilterTree<int> tree;
  for (int i = 0; i < 1'000; ++i)
    tree.insert("a level longer than a small string/+/" + std::to_string(i) + "/#", i);
  int visited = 0;
  const size_t before = allocations;
  tree.match("a level longer than a small string/another one of more than sixteen/500/x/y",
             [&](int) { ++visited; });
  EXPECT_EQ(allocations, before);
  EXPECT_EQ(visited, 1);
}

TEST(Allocation, RefusedPacketsLeaveNothing) {
  // A SUBSCRIBE whose last filter is broken, a CONNECT whose last user property is.
  for (const Bytes text : {"82 11 0001 00 0001 61 00 0001 62 00 0003 612f23 03",
                           "10 17 0004 4d515454 05 02 003c 0a 26 0000 0000 26 0000 0009 0000"}) {
    const std::string bytes = hex(text);
    const size_t before = bytes_in_use;
    {
      Packet packet;
      Framed framed;
      DecodeError error;
      ASSERT_EQ(frame_next(bytes, SIZE_MAX, &framed, &error), FrameStatus::kWhole);
      EXPECT_FALSE(decode(framed, Version::k5, Sender::kClient, &packet, &error));
    }
    EXPECT_EQ(bytes_in_use, before);
  }
}

TEST(Allocation, ErasedFiltersGiveTheirMemoryBack) {
  // A client that subscribes to ever new filters and leaves them again must not make the broker grow.
  FilterTree<int> tree;
  tree.insert("stays", 1);
  const auto churn = [&tree](int from) {
    for (int i = from; i < from + 1'000; ++i) {
      // Siblings too, so that nodes lose one child of several.
      const std::string prefix = "a level longer than a small string " + std::to_string(i);
      for (const char* rest : {"/+/x/#", "/y", "/z", "/z/+"}) tree.insert(prefix + rest, i);
      for (const char* rest : {"/y", "/z", "/+/x/#", "/z/+"}) tree.erase(prefix + rest, i);
    }
  };
  churn(0);
  const size_t before = bytes_in_use;
  churn(1'000);
  EXPECT_EQ(bytes_in_use, before);

  // Many at once, and then none.
  const FilterTree<int> fresh;
  const size_t empty = bytes_in_use;
  FilterTree<int> big;
  for (int i = 0; i < 1'000; ++i) big.insert(std::to_string(i) + "/+/x", i);
  const size_t full = bytes_in_use - empty;
  for (int i = 0; i < 1'000; ++i) big.erase(std::to_string(i) + "/+/x", i);
  EXPECT_LT(bytes_in_use - empty, full / 100);
}

}  // namespace
}  // namespace hf::mqtt
