// holdfast run: the node itself. Puts the parts together and lets the event loop turn.
#include <fmt/format.h>

#include <functional>
#include <memory>

#include "holdfast/admin.h"
#include "holdfast/admin_work.h"
#include "holdfast/commands.h"
#include "holdfast/data_directory.h"
#include "holdfast/exit_code.h"
#include "holdfast/http_server.h"
#include "holdfast/identity_files.h"
#include "holdfast/log.h"
#include "holdfast/target.h"
#include "holdfast/units.h"
#include "holdfast/version.h"
#include "io/entropy.h"
#include "io/event_loop.h"
#include "io/memory.h"
#include "io/service_manager.h"

namespace hf::holdfast {

namespace {

// How old the line that the service manager shows may be.
constexpr Duration kStatusInterval = seconds(10);

struct Options {
  Target target;
  std::string config;
};

class NodeCore final : public io::Core {
 public:
  explicit NodeCore(node::Node& node) : node_(node) {}
  void step(std::span<node::Input> inputs, const Now& now, node::Effects& out) override {
    node_.step(inputs, now, out);
  }
  std::optional<Instant> next_deadline() const override { return node_.next_deadline(); }
  void shut_down(const Now& now) override { node_.shut_down(now); }
  bool stopped() const override { return node_.stopped(); }
  bool wary_of(const std::string& network, Instant now) const override { return node_.wary_of(network, now); }

 private:
  node::Node& node_;
};

// What stands in for the node while the store is locked: nobody is let in.
class LockedCore final : public io::Core {
 public:
  void step(std::span<node::Input> inputs, const Now&, node::Effects& out) override {
    for (const node::Input& input : inputs) {
      if (const auto* connected = std::get_if<node::Connected>(&input))
        out.closes.push_back({connected->connection});
    }
  }
  std::optional<Instant> next_deadline() const override { return std::nullopt; }
  void shut_down(const Now&) override { stopped_ = true; }
  bool stopped() const override { return stopped_; }

 private:
  bool stopped_ = false;
};

// Why the store stays closed, if that is the kind of error with which a node stands by instead of ending.
std::string locked_sentence(const DataDirectory& data, const Error& error) {
  if (error.code == Code::kWrongKey) {
    return fmt::format(
        "{} is not the key of {}/store. Nothing was changed. Put the right key there (or set key = ...) and "
        "restart holdfast.",
        data.key_path, data.path);
  }
  if (error.code == Code::kForeign) {
    return fmt::format(
        "{}/store is not a store that this version can open ({}). Nothing was changed. Restore the "
        "directory, "
        "or make a new one with holdfast init, and restart holdfast.",
        data.path, error.text);
  }
  return "";
}

// Reads both lists. A mistake in one is a mistake in both, so that nobody gets in by half of what was meant.
std::expected<void, Mistakes> load_identities(const IdentityFiles& files, identity::Users* users,
                                              identity::Permissions* permissions) {
  auto read_users = load_users(files.users);
  if (!read_users) return std::unexpected(read_users.error());
  auto read_permissions = load_permissions(files.permissions);
  if (!read_permissions) return std::unexpected(read_permissions.error());
  *users = std::move(*read_users);
  *permissions = std::move(*read_permissions);
  return {};
}

// The lists changed while the node runs. What is wrong, or gone, changes nothing: a slip of the hand must neither let
// everybody in nor shut everybody out.
void reload_identities(const IdentityFiles& files, node::Node& node,
                       const std::function<void(const char* event, const std::string& text)>& say) {
  for (const FilePlace* place : {&files.users, &files.permissions}) {
    const bool was_there = place == &files.users ? !node.identities().users.all().empty()
                                                 : !node.identities().permissions.everything();
    if (was_there && place->missing()) {
      return say("HF-RUN-007",
                 place->path + " is gone; what it said holds until it is there again, or until a restart");
    }
  }
  identity::Users users;
  identity::Permissions permissions;
  if (const auto read = load_identities(files, &users, &permissions); !read) {
    for (const std::string& mistake : read.error()) say("HF-RUN-007", mistake);
    return say("HF-RUN-007", "users and permissions stay as they were until this is mended");
  }
  if (users.all() == node.identities().users.all() && permissions == node.identities().permissions) return;
  const size_t entries = permissions.entries().size();
  say("HF-RUN-006", fmt::format("users and permissions hold as they were written just now: {} user{}, {}",
                                users.all().size(), users.all().size() == 1 ? "" : "s",
                                permissions.everything()
                                    ? "no restrictions"
                                    : fmt::format("{} permission{}", entries, entries == 1 ? "" : "s")));
  node.set_identities(std::move(users), std::move(permissions));
}

// The tokens changed while the node runs. Unlike users they are for those who look after the node: what is wrong, or gone,
// lets nobody in, so that a token can be taken away in any way.
void reload_tokens(const FilePlace& place, HttpServer& http,
                   const std::function<void(const char* event, const std::string& text)>& say) {
  const auto tokens = load_tokens(place);
  if (!tokens) {
    for (const std::string& mistake : tokens.error()) say("HF-RUN-008", mistake);
    say("HF-RUN-008", "no token is good until this is mended");
    return http.set_tokens({});
  }
  if (tokens->all() == http.tokens().all()) return;
  const size_t count = tokens->all().size();
  say("HF-RUN-009",
      fmt::format("tokens hold as they were written just now: {}", format_counted(count, "token", "tokens")));
  http.set_tokens(*tokens);
}

std::unique_ptr<io::StorageThreads> start_storage(const DataDirectory& data, Entropy& entropy,
                                                  io::Wakeup& wakeup) {
  std::array<std::unique_ptr<store::Disk>, io::StorageThreads::kLaneCount> disks;
  for (auto& disk : disks) disk = io::PosixDirectory::disk(data.store);
  return std::make_unique<io::StorageThreads>(std::move(disks), entropy, wakeup);
}

std::expected<bool, Failure> run(const Options& options) {
  io::take_signals();
  io::keep_freed_memory();
  const size_t files = io::raise_file_limit();
  Log log;
  const auto say = [&log](const char* event, const std::string& text) { log.line(event, text); };

  std::string path = options.target.data;
  if (path.empty() && !options.config.empty()) {
    const auto config = load_config(options.config);
    if (!config) return std::unexpected(Failure{kExitConfiguration, joined_lines(config.error())});
    path = config->data;
  }
  if (path.empty()) path = kDataDefault;
  auto data = open_data_directory(path, options.config);
  if (!data) return std::unexpected(data.error());
  node::Config& config = data->config.node;
  config.version = kVersion;
  if (data->config.log_json) log.set_format(LogFormat::kJson);
  const IdentityFiles identity_places = identity_files(data->config, data->path);
  if (const auto read =
          load_identities(identity_places, &config.identities.users, &config.identities.permissions);
      !read) {
    return std::unexpected(Failure{kExitConfiguration, joined_lines(read.error())});
  }
  const auto tokens = load_tokens(identity_places.tokens);
  if (!tokens) return std::unexpected(Failure{kExitConfiguration, joined_lines(tokens.error())});
  for (const ListenerConfig& listener : data->config.listeners) {
    if (!listener.door.http && listener.door.tls && !listener.door.tls->client_ca.empty())
      config.identities.certificate_users = true;
  }
  const FileCheck files_checked = check_files(
      data->config, options.config.empty() ? data->path + "/holdfast.toml" : options.config, data->path);
  if (!files_checked.mistakes.empty())
    return std::unexpected(Failure{kExitConfiguration, joined_lines(files_checked.mistakes)});
  if (data->key_exposed) {
    say("HF-RUN-004", data->key_path +
                          " may be read by others than its owner; set it right with: chmod 0400 " +
                          data->key_path);
  }

  io::SystemEntropy entropy;
  io::Clock clock(entropy);
  io::ServiceManager service;
  service.notify("STATUS=opening the store");
  StatusView view;
  view.data = data->path;
  view.key = data->key_place;
  view.status.name = config.name;
  view.status.insecure = config.insecure;

  std::unique_ptr<node::Node> node;
  {
    const auto disk = io::PosixDirectory::disk(data->store);
    auto opened = node::Node::open(*disk, entropy, data->key, config, data->fence, clock.now());
    if (opened) {
      node = std::move(*opened);
    } else {
      view.locked = locked_sentence(*data, opened.error());
      if (view.locked.empty()) {
        const bool configuration = opened.error().code == Code::kInvalid;
        return std::unexpected(Failure{configuration ? kExitConfiguration : kExitFailed,
                                       "cannot open the store: " + error_text(opened.error())});
      }
    }
  }
  const auto wakeup = std::make_shared<io::Wakeup>();
  std::unique_ptr<io::StorageThreads> storage;
  std::unique_ptr<io::Core> core;
  if (node) {
    storage = start_storage(*data, entropy, *wakeup);
    core = std::make_unique<NodeCore>(*node);
  } else {
    core = std::make_unique<LockedCore>();
  }
  const AdminFiles admin_files{
      .identity = identity_places,
      .config = options.config.empty() ? data->path + "/holdfast.toml" : options.config,
      .data = data->path};
  Admin admin(node.get(), view, config_values(data->config, data->path));
  admin.serve_files(admin_files, wakeup.get());
  io::EventLoop* turning = nullptr;
  HttpServer http(admin, {.status =
                              [&](const Now& now) {
                                StatusView seen = view;
                                if (node) seen.status = node->status(now);
                                return seen;
                              },
                          .loop = [&] { return turning->figures(); },
                          .say = say});
  http.set_tokens(*tokens);

  io::EventLoopOptions loop_options;
  // Some are for the store and the process itself.
  loop_options.connections_max = files > 256 ? files - 128 : files / 2;
  loop_options.heartbeat_interval = kStatusInterval;
  if (service.watchdog_interval() > Duration{}) {
    loop_options.heartbeat_interval = std::min(kStatusInterval, service.watchdog_interval() / 3);
  }
  loop_options.heartbeat = [&] {
    if (node) view.status = node->status(clock.now());
    log.settle();
    service.notify("WATCHDOG=1\nSTATUS=" + status_sentence(view));
  };
  io::EventLoop loop(*core, wakeup, storage.get(), clock, &admin, say, loop_options);
  turning = &loop;
  loop.serve_http(http);
  if (node) {
    for (const std::string& address : data->config.listen) {
      if (const auto listening = loop.listen_tcp(address); !listening) {
        return std::unexpected(Failure{kExitConfiguration, listening.error()});
      }
    }
    if (data->config.upstream_tls) {
      if (const auto loaded = loop.dial_with_tls(*data->config.upstream_tls); !loaded)
        return std::unexpected(Failure{kExitConfiguration, loaded.error()});
    }
  }
  if (node && config.upstream) loop.watch_network();
  for (const ListenerConfig& listener : data->config.listeners) {
    // A node that is locked says so to probes too.
    if (!node && !listener.door.http) continue;
    if (const auto listening = loop.open_door(listener.door); !listening)
      return std::unexpected(Failure{kExitConfiguration, listening.error()});
  }
  loop.watch_files({identity_places.tokens.path}, [&] { reload_tokens(identity_places.tokens, http, say); });
  if (node) {
    loop.watch_files({identity_places.users.path, identity_places.permissions.path},
                     [&] { reload_identities(identity_places, *node, say); });
  }
  view.listen = loop.addresses();
  const size_t doors = data->config.listeners.size();
  for (size_t i = 0; node && i < doors; ++i) {
    const io::DoorOptions& door = data->config.listeners[i].door;
    std::string& address = view.listen[view.listen.size() - doors + i];
    if (door.http) address.insert(0, door.tls ? "https://" : "http://");
  }
  if (const auto listening = loop.listen_unix(data->admin_socket); !listening) {
    return std::unexpected(Failure{kExitConfiguration, listening.error()});
  }

  if (node) {
    std::string addresses;
    for (const std::string& address : view.listen) addresses += address + ", ";
    say("HF-RUN-001", fmt::format("holdfast {}: node {} listens on {}{}", kVersion, config.name, addresses,
                                  data->admin_socket));
    if (config.insecure) {
      say("HF-RUN-005", "insecure = true: connections from other machines are allowed and not encrypted");
    }
    view.status = node->status(clock.now());
    service.notify("READY=1\nSTATUS=" + status_sentence(view));
  } else {
    say("HF-RUN-002", "locked: " + view.locked);
    service.notify("READY=1\nSTATUS=locked: " + view.locked);
  }
  const bool clean = loop.run();
  service.notify("STOPPING=1");
  if (!node) {
    say("HF-RUN-003", "stopped");
  } else if (clean) {
    say("HF-RUN-003", "stopped; everything is on disk");
  } else {
    say("HF-RUN-003",
        "stopped before everything was on disk; what was acknowledged is, and recovery does the rest");
  }
  return clean;
}

}  // namespace

void add_run(Command app) {
  auto options = std::make_shared<Options>();
  const Command command = app.subcommand("run", "Run the node until SIGTERM or SIGINT");
  add_data_option(command, &options->target);
  add_config_option(command, &options->config);
  command.footer(
      "Examples:\n"
      "  holdfast run\n"
      "  holdfast run --data ./data\n"
      "  holdfast run --config /etc/holdfast.toml");
  command.run([options] {
    const auto ended = run(*options);
    return !ended ? report(ended.error()) : *ended ? kExitOk : kExitFailed;
  });
}

}  // namespace hf::holdfast
