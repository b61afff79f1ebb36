#include "sim/trace.h"

#include <cstdarg>
#include <cstdio>

#include "base/crc32c.h"

namespace hf::sim {

void Trace::mix(Bytes bytes) {
  mix(bytes.size());
  mix(uint64_t{crc32c(bytes)});
}

void Trace::say(const char* format, ...) {
  char text[400];
  const int head = std::snprintf(text, sizeof text, "%7llu.%03llu  ",
                                 static_cast<unsigned long long>(now_.ns / 1'000'000'000),
                                 static_cast<unsigned long long>(now_.ns / 1'000'000 % 1000));
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text + head, sizeof text - static_cast<size_t>(head), format, arguments);
  va_end(arguments);
  mix(Bytes(text));
  if (aloud_) std::fprintf(stderr, "%s\n", text);
  story_.emplace_back(text);
  if (story_.size() > kLinesMax) story_.pop_front();
}

}  // namespace hf::sim
