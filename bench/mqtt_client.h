// A publisher and a subscriber for load.cc: handshakes by the codec of mqtt/, and what is hot by a tight loop of
// their own. One Loop drives many of them on one thread.
#pragma once

#include <sys/epoll.h>
#include <sys/prctl.h>

#include <algorithm>
#include <cstdio>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "histogram.h"
#include "ledger.h"
#include "mqtt/packet.h"
#include "payload.h"
#include "slot_ring.h"
#include "system.h"

namespace hf::bench {

using mqtt::PacketType;

struct Settings {
  std::string host = "127.0.0.1";
  uint16_t port = 1883;
  int protocol = 4;  // MQTT's own numbers: 4 is 3.1.1, 5 is 5.0.
  unsigned qos = 1;
  size_t payload_bytes = 256;
  uint32_t publishers = 1;
  uint32_t window = 100;
  uint32_t subscribers = 1;
  bool persistent = true;
  double rate = 0;        // Messages a second; 0: as fast as acknowledgements allow.
  uint64_t lag = 0;       // 0: chosen by default_lag().
  uint64_t messages = 0;  // A number instead of a time.
  double warmup_s = 1;
  double duration_s = 5;
  double settle_s = 10;
  double connect_wait_s = 10;
  uint32_t run = 0;  // Tells this run's messages from others.
  int server_pid = 0;
  std::string client_id = "collector";  // Of `collect`.
  bool register_only = false;

  mqtt::Version version() const { return protocol == 5 ? mqtt::Version::k5 : mqtt::Version::k311; }
};

inline constexpr size_t kTopicSize = sizeof("bench/0000") - 1;
inline constexpr const char* kFilter = "bench/#";
inline constexpr uint64_t kSecond = 1'000'000'000;
inline constexpr size_t kReadBytes = 256 << 10;
inline constexpr uint32_t kSessionExpiry_s = 3600;

inline std::string topic_of(uint32_t publisher) {
  char topic[kTopicSize + 8];
  std::snprintf(topic, sizeof topic, "bench/%04u", publisher % 10000);
  return topic;
}

// --- Packets in.

inline uint16_t u16be(std::string_view bytes, size_t at) {
  return static_cast<uint16_t>(static_cast<uint8_t>(bytes[at]) << 8 | static_cast<uint8_t>(bytes[at + 1]));
}

// A variable byte integer at the front of `bytes`; takes it off. False: not whole.
inline bool take_variable(std::string_view& bytes, size_t* value) {
  *value = 0;
  for (size_t index = 0; index < bytes.size() && index < 4; ++index) {
    const auto byte = static_cast<uint8_t>(bytes[index]);
    *value |= size_t{byte & 0x7fu} << (7 * index);
    if (byte < 0x80) {
      bytes.remove_prefix(index + 1);
      return true;
    }
  }
  return false;
}

// The bytes of one connection, cut into packets. Reads go into one buffer that all connections share, so that
// it stays in the processor's cache; only an unfinished packet is kept apart.
class PacketReader {
 public:
  void keep(std::string bytes) { rest_ = std::move(bytes); }

  // take(first byte, body) for each packet. False when the peer has closed.
  template <typename Take>
  bool read(int fd, std::span<char> shared, Take&& take) {
    const size_t kept = rest_.size();
    std::memcpy(shared.data(), rest_.data(), kept);
    const ssize_t got = ::recv(fd, shared.data() + kept, shared.size() - kept, MSG_DONTWAIT);
    if (got == 0 || (got < 0 && errno == ECONNRESET)) return false;
    if (got < 0 && errno != EAGAIN) fail_errno("receive");
    if (got < 0) return true;
    std::string_view bytes(shared.data(), kept + static_cast<size_t>(got));
    bytes = cut(bytes, take);
    rest_.assign(bytes);
    return true;
  }
  // Packets that came with the answers to the handshake.
  template <typename Take>
  void read_kept(Take&& take) {
    const std::string bytes = std::move(rest_);
    rest_.assign(cut(bytes, take));
  }

 private:
  template <typename Take>
  static std::string_view cut(std::string_view bytes, Take&& take) {
    while (bytes.size() >= 2) {
      std::string_view body = bytes.substr(1);
      size_t size = 0;
      if (!take_variable(body, &size)) {
        if (body.size() >= 4) fail("the server sent a malformed packet");
        break;
      }
      if (body.size() < size) break;
      take(static_cast<uint8_t>(bytes[0]), body.substr(0, size));
      bytes = body.substr(size);
    }
    return bytes;
  }

  std::string rest_;
};

// --- Handshakes; these block, nothing is measured yet.

inline mqtt::Packet receive_packet(int fd, std::string& bytes, mqtt::Version version, PacketType wanted,
                                   std::string& hold) {
  const uint64_t deadline_ns = now_ns() + 30 * kSecond;
  for (;;) {
    mqtt::Framed framed;
    mqtt::DecodeError error;
    const auto status = mqtt::frame_next(bytes, 1 << 20, &framed, &error);
    if (status == mqtt::FrameStatus::kBad) fail(error.text);
    if (status == mqtt::FrameStatus::kNeedMore) {
      receive_some(fd, bytes, deadline_ns);
      continue;
    }
    // A session that kept messages may send them before it answers.
    if (framed.type() == PacketType::kPublish || framed.type() == PacketType::kPubrel) {
      hold.append(bytes, 0, framed.size);
      bytes.erase(0, framed.size);
      continue;
    }
    mqtt::Packet packet;
    if (!mqtt::decode(framed, version, mqtt::Sender::kServer, &packet, &error)) fail(error.text);
    if (framed.type() != wanted) fail(std::string("unexpected ") + packet_type_name(framed.type()));
    bytes.erase(0, framed.size);
    return packet;  // What is used of it borrows nothing.
  }
}

struct Session {
  Socket socket;
  bool present = false;              // The server had kept it.
  uint16_t receive_maximum = 65535;  // What the server takes unacknowledged.
  std::string early;                 // Bytes that came after the answers.
};

inline Session open_session(const Settings& settings, const std::string& client_id, bool persistent,
                            bool subscribe) {
  Session session;
  const uint64_t deadline_ns = now_ns() + seconds_to_ns(settings.connect_wait_s);
  session.socket = connect_to(settings.host, settings.port, deadline_ns);
  const int fd = session.socket.fd();

  mqtt::Connect connect{.version = settings.version(), .clean_start = !persistent, .client_id = client_id};
  if (persistent && settings.protocol == 5) connect.properties.session_expiry_interval_s = kSessionExpiry_s;
  std::string out;
  mqtt::encode(out, settings.version(), connect);
  send_all(fd, out);
  std::string in;
  std::string hold;
  const auto answer =
      std::get<mqtt::Connack>(receive_packet(fd, in, settings.version(), PacketType::kConnack, hold));
  if (answer.reason != 0) fail("the server refused the connection, reason " + std::to_string(answer.reason));
  session.present = answer.session_present;
  session.receive_maximum = answer.properties.receive_maximum.value_or(65535);

  if (subscribe && !session.present) {
    out.clear();
    mqtt::encode(
        out, settings.version(),
        mqtt::Subscribe{.packet_id = 1,
                        .entries = {{.filter = kFilter, .qos = static_cast<uint8_t>(settings.qos)}}});
    send_all(fd, out);
    const auto granted =
        std::get<mqtt::SubAck>(receive_packet(fd, in, settings.version(), PacketType::kSuback, hold));
    if (granted.reasons.at(0) != settings.qos) fail("the server did not grant the subscription's QoS");
  }
  session.early = hold + in;
  set_nonblocking(fd);
  return session;
}

// --- The two roles.

struct Phase {
  bool measuring = false;
  uint64_t now_ns = 0;  // Read once for each read of a socket.
};

// What is registered with epoll.
class Endpoint {
 public:
  virtual ~Endpoint() = default;
  virtual void on_ready(uint32_t events, std::span<char> shared, Phase& phase) = 0;
};

// A connection and whether epoll shall say when it can be written to again.
class Watched {
 public:
  Watched(int epoll, Socket socket, Endpoint* owner) : epoll_(epoll), socket_(std::move(socket)) {
    epoll_event event{.events = EPOLLIN, .data = {.ptr = owner}};
    if (epoll_ctl(epoll_, EPOLL_CTL_ADD, fd(), &event) < 0) fail_errno("epoll_ctl");
  }
  int fd() const { return socket_.fd(); }
  void want_write(bool wanted, Endpoint* owner) {
    if (wanted == writing_) return;
    writing_ = wanted;
    epoll_event event{.events = EPOLLIN | (wanted ? uint32_t{EPOLLOUT} : 0u), .data = {.ptr = owner}};
    if (epoll_ctl(epoll_, EPOLL_CTL_MOD, fd(), &event) < 0) fail_errno("epoll_ctl");
  }
  bool blocked() const { return writing_; }

  // Sends the rest and DISCONNECT. A broker that is still busy with our acknowledgements would not see them
  // any more if this process ended, so wait until it has closed too, within reason.
  void disconnect(mqtt::Version version, std::string rest) {
    mqtt::encode(rest, version, mqtt::Disconnect{});
    fcntl(fd(), F_SETFL, fcntl(fd(), F_GETFL) & ~O_NONBLOCK);
    send_all(fd(), rest);
    ::shutdown(fd(), SHUT_WR);
    const uint64_t deadline_ns = now_ns() + 5 * kSecond;
    char ignored[4096];
    for (pollfd waiting{fd(), POLLIN, 0}; now_ns() < deadline_ns;) {
      if (poll(&waiting, 1, 100) > 0 && ::recv(fd(), ignored, sizeof ignored, 0) <= 0) return;
    }
  }

 private:
  int epoll_;
  Socket socket_;
  bool writing_ = false;
};

class Publisher final : public Endpoint {
 public:
  Publisher(const Settings& settings, const Payloads& payloads, int epoll, uint32_t number,
            Histogram& latencies)
      : settings_(settings),
        payloads_(payloads),
        number_(number),
        latencies_(latencies),
        session_(open_session(settings, "publisher-" + std::to_string(number), false, false)),
        window_(std::min<uint32_t>(settings.window, session_.receive_maximum)),
        connection_(epoll, std::move(session_.socket), this),
        // At QoS 0 nothing but the socket bounds what is under way: about 128 KiB at once.
        ring_(packet(),
              settings.qos > 0 ? window_ : std::max<size_t>(8, (128 << 10) / settings.payload_bytes)) {}

  // Sends as much as window, socket and `limit` allow.
  uint64_t pump(uint64_t limit, uint64_t now_ns) {
    uint64_t count = 0;
    while (count < limit && !ring_.full() && (settings_.qos == 0 || (in_flight_ < window_ && id_free()))) {
      char* packet = ring_.next();
      if (settings_.qos > 0) {
        packet[id_at_] = static_cast<char>(next_id_ >> 8);
        packet[id_at_ + 1] = static_cast<char>(next_id_);
        sent_ns_[next_id_] = now_ns;
        next_id_ = next_id_ == 65535 ? 1 : next_id_ + 1;
        ++in_flight_;
      }
      payloads_.write(
          packet + payload_at_,
          {.run = settings_.run, .publisher = number_, .sequence = published_++, .sent_ns = now_ns});
      ++count;
    }
    if (count > 0) flush();
    return count;
  }
  // Could send more at once, with no event to wait for.
  bool eager() const { return settings_.qos == 0 && !connection_.blocked(); }

  void on_ready(uint32_t events, std::span<char> shared, Phase& phase) override {
    if (events & EPOLLIN) {
      bool stamped = false;
      const bool open = reader_.read(connection_.fd(), shared, [&](uint8_t first, std::string_view body) {
        if (!std::exchange(stamped, true)) phase.now_ns = now_ns();
        take(first, body, phase);
      });
      if (!open) fail("the server closed the connection of publisher " + std::to_string(number_));
    } else if (events & (EPOLLERR | EPOLLHUP)) {
      fail("the connection of publisher " + std::to_string(number_) + " broke");
    }
    flush();
  }

  // Only after everything was sent.
  void disconnect() {
    if (ring_.all_sent()) connection_.disconnect(settings_.version(), {});
  }

  uint64_t published() const { return published_; }
  uint64_t acked() const { return settings_.qos == 0 ? published_ : acked_; }
  uint64_t refused() const { return refused_; }
  uint64_t strays() const { return strays_; }
  uint32_t window() const { return window_; }

 private:
  std::string packet() {
    const std::string topic = topic_of(number_);
    std::string out;
    mqtt::encode_publish(out, settings_.version(),
                         {.qos = static_cast<uint8_t>(settings_.qos),
                          .topic = topic,
                          .packet_id = static_cast<uint16_t>(settings_.qos > 0 ? 1 : 0)},
                         std::string(settings_.payload_bytes, 0));
    payload_at_ = out.size() - settings_.payload_bytes;
    id_at_ = payload_at_ - (settings_.protocol == 5 ? 1 : 0) - 2;
    return out;
  }

  bool id_free() const { return sent_ns_[next_id_] == 0; }

  void flush() { connection_.want_write(!ring_.flush(connection_.fd()), this); }

  void take(uint8_t first, std::string_view body, const Phase& phase) {
    const auto type = static_cast<PacketType>(first >> 4);
    if (type == PacketType::kDisconnect) fail("the server sent DISCONNECT");
    if (body.size() < 2) return;
    const uint16_t id = u16be(body, 0);
    const bool failed = body.size() > 2 && static_cast<uint8_t>(body[2]) >= 0x80;
    if (type == PacketType::kPubrec && !failed) {
      if (settings_.qos != 2 || sent_ns_[id] == 0) {
        ++strays_;
        return;
      }
      mqtt::encode_ack(ring_.control(), settings_.version(), PacketType::kPubrel, id, mqtt::Reason::kSuccess);
      return;
    }
    const bool ends =
        type == PacketType::kPuback || type == PacketType::kPubcomp || type == PacketType::kPubrec;
    if (!ends || sent_ns_[id] == 0) {
      ++strays_;
      return;
    }
    if (phase.measuring) latencies_.add(phase.now_ns - sent_ns_[id]);
    sent_ns_[id] = 0;
    --in_flight_;
    ++(failed ? refused_ : acked_);
  }

  const Settings& settings_;
  const Payloads& payloads_;
  const uint32_t number_;
  Histogram& latencies_;
  Session session_;
  const uint32_t window_;
  Watched connection_;
  size_t payload_at_ = 0;
  size_t id_at_ = 0;
  SlotRing ring_;
  PacketReader reader_;
  std::vector<uint64_t> sent_ns_ = std::vector<uint64_t>(65536);  // By packet identifier; 0: not in use.
  uint32_t next_id_ = 1;
  uint32_t in_flight_ = 0;
  uint64_t published_ = 0;
  uint64_t acked_ = 0;
  uint64_t refused_ = 0;
  uint64_t strays_ = 0;  // Acknowledgements of nothing.
};

class Subscriber final : public Endpoint {
 public:
  Subscriber(const Settings& settings, const Payloads& payloads, int epoll, const std::string& client_id,
             Histogram& latencies)
      : settings_(settings),
        payloads_(payloads),
        client_id_(client_id),
        latencies_(latencies),
        session_(open_session(settings, client_id, settings.persistent, true)),
        connection_(epoll, std::move(session_.socket), this),
        ledger_(settings.publishers) {
    reader_.keep(std::move(session_.early));
  }

  bool session_present() const { return session_.present; }
  int fd() const { return connection_.fd(); }
  const Ledger& ledger() const { return ledger_; }
  uint64_t corrupted() const { return corrupted_; }
  uint64_t first_ns() const { return first_ns_; }
  uint64_t last_ns() const { return last_ns_; }

  void on_ready(uint32_t events, std::span<char> shared, Phase& phase) override {
    if (events & EPOLLIN) {
      bool stamped = false;
      const bool open = reader_.read(connection_.fd(), shared, [&](uint8_t first, std::string_view body) {
        if (!std::exchange(stamped, true)) phase.now_ns = now_ns();
        take(first, body, phase);
      });
      if (!open) fail("the server closed the connection of " + client_id_);
    } else if (events & (EPOLLERR | EPOLLHUP)) {
      fail("the connection of " + client_id_ + " broke");
    }
    flush();
  }

  // What came together with the answers to the handshake.
  void take_early(Phase& phase) {
    phase.now_ns = now_ns();
    reader_.read_kept([&](uint8_t first, std::string_view body) { take(first, body, phase); });
    flush();
  }

  void disconnect() { connection_.disconnect(settings_.version(), std::exchange(out_, {})); }

 private:
  void take(uint8_t first, std::string_view body, const Phase& phase) {
    const auto type = static_cast<PacketType>(first >> 4);
    if (type == PacketType::kPublish) return take_publish(first, body, phase);
    if (type == PacketType::kPubrel && body.size() >= 2) {
      acknowledge(PacketType::kPubcomp, u16be(body, 0));
    } else if (type == PacketType::kDisconnect) {
      fail("the server sent DISCONNECT to " + client_id_);
    }
  }

  void take_publish(uint8_t first, std::string_view body, const Phase& phase) {
    const unsigned qos = first >> 1 & 3;
    const size_t topic_end = body.size() >= 2 ? 2 + size_t{u16be(body, 0)} : body.size();
    size_t at = topic_end + (qos > 0 ? 2 : 0);
    if (at > body.size()) fail("the server sent a malformed PUBLISH");
    std::string_view payload = body.substr(at);
    if (settings_.protocol == 5) {
      size_t properties = 0;
      if (!take_variable(payload, &properties) || properties > payload.size()) {
        fail("the server sent a malformed PUBLISH");
      }
      payload.remove_prefix(properties);
    }

    Stamp stamp;
    if (!payloads_.read(payload, &stamp)) {
      ++corrupted_;
    } else if (stamp.run != settings_.run) {
      ledger_.take_foreign();
    } else {
      ledger_.take(stamp.publisher, stamp.sequence);
      if (phase.measuring) latencies_.add(phase.now_ns - stamp.sent_ns);
      if (first_ns_ == 0) first_ns_ = phase.now_ns;
      last_ns_ = phase.now_ns;
    }
    if (qos > 0) {
      acknowledge(qos == 1 ? PacketType::kPuback : PacketType::kPubrec, u16be(body, topic_end));
    }
  }

  void acknowledge(PacketType type, uint16_t id) {
    mqtt::encode_ack(out_, settings_.version(), type, id, mqtt::Reason::kSuccess);
  }

  void flush() {
    while (!out_.empty()) {
      const ssize_t sent = ::send(connection_.fd(), out_.data(), out_.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (sent < 0 && errno != EAGAIN) fail_errno("send");
      if (sent < 0) break;
      out_.erase(0, static_cast<size_t>(sent));
    }
    connection_.want_write(!out_.empty(), this);
  }

  const Settings& settings_;
  const Payloads& payloads_;
  const std::string client_id_;
  Histogram& latencies_;
  Session session_;
  Watched connection_;
  PacketReader reader_;
  Ledger ledger_;
  std::string out_;
  uint64_t corrupted_ = 0;
  uint64_t first_ns_ = 0;
  uint64_t last_ns_ = 0;
};

// One round of epoll: waits at most until the deadline, then lets whoever is ready work.
class Loop {
 public:
  Loop() : epoll_(epoll_create1(EPOLL_CLOEXEC)), shared_(kReadBytes + kPayloadBytesMax * 2) {
    // Without this the kernel may wake us 50 us late on purpose.
    prctl(PR_SET_TIMERSLACK, 1UL);
  }
  int fd() const { return epoll_.fd(); }

  // False if nothing was ready.
  bool turn(uint64_t deadline_ns, Phase& phase) {
    const uint64_t now = now_ns();
    const uint64_t wait_ns = deadline_ns > now ? deadline_ns - now : 0;
    const timespec wait{.tv_sec = static_cast<time_t>(wait_ns / kSecond),
                        .tv_nsec = static_cast<long>(wait_ns % kSecond)};
    epoll_event events[64];
    const int count = epoll_pwait2(epoll_.fd(), events, 64, &wait, nullptr);
    if (count < 0 && errno != EINTR) fail_errno("epoll_pwait2");
    for (int index = 0; index < count; ++index) {
      static_cast<Endpoint*>(events[index].data.ptr)->on_ready(events[index].events, shared_, phase);
    }
    phase.now_ns = now_ns();
    return count > 0;
  }

 private:
  Socket epoll_;
  std::vector<char> shared_;
};

}  // namespace hf::bench
