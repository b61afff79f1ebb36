// Runs of bytes, and the two cursors that every codec is made of.
//
// `Bytes` borrows, `std::string` owns. Numbers of our own formats are little-endian or LEB128 varints; MQTT's
// are big-endian and its Variable Byte Integer lives in mqtt/.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace hf {

using Bytes = std::string_view;

// The longest varint of a 64-bit number.
inline constexpr size_t kVarintBytesMax = 10;

// Encoders of what comes by the hundred thousand put the short fields of a record into a buffer of their own with the
// write_ functions, and append that once; all others append field by field with the put_ functions.
//
// LEB128: seven bits a byte, low bits first, the top bit says that more follow. Writes at `at`, where kVarintBytesMax
// bytes fit, and returns where it ends.
inline char* write_varint(char* at, uint64_t value) {
  while (value >= 0x80) {
    *at++ = static_cast<char>(value | 0x80);
    value >>= 7;
  }
  *at++ = static_cast<char>(value);
  return at;
}
// Zigzag: 0, -1, 1, -2 ... become 0, 1, 2, 3 ..., so that small negative numbers stay short.
inline char* write_svarint(char* at, int64_t value) {
  return write_varint(at, (static_cast<uint64_t>(value) << 1) ^ static_cast<uint64_t>(value >> 63));
}

inline void put_u8(std::string& out, uint8_t value) { out.push_back(static_cast<char>(value)); }
void put_u16(std::string& out, uint16_t value);
void put_u32(std::string& out, uint32_t value);
void put_u64(std::string& out, uint64_t value);
void put_u16be(std::string& out, uint16_t value);
void put_u32be(std::string& out, uint32_t value);
void put_u64be(std::string& out, uint64_t value);
void put_varint(std::string& out, uint64_t value);
void put_svarint(std::string& out, int64_t value);
// A varint of the size, then the bytes.
void put_sized(std::string& out, Bytes value);

size_t varint_size(uint64_t value);

// Makes it empty and gives its memory back. (libstdc++ keeps the memory of a string that an empty one is assigned to.)
inline void release_memory(std::string& text) { std::string().swap(text); }

// Reads from the front of borrowed bytes. The first read past the end, or of a malformed varint, fails the
// cursor for good: later reads give zero or empty, and `ok()` is false. So a decoder reads a whole structure
// and asks once.
class ByteReader {
 public:
  explicit ByteReader(Bytes bytes) : rest_(bytes) {}

  // What every record is made of is inline.
  uint8_t u8() {
    const Bytes one = bytes(1);
    return one.empty() ? 0 : static_cast<uint8_t>(one.front());
  }
  uint16_t u16();
  uint32_t u32();
  uint64_t u64();
  uint16_t u16be();
  uint32_t u32be();
  uint64_t u64be();
  uint64_t varint() {
    // Most are one byte long.
    if (rest_.empty() || static_cast<uint8_t>(rest_.front()) >= 0x80) return long_varint();
    const auto value = static_cast<uint8_t>(rest_.front());
    rest_.remove_prefix(1);
    return value;
  }
  int64_t svarint() {
    const uint64_t raw = varint();
    return static_cast<int64_t>((raw >> 1) ^ (~(raw & 1) + 1));
  }
  Bytes bytes(uint64_t size) {
    if (size > rest_.size()) {
      fail();
      return {};
    }
    const Bytes value = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return value;
  }
  Bytes sized() {  // The inverse of put_sized.
    return bytes(varint());
  }

  Bytes rest() const { return rest_; }
  bool empty() const { return rest_.empty(); }
  bool ok() const { return ok_; }
  // Whole and nothing left over.
  bool done() const { return ok_ && rest_.empty(); }
  void fail() {
    ok_ = false;
    rest_ = {};
  }

 private:
  template <typename T>
  T little();
  template <typename T>
  T big();
  uint64_t long_varint();

  Bytes rest_;
  bool ok_ = true;
};

// Lower-case hexadecimal, for names and messages.
std::string to_hex(Bytes bytes);
std::string to_hex(uint64_t value);  // 16 digits.
// Empty if `text` is not an even number of hexadecimal digits.
std::string from_hex(Bytes text);

}  // namespace hf
