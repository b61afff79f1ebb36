#pragma once

namespace hf::holdfast {

inline constexpr char kVersion[] = "0.1.0";

}  // namespace hf::holdfast
