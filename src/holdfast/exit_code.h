// How the process ends; scripts and service files rely on these.
#pragma once

namespace hf::holdfast {

inline constexpr int kExitOk = 0;
inline constexpr int kExitFailed = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitUnreachable = 3;  // No node answers there.
inline constexpr int kExitDegraded = 4;     // It answers, but needs a hand.
inline constexpr int kExitConfiguration =
    78;  // EX_CONFIG: configuration is wrong or the directory is in use.

}  // namespace hf::holdfast
