// Goal: a file that is named must be there, one that is not may be missing; edits replace the users file whole, lose
// nothing of each other and change nothing of a wrong one. Method: real files in a directory of the test's own; two
// threads that edit at once.
#include "holdfast/identity_files.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "holdfast/exit_code.h"
#include "holdfast/read_file.h"

namespace hf::holdfast {
namespace {

constexpr char kHash[] =
    ":$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";

class IdentityFilesTest : public testing::Test {
 protected:
  IdentityFilesTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "holdfast-identity-XXXXXX").string();
    directory_ = ::mkdtemp(pattern.data()) == nullptr ? "" : pattern;
  }
  ~IdentityFilesTest() override {
    std::error_code ignored;
    std::filesystem::remove_all(directory_, ignored);
  }

  std::string path(const std::string& name) const { return directory_ + "/" + name; }
  void write(const std::string& name, std::string_view text) {
    ASSERT_TRUE(write_new_file(path(name), text, 0644));
  }

  static std::expected<void, Failure> add(const std::string& path, const std::string& name) {
    return edit_users(
        path, [&](const std::string& text, const identity::Users&) -> std::expected<std::string, Failure> {
          return identity::with_user(text, name, *identity::parse_users("x" + std::string(kHash))->find("x"));
        });
  }

  std::string directory_;
};

TEST_F(IdentityFilesTest, PlacesComeFromTheConfiguration) {
  write("holdfast.toml", "users = \"who\"\n");
  const auto config = load_config(path("holdfast.toml"));
  ASSERT_TRUE(config);
  const IdentityFiles files = identity_files(*config, "/data");
  EXPECT_EQ(files.users.path, path("who"));
  EXPECT_TRUE(files.users.named);
  EXPECT_EQ(files.permissions.path, "/data/permissions.toml");
  EXPECT_FALSE(files.permissions.named);
}

TEST_F(IdentityFilesTest, OnlyAFileThatIsNotNamedMayBeMissing) {
  const auto users = load_users({.path = path("users")});
  ASSERT_TRUE(users);
  EXPECT_TRUE(users->all().empty());
  const auto permissions = load_permissions({.path = path("permissions.toml")});
  ASSERT_TRUE(permissions);
  EXPECT_TRUE(permissions->everything());
  EXPECT_FALSE(load_users({.path = path("users"), .named = true}));
  EXPECT_FALSE(load_permissions({.path = path("permissions.toml"), .named = true}));

  write("users", "anna\n");
  write("permissions.toml", "x = 1\n");
  EXPECT_EQ(load_users({.path = path("users")}).error().front(),
            path("users") + ":1: this is not NAME:PASSWORD HASH; add users with: holdfast user add NAME");
  EXPECT_EQ(load_permissions({.path = path("permissions.toml")}).error().front(),
            path("permissions.toml") + ":1: unknown key `x`");
  // There but unreadable is not missing.
  ASSERT_EQ(::mkdir(path("folder").c_str(), 0700), 0);
  EXPECT_FALSE(load_permissions({.path = path("folder")}));
  EXPECT_FALSE(load_users({.path = path("folder")}));
}

TEST_F(IdentityFilesTest, EditsReplaceTheFileForItsOwnerOnly) {
  ASSERT_TRUE(add(path("users"), "anna"));
  struct stat about{};
  ASSERT_EQ(::stat(path("users").c_str(), &about), 0);
  EXPECT_EQ(about.st_mode & 0777, 0600u);

  write("others", "# open to all\n");
  ASSERT_EQ(::symlink("others", path("link").c_str()), 0);
  write("others.new", "left by one who was killed");
  ASSERT_TRUE(add(path("link"), "bert"));
  EXPECT_TRUE(std::filesystem::is_symlink(path("link"))) << "a link stays one";
  EXPECT_EQ(read_file(path("others"), 4096).value(), "# open to all\nbert" + std::string(kHash) + "\n");
  ASSERT_EQ(::stat(path("others").c_str(), &about), 0);
  EXPECT_EQ(about.st_mode & 0777, 0600u);
  EXPECT_FALSE(std::filesystem::exists(path("others.new")));
}

TEST_F(IdentityFilesTest, NothingOfAWrongFileIsChanged) {
  write("users", "anna\n");
  const auto done = add(path("users"), "bert");
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().exit_code, kExitConfiguration);
  EXPECT_TRUE(done.error().text.ends_with("\nNothing was changed.")) << done.error().text;
  EXPECT_EQ(read_file(path("users"), 4096).value(), "anna\n");
}

TEST_F(IdentityFilesTest, TwoWhoEditAtOnceLoseNothing) {
  const auto add_many = [this](const std::string& prefix) {
    for (int i = 0; i < 30; ++i) EXPECT_TRUE(add(path("users"), prefix + std::to_string(i)));
  };
  std::thread other(add_many, "a");
  add_many("b");
  other.join();
  const auto users = load_users({.path = path("users")});
  ASSERT_TRUE(users);
  EXPECT_EQ(users->all().size(), 60u);
}

TEST_F(IdentityFilesTest, TokensAreKeptLikeUsers) {
  const auto add = [&](const std::string& name) {
    return edit_tokens(
        path("tokens"),
        [&](const std::string& text, const identity::Tokens&) -> std::expected<std::string, Failure> {
          return identity::with_token(text, name, identity::make_token(identity::Role::kRead, name));
        });
  };
  EXPECT_TRUE(load_tokens({.path = path("tokens")})->all().empty());
  EXPECT_FALSE(load_tokens({.path = path("tokens"), .named = true}));
  ASSERT_TRUE(add("a"));
  ASSERT_TRUE(add("b"));
  struct stat about{};
  ASSERT_EQ(::stat(path("tokens").c_str(), &about), 0);
  EXPECT_EQ(about.st_mode & 0777, 0600u);
  EXPECT_EQ(load_tokens({.path = path("tokens")})->all().size(), 2u);
  // Twice the same is a mistake, and changes nothing more.
  ASSERT_TRUE(add("a"));
  const auto broken = load_tokens({.path = path("tokens")});
  ASSERT_FALSE(broken);
  EXPECT_TRUE(broken.error()[0].starts_with(path("tokens") + ":3: ")) << broken.error()[0];
  EXPECT_EQ(add("c").error().exit_code, kExitConfiguration);
}

}  // namespace
}  // namespace hf::holdfast
