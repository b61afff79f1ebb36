#include "base/bytes.h"

#include <bit>

namespace hf {

namespace {

template <typename T>
void put_little(std::string& out, T value) {
  static_assert(std::endian::native == std::endian::little, "a big-endian port swaps here and in ByteReader");
  char raw[sizeof(T)];
  std::memcpy(raw, &value, sizeof(T));
  out.append(raw, sizeof(T));
}

template <typename T>
void put_big(std::string& out, T value) {
  char raw[sizeof(T)];
  for (size_t i = 0; i < sizeof(T); ++i) raw[i] = static_cast<char>(value >> (8 * (sizeof(T) - 1 - i)));
  out.append(raw, sizeof(T));
}

}  // namespace

void put_u16(std::string& out, uint16_t value) { put_little(out, value); }
void put_u32(std::string& out, uint32_t value) { put_little(out, value); }
void put_u64(std::string& out, uint64_t value) { put_little(out, value); }
void put_u16be(std::string& out, uint16_t value) { put_big(out, value); }
void put_u32be(std::string& out, uint32_t value) { put_big(out, value); }
void put_u64be(std::string& out, uint64_t value) { put_big(out, value); }

void put_varint(std::string& out, uint64_t value) {
  char raw[kVarintBytesMax];
  out.append(raw, static_cast<size_t>(write_varint(raw, value) - raw));
}

void put_svarint(std::string& out, int64_t value) {
  char raw[kVarintBytesMax];
  out.append(raw, static_cast<size_t>(write_svarint(raw, value) - raw));
}

void put_sized(std::string& out, Bytes value) {
  put_varint(out, value.size());
  out.append(value);
}

size_t varint_size(uint64_t value) {
  return value == 0 ? 1 : (static_cast<size_t>(std::bit_width(value)) + 6) / 7;
}

template <typename T>
T ByteReader::little() {
  T value = 0;
  if (rest_.size() < sizeof(T)) {
    fail();
    return 0;
  }
  rest_.copy(reinterpret_cast<char*>(&value), sizeof(T));
  rest_.remove_prefix(sizeof(T));
  return value;
}

template <typename T>
T ByteReader::big() {
  if (rest_.size() < sizeof(T)) {
    fail();
    return 0;
  }
  T value = 0;
  for (size_t i = 0; i < sizeof(T); ++i)
    value = static_cast<T>((value << 8) | static_cast<uint8_t>(rest_[i]));
  rest_.remove_prefix(sizeof(T));
  return value;
}

uint16_t ByteReader::u16() { return little<uint16_t>(); }
uint32_t ByteReader::u32() { return little<uint32_t>(); }
uint64_t ByteReader::u64() { return little<uint64_t>(); }
uint16_t ByteReader::u16be() { return big<uint16_t>(); }
uint32_t ByteReader::u32be() { return big<uint32_t>(); }
uint64_t ByteReader::u64be() { return big<uint64_t>(); }

uint64_t ByteReader::long_varint() {
  uint64_t value = 0;
  for (size_t i = 0; i < rest_.size() && i < kVarintBytesMax; ++i) {
    const auto byte = static_cast<uint8_t>(rest_[i]);
    // The tenth byte holds the one bit that is left of 64, and no number has a needless last byte of zero.
    if ((i == kVarintBytesMax - 1 && byte > 1) || (byte == 0 && i > 0)) break;
    value |= static_cast<uint64_t>(byte & 0x7f) << (7 * i);
    if (byte < 0x80) {
      rest_.remove_prefix(i + 1);
      return value;
    }
  }
  fail();
  return 0;
}

std::string to_hex(Bytes bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  text.reserve(bytes.size() * 2);
  for (const char c : bytes) {
    text.push_back(kDigits[static_cast<uint8_t>(c) >> 4]);
    text.push_back(kDigits[static_cast<uint8_t>(c) & 15]);
  }
  return text;
}

std::string to_hex(uint64_t value) {
  std::string raw;
  put_u64be(raw, value);
  return to_hex(raw);
}

std::string from_hex(Bytes text) {
  const auto digit = [](char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
  };
  if (text.size() % 2 != 0) return {};
  std::string bytes;
  for (size_t i = 0; i < text.size(); i += 2) {
    const int high = digit(text[i]);
    const int low = digit(text[i + 1]);
    if (high < 0 || low < 0) return {};
    bytes.push_back(static_cast<char>(high * 16 + low));
  }
  return bytes;
}

}  // namespace hf
