#include "base/result.h"

namespace hf {

const char* code_name(Code code) {
  switch (code) {
    case Code::kInvalid:
      return "invalid";
    case Code::kTruncated:
      return "truncated";
    case Code::kTooLarge:
      return "too-large";
    case Code::kNotFound:
      return "not-found";
    case Code::kExists:
      return "exists";
    case Code::kCorrupt:
      return "corrupt";
    case Code::kWrongKey:
      return "wrong-key";
    case Code::kForeign:
      return "foreign";
    case Code::kFull:
      return "full";
    case Code::kIo:
      return "io";
    case Code::kDenied:
      return "denied";
    case Code::kBusy:
      return "busy";
    case Code::kUnsupported:
      return "unsupported";
  }
  return "unknown";
}

}  // namespace hf
