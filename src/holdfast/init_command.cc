// holdfast init: a new data directory.
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "holdfast/commands.h"
#include "holdfast/config_file.h"
#include "holdfast/data_directory.h"
#include "holdfast/exit_code.h"
#include "holdfast/read_file.h"
#include "holdfast/settle.h"
#include "holdfast/target.h"
#include "io/entropy.h"
#include "io/errno_text.h"
#include "link/claim.h"
#include "node/node.h"

namespace hf::holdfast {

namespace {

struct Options {
  std::string directory;
  std::string name;
  std::string key;
  std::string claim;
  std::string output;
};

std::string default_name() {
  char host[65] = "";
  ::gethostname(host, sizeof host - 1);
  std::string name;
  for (const char c : std::string_view(host)) name += node_name_valid({&c, 1}) || c == '.' ? c : '-';
  return node_name_valid(name) ? name : "node";
}

// What was made so far; all of it goes again unless everything succeeds, so that a second attempt finds an
// empty place.
class Made {
 public:
  ~Made() {
    std::error_code ignored;
    for (auto path = paths_.rbegin(); path != paths_.rend(); ++path)
      std::filesystem::remove_all(*path, ignored);
  }
  void add(const std::string& path) { paths_.push_back(path); }
  void keep() { paths_.clear(); }

 private:
  std::vector<std::string> paths_;
};

std::expected<void, Failure> make_directory(const std::string& path, Made* made) {
  if (::mkdir(path.c_str(), 0700) == 0) {
    made->add(path);
    return {};
  }
  if (errno == EEXIST && std::filesystem::is_directory(path)) return {};
  return std::unexpected(Failure{kExitConfiguration, "cannot make " + path + ": " + io::errno_text(errno)});
}

std::expected<void, Failure> take_claim(const std::string& directory, const std::string& claim_text) {
  auto data = open_data_directory(directory, "");
  if (!data) return std::unexpected(data.error());
  io::SystemEntropy entropy;
  io::Clock clock(entropy);
  const auto disk = io::PosixDirectory::disk(data->store);
  auto node = node::Node::open(*disk, entropy, data->key, data->config.node, data->fence, clock.now());
  if (!node) return std::unexpected(Failure{kExitFailed, error_text(node.error())});
  const auto commit = (*node)->claim(claim_text);
  if (!commit)
    return std::unexpected(Failure{kExitFailed, "the claim was not taken: " + error_text(commit.error())});
  bool durable = settle(**node, *disk, entropy, clock, [&] { return (*node)->durable_commit() >= *commit; });
  (*node)->shut_down(clock.now());
  durable = settle(**node, *disk, entropy, clock, [&] { return (*node)->stopped(); }) && durable;
  if (!durable)
    return std::unexpected(Failure{kExitFailed, "the claim could not be made durable: the disk failed"});
  return {};
}

std::expected<void, Failure> init(const Options& options) {
  const std::string& directory = options.directory;
  const auto refuse = [](std::string text) {
    return std::unexpected(Failure{kExitConfiguration, std::move(text)});
  };
  for (const char* name : {"holdfast.toml", "key", "store"}) {
    if (::access((directory + "/" + name).c_str(), F_OK) == 0) {
      return refuse(
          fmt::format("{} is already a data directory ({} is there); to use it: holdfast run --data {}",
                      directory, name, directory));
    }
  }
  std::string claim_text;
  std::string name = options.name.empty() ? default_name() : options.name;
  if (!options.claim.empty()) {
    auto text = read_file(options.claim, 64 << 10);
    if (!text) return refuse(text.error());
    claim_text = std::move(*text);
    const auto claim = link::parse_claim(claim_text);
    if (!claim) return refuse(options.claim + " is not a claim file: " + error_text(claim.error()));
    if (!options.name.empty() && options.name != claim->node) {
      return refuse(fmt::format("--name {}, but {} is the claim of {}; leave --name out", options.name,
                                options.claim, claim->node));
    }
    name = claim->node;  // The hub knows it by that.
  }
  if (!node_name_valid(name)) {
    return refuse(fmt::format("--name \"{}\": a name is 1 to 64 letters, digits, '.', '_' and '-'", name));
  }

  Made made;
  if (auto done = make_directory(directory, &made); !done) return done;
  std::string key_path = directory + "/key";
  std::string configured_key;
  if (!options.key.empty()) {
    std::error_code ignored;
    key_path = std::filesystem::absolute(options.key, ignored).lexically_normal().string();
    configured_key = key_path;
  }
  io::SystemEntropy entropy;
  if (options.key.empty() || ::access(key_path.c_str(), F_OK) != 0) {
    std::string bytes(crypto::kKeyBytes, '\0');
    entropy.fill(bytes.data(), bytes.size());
    const auto written = write_new_file(key_path, bytes, 0400);
    crypto::wipe(&bytes);
    if (!written) return refuse(written.error());
    made.add(key_path);
  }
  const auto key = read_key(key_path);
  if (!key) return refuse(key.error());

  const std::string config_path = directory + "/holdfast.toml";
  if (const auto written = write_new_file(config_path, config_template(name, configured_key), 0600);
      !written) {
    return refuse(written.error());
  }
  made.add(config_path);

  const std::string store_path = directory + "/store";
  if (auto done = make_directory(store_path, &made); !done) return done;
  {
    const auto store = io::PosixDirectory::open(store_path);
    if (!store) return std::unexpected(Failure{kExitFailed, store_path + ": " + error_text(store.error())});
    const auto disk = io::PosixDirectory::disk(*store);
    if (const auto created = store::Store::create(*disk, entropy, *key, entropy.u64()); !created) {
      return std::unexpected(Failure{kExitFailed, "cannot make the store: " + error_text(created.error())});
    }
  }
  if (!claim_text.empty()) {
    if (auto taken = take_claim(directory, claim_text); !taken) return taken;
  }
  made.keep();

  if (options.output == "json") {
    const nlohmann::ordered_json said = {{"data", directory},
                                         {"name", name},
                                         {"configuration", config_path},
                                         {"key", key_path},
                                         {"claim_taken", !claim_text.empty()}};
    fmt::print("{}\n", said.dump());
    return {};
  }
  fmt::print("Made {} for node \"{}\".\n\n", directory, name);
  fmt::print("  configuration  {}\n", config_path);
  fmt::print("  key            {}\n", key_path);
  fmt::print("\nKeep a copy of the key somewhere else: without it nothing in the store can be read.\n");
  if (options.key.empty()) {
    fmt::print(
        "It lies beside the data, so who takes the machine has both; --key FILE puts it on another disk.\n");
  }
  fmt::print("\nNext:\n  holdfast run --data {}\n  holdfast status --data {}\n", directory, directory);
  if (claim_text.empty()) {
    fmt::print(
        "To send upstream: holdfast node add {} at the hub, set [upstream] here, and, while this node runs, "
        "holdfast claim FILE.\n",
        name);
  } else {
    fmt::print("The claim was taken; set [upstream] in the configuration if it is not there.\n");
  }
  return {};
}

}  // namespace

void add_init(Command app) {
  auto options = std::make_shared<Options>();
  const Command command =
      app.subcommand("init", "Make a new data directory: configuration, key and an empty store");
  command.option("dir", "DIR", &options->directory, "The directory; made if it is not there").required();
  command.option("--name", "NAME", &options->name, "Name of the node (default: the machine's)");
  command.option("--key", "FILE", &options->key,
                 "Key file outside the data directory; made if it is not there");
  command.option("--claim", "FILE", &options->claim, "Claim file from the hub (holdfast node add)");
  add_output_option(command, &options->output);
  command.footer(
      "Examples:\n"
      "  holdfast init /var/lib/holdfast\n"
      "  holdfast init ./ship --claim ship-7.claim");
  command.run([options] { return report(init(*options)); });
}

}  // namespace hf::holdfast
