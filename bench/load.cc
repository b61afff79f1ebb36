// Load on an MQTT broker, and a careful look at what comes back.
//
//   load publish    publishers with a window of unacknowledged messages each, and subscribers
//   load fanout     the same from one publisher to many subscribers
//   load latency    the same at a fixed rate
//   load collect    one persistent subscriber that waits for the messages of another process
//
// One thread and one epoll. The loop is closed: a publisher sends when an acknowledgement frees a place in its
// window, and nobody sends while more than `--lag` deliveries are under way; so what is measured can be
// sustained. Every message carries its publisher, number and time (payload.h), and every subscriber keeps
// account of them (ledger.h). The result is one line of JSON.
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "histogram.h"
#include "holdfast/command_line.h"
#include "ledger.h"
#include "mqtt_client.h"
#include "payload.h"
#include "system.h"

namespace hf::bench {
namespace {

using Json = nlohmann::ordered_json;

// --- publish, fanout, latency.

class Measurement {
 public:
  explicit Measurement(const Settings& settings)
      : settings_(settings),
        payloads_(settings.payload_bytes),
        ack_latencies_(std::make_unique<Histogram>()),
        delivery_latencies_(std::make_unique<Histogram>()) {}

  Json run() {
    for (uint32_t number = 0; number < settings_.subscribers; ++number) {
      subscribers_.push_back(std::make_unique<Subscriber>(
          settings_, payloads_, loop_.fd(), "subscriber-" + std::to_string(number), *delivery_latencies_));
    }
    for (uint32_t number = 0; number < settings_.publishers; ++number) {
      publishers_.push_back(
          std::make_unique<Publisher>(settings_, payloads_, loop_.fd(), number, *ack_latencies_));
    }
    lag_ = settings_.lag > 0 ? settings_.lag : default_lag();

    phase_.now_ns = now_ns();
    next_due_ns_ = phase_.now_ns;
    if (settings_.messages > 0) {
      run_messages();
    } else {
      run_time();
    }
    settle();
    for (auto& publisher : publishers_) publisher->disconnect();
    for (auto& subscriber : subscribers_) subscriber->disconnect();
    return result();
  }

 private:
  struct Counts {
    uint64_t at_ns = 0;
    uint64_t published = 0;
    uint64_t acked = 0;
    uint64_t delivered = 0;
    double own_cpu_s = 0;
    double server_cpu_s = 0;
  };

  // Deliveries under way beside what the windows hold: enough that nobody waits for the subscriber by
  // accident, little enough that no broker's buffers overflow.
  uint64_t default_lag() const {
    if (settings_.qos == 0) return std::max<uint64_t>(2000, uint64_t{200} * settings_.subscribers);
    return std::max<uint64_t>(1000, uint64_t{4} * settings_.publishers * settings_.window);
  }

  Counts count() const {
    Counts counts{.at_ns = now_ns()};
    for (const auto& publisher : publishers_) {
      counts.published += publisher->published();
      counts.acked += publisher->acked();
    }
    counts.delivered = delivered();
    counts.own_cpu_s = own_cpu_s();
    counts.server_cpu_s = process_cpu_s(settings_.server_pid);
    return counts;
  }
  uint64_t published() const {
    uint64_t sum = 0;
    for (const auto& publisher : publishers_) sum += publisher->published();
    return sum;
  }
  uint64_t answered() const {
    uint64_t sum = 0;
    for (const auto& publisher : publishers_) sum += publisher->acked() + publisher->refused();
    return sum;
  }
  uint64_t delivered() const {
    uint64_t sum = 0;
    for (const auto& subscriber : subscribers_) sum += subscriber->ledger().unique();
    return sum;
  }

  // How many more messages may be sent now, before windows are looked at.
  uint64_t room(uint64_t left) {
    if (settings_.subscribers == 0) return left;
    const uint64_t owed = published_ * settings_.subscribers;
    const uint64_t done = delivered() + written_off_;
    const uint64_t under_way = owed > done ? owed - done : 0;
    if (done != progress_done_ || under_way < lag_) {
      progress_done_ = done;
      progress_ns_ = phase_.now_ns;
    } else if (phase_.now_ns - progress_ns_ > kSecond) {
      written_off_ +=
          under_way;  // What has not come for a second does not hold up the others. Settled at the end.
      return left;
    }
    return std::min(
        left, under_way < lag_ ? (lag_ - under_way + settings_.subscribers - 1) / settings_.subscribers : 0);
  }

  // One turn: what came, then what may be sent. At most `left` messages.
  void turn(uint64_t deadline_ns, uint64_t left) {
    if (settings_.rate > 0) {
      deadline_ns = std::min(deadline_ns, next_due_ns_);
    } else if (eager_) {
      deadline_ns = 0;
    }
    loop_.turn(deadline_ns, phase_);
    uint64_t allowed = room(left);
    if (settings_.rate > 0) {
      uint64_t due = 0;
      while (next_due_ns_ <= phase_.now_ns) {
        next_due_ns_ += static_cast<uint64_t>(1e9 / settings_.rate);
        ++due;
      }
      allowed = std::min(allowed, due);
    }
    eager_ = false;
    for (size_t tried = 0; tried < publishers_.size() && allowed > 0; ++tried) {
      Publisher& publisher = *publishers_[turn_of_++ % publishers_.size()];
      const uint64_t sent = publisher.pump(allowed, phase_.now_ns);
      allowed -= sent;
      published_ += sent;
      eager_ = eager_ || (sent > 0 && publisher.eager());
    }
  }

  void run_time() {
    const uint64_t begin_ns = phase_.now_ns + seconds_to_ns(settings_.warmup_s);
    while (phase_.now_ns < begin_ns) turn(begin_ns, UINT64_MAX);
    begin_ = count();
    phase_.measuring = true;
    const uint64_t end_ns = begin_.at_ns + seconds_to_ns(settings_.duration_s);
    while (phase_.now_ns < end_ns) turn(end_ns, UINT64_MAX);
    phase_.measuring = false;
    end_ = count();
  }

  void run_messages() {
    begin_ = count();
    phase_.measuring = true;
    uint64_t last_ns = phase_.now_ns;
    uint64_t last_answered = 0;
    while (answered() < settings_.messages) {
      turn(phase_.now_ns + kSecond / 10, settings_.messages - published_);
      if (const uint64_t now_answered = answered(); now_answered != last_answered) {
        last_answered = now_answered;
        last_ns = phase_.now_ns;
      } else if (phase_.now_ns - last_ns > seconds_to_ns(settings_.settle_s)) {
        break;
      }
    }
    phase_.measuring = false;
    end_ = count();
  }

  // Everything under way may arrive; ends early when all is there.
  void settle() {
    uint64_t progress = 0;
    uint64_t progress_ns = phase_.now_ns;
    for (;;) {
      const uint64_t now_progress = answered() + delivered();
      if (now_progress == published_ * (1 + settings_.subscribers)) return;
      if (now_progress != progress) {
        progress = now_progress;
        progress_ns = phase_.now_ns;
      } else if (phase_.now_ns - progress_ns > seconds_to_ns(settings_.settle_s)) {
        return;
      }
      loop_.turn(phase_.now_ns + kSecond / 100, phase_);
    }
  }

  Json result() const {
    const double elapsed_s = static_cast<double>(end_.at_ns - begin_.at_ns) * 1e-9;
    const auto rate = [&](uint64_t from, uint64_t to) {
      return static_cast<uint64_t>(static_cast<double>(to - from) / elapsed_s);
    };
    Json out;
    out["protocol"] = settings_.protocol == 5 ? "5.0" : "3.1.1";
    out["qos"] = settings_.qos;
    out["payload_bytes"] = settings_.payload_bytes;
    out["publishers"] = settings_.publishers;
    out["window"] = settings_.qos > 0 ? publishers_.front()->window() : 0;
    out["subscribers"] = settings_.subscribers;
    out["lag"] = lag_;
    out["duration_s"] = elapsed_s;
    out["published_per_s"] = rate(begin_.published, end_.published);
    out["acked_per_s"] = rate(begin_.acked, end_.acked);
    out["delivered_per_s"] = rate(begin_.delivered, end_.delivered);
    out["ack"] = ack_latencies_->to_json();
    out["delivery"] = delivery_latencies_->to_json();
    out["generator_cpu"] = (end_.own_cpu_s - begin_.own_cpu_s) / elapsed_s;
    if (settings_.server_pid > 0) out["server_cpu"] = (end_.server_cpu_s - begin_.server_cpu_s) / elapsed_s;

    uint64_t acked = 0;
    uint64_t refused = 0;
    uint64_t strays = 0;
    for (const auto& publisher : publishers_) {
      acked += publisher->acked();
      refused += publisher->refused();
      strays += publisher->strays();
    }
    uint64_t lost = 0;
    uint64_t doubled = 0;
    uint64_t disordered = 0;
    uint64_t corrupted = 0;
    uint64_t foreign = 0;
    for (const auto& subscriber : subscribers_) {
      for (size_t number = 0; number < publishers_.size(); ++number) {
        lost += subscriber->ledger().lost(number, publishers_[number]->published());
      }
      doubled += subscriber->ledger().doubled();
      disordered += subscriber->ledger().disordered();
      corrupted += subscriber->corrupted();
      foreign += subscriber->ledger().foreign();
    }
    out["published"] = published();
    out["acked"] = acked;
    out["delivered"] = delivered();
    out["unanswered"] = published() - acked - refused;
    out["refused"] = refused;
    out["lost"] = lost;
    out["doubled"] = doubled;
    out["disordered"] = disordered;
    out["corrupted"] = corrupted;
    out["foreign"] = foreign + strays;
    return out;
  }

  const Settings& settings_;
  const Payloads payloads_;
  Loop loop_;
  std::unique_ptr<Histogram> ack_latencies_;
  std::unique_ptr<Histogram> delivery_latencies_;
  std::vector<std::unique_ptr<Subscriber>> subscribers_;
  std::vector<std::unique_ptr<Publisher>> publishers_;
  Phase phase_;
  Counts begin_;
  Counts end_;
  uint64_t lag_ = 0;
  uint64_t published_ = 0;
  uint64_t written_off_ = 0;
  uint64_t progress_done_ = 0;
  uint64_t progress_ns_ = 0;
  uint64_t next_due_ns_ = 0;
  size_t turn_of_ = 0;
  bool eager_ = false;
};

// --- collect.

void print(const Json& line) {
  std::puts(line.dump().c_str());
  std::fflush(stdout);
}

// Waits for `messages` from other processes. Says when it is connected, so that its caller can go on.
Json collect(const Settings& settings) {
  const Payloads payloads(settings.payload_bytes);
  Loop loop;
  Phase phase;
  const auto latencies = std::make_unique<Histogram>();
  Subscriber subscriber(settings, payloads, loop.fd(), settings.client_id, *latencies);

  sockaddr_in local{};
  socklen_t size = sizeof local;
  getsockname(subscriber.fd(), reinterpret_cast<sockaddr*>(&local), &size);
  Json connected;
  connected["event"] = "connected";
  connected["at_ns"] = now_ns();
  connected["session_present"] = subscriber.session_present();
  connected["local_port"] = ntohs(local.sin_port);
  if (settings.register_only) {
    subscriber.disconnect();
    return connected;
  }
  print(connected);

  Json timeline = Json::array();
  uint64_t timeline_ns = 0;
  uint64_t progress = 0;
  uint64_t progress_ns = now_ns();
  subscriber.take_early(phase);
  while (subscriber.ledger().unique() < settings.messages) {
    loop.turn(phase.now_ns + kSecond / 10, phase);
    const uint64_t count = subscriber.ledger().unique();
    if (count != progress) {
      progress = count;
      progress_ns = phase.now_ns;
      if (phase.now_ns - timeline_ns > kSecond / 50) {
        timeline_ns = phase.now_ns;
        timeline.push_back({phase.now_ns, count});
      }
    } else if (phase.now_ns - progress_ns > seconds_to_ns(settings.settle_s)) {
      break;
    }
  }
  timeline.push_back({subscriber.last_ns(), subscriber.ledger().unique()});
  // Whatever should not come, comes now.
  const uint64_t linger_ns = now_ns() + kSecond / 2;
  while (phase.now_ns < linger_ns) loop.turn(linger_ns, phase);
  subscriber.disconnect();

  const Ledger& ledger = subscriber.ledger();
  Json out;
  out["first_ns"] = subscriber.first_ns();
  out["last_ns"] = subscriber.last_ns();
  out["delivered"] = ledger.unique();
  out["lost"] = settings.messages - std::min(settings.messages, ledger.unique());
  out["doubled"] = ledger.doubled();
  out["disordered"] = ledger.disordered();
  out["corrupted"] = subscriber.corrupted();
  out["foreign"] = ledger.foreign();
  out["timeline"] = timeline;
  return out;
}

// --- The command line.

int main_checked(int argc, char** argv) {
  Settings settings;
  holdfast::CommandLine app("load", "Load on an MQTT broker, measured; the result is one line of JSON.");
  app.require_subcommand();
  const auto publish = app.subcommand("publish", "publishers with a window each, and subscribers");
  const auto fanout = app.subcommand("fanout", "from one publisher to many subscribers");
  const auto latency = app.subcommand("latency", "at a fixed rate, one publisher to one subscriber");
  const auto collect_mode = app.subcommand("collect", "wait for the messages of another process");

  const auto common = [&](holdfast::Command mode) {
    mode.option("--host", "ADDRESS", &settings.host, "IPv4 address").show_default();
    mode.option("--port", "PORT", &settings.port, "").required();
    mode.option("--mqtt", "N", &settings.protocol, "4 for 3.1.1, 5 for 5.0").between(4, 5).show_default();
    mode.option("--qos", "QOS", &settings.qos, "").between(0, 2).show_default();
    mode.option("--payload", "N", &settings.payload_bytes, "bytes")
        .between(kPayloadBytesMin, kPayloadBytesMax)
        .show_default();
    mode.option("--run", "N", &settings.run, "number of this run; the same for `publish` and its `collect`")
        .show_default();
    mode.option("--settle", "S", &settings.settle_s, "seconds without progress after which the rest is lost")
        .show_default();
    mode.option("--connect-wait", "S", &settings.connect_wait_s, "seconds to wait for a listener")
        .show_default();
  };
  const auto measured = [&](holdfast::Command mode) {
    common(mode);
    mode.option("--warmup", "S", &settings.warmup_s, "seconds that do not count").show_default();
    mode.option("--seconds", "S", &settings.duration_s, "seconds that count").show_default();
    mode.option("--lag", "N", &settings.lag, "deliveries under way at most; 0 chooses");
    mode.flag("--clean{false}", &settings.persistent, "subscribers with clean sessions");
    mode.option("--server-pid", "PID", &settings.server_pid, "process whose processor time is counted");
  };
  const auto measure = [&] {
    print(Measurement(settings).run());
    return 0;
  };
  measured(publish);
  publish.option("--publishers", "N", &settings.publishers, "").between(1, 10000).show_default();
  publish.option("--window", "N", &settings.window, "in flight for each publisher")
      .between(1, 65535)
      .show_default();
  publish.option("--subscribers", "N", &settings.subscribers, "0: nobody").show_default();
  publish.option("--messages", "N", &settings.messages, "so many instead of --seconds, without warm-up");
  publish.option("--rate", "N", &settings.rate, "messages a second in all; 0: as fast as the window allows");
  publish.run(measure);
  measured(fanout);
  const auto subscribers = fanout.option("--subscribers", "N", &settings.subscribers, "").between(1, 10000);
  fanout.option("--window", "N", &settings.window, "in flight at QoS 1 and 2").between(1, 65535);
  fanout.run([&] {
    if (!subscribers.given()) settings.subscribers = 100;
    return measure();
  });
  measured(latency);
  latency.option("--rate", "N", &settings.rate, "messages a second; without it 1000");
  latency.run([&] {
    settings.window = 65535;
    if (settings.rate <= 0) settings.rate = 1000;
    return measure();
  });
  common(collect_mode);
  collect_mode.option("--client", "ID", &settings.client_id, "client identifier").show_default();
  collect_mode.option("--publishers", "N", &settings.publishers, "").show_default();
  collect_mode.option("--messages", "N", &settings.messages, "of all publishers together");
  collect_mode.flag("--register", &settings.register_only, "make the session and leave");
  collect_mode.run([&] {
    print(collect(settings));
    return 0;
  });
  return app.parse(argc, argv);
}

}  // namespace
}  // namespace hf::bench

int main(int argc, char** argv) {
  try {
    return hf::bench::main_checked(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "load: %s\n", error.what());
    return 1;
  }
}
