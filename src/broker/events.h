// The broker's log events: stable ids, for searching. Sentences around them may change.
#pragma once

namespace hf::broker {

inline constexpr const char* kEventConnectRefused = "HF-MQTT-001";
inline constexpr const char* kEventConnectionFailed =
    "HF-MQTT-002";  // The peer broke the protocol or a limit.
inline constexpr const char* kEventKeepAlive = "HF-MQTT-003";
inline constexpr const char* kEventPublishRefused = "HF-MQTT-004";
inline constexpr const char* kEventTooSlow = "HF-MQTT-005";      // A clean session's queue is full.
inline constexpr const char* kEventTimeInvalid = "HF-MQTT-006";  // hf-time could not be read.
inline constexpr const char* kEventRetainedFull = "HF-MQTT-007";
inline constexpr const char* kEventRowDamaged = "HF-MQTT-008";
inline constexpr const char* kEventWillLost = "HF-MQTT-009";
inline constexpr const char* kEventSessionExpired = "HF-MQTT-010";
inline constexpr const char* kEventRowsFull = "HF-MQTT-011";
inline constexpr const char* kEventSubscribeRefused = "HF-MQTT-012";
inline constexpr const char* kEventWillWaits = "HF-MQTT-014";        // No space; it is tried again.
inline constexpr const char* kEventSessionOverfull = "HF-MQTT-015";  // Owed more than it may be.
inline constexpr const char* kEventRevoked =
    "HF-MQTT-013";  // A connection whose user is not admitted any more.

}  // namespace hf::broker
