// Requests of the admin protocol that are about files: users, tokens, permissions, the configuration. They read, wait for the
// lock of who edits by hand, hash passwords (40 ms and 19 MiB each, on purpose) and sync, so they run on a thread of their own,
// one after another. The core thread hands a piece over and answers when it comes back.
#pragma once

#include <cstdint>
#include <string>

#include "holdfast/admin.h"
#include "holdfast/identity_files.h"

namespace hf::holdfast {

// Where they are.
struct AdminFiles {
  IdentityFiles identity;
  std::string config;  // The configuration file.
  std::string data;
};

// Whether a command is such a one.
bool is_admin_work(const std::string& command);

class AdminWork {
 public:
  // `files` outlives this object.
  AdminWork(uint64_t number, const AdminRequest& request, const AdminFiles& files)
      : number_(number), request_(request), files_(files) {}
  ~AdminWork();
  AdminWork(const AdminWork&) = delete;
  AdminWork& operator=(const AdminWork&) = delete;

  // On any thread.
  void run();

  uint64_t number() const { return number_; }
  const std::string& line() const { return line_; }  // The answer, after run().

 private:
  std::string answer();
  std::string change_password();
  std::string add_token();
  std::string test_acl() const;
  std::string test_config() const;

  const uint64_t number_;
  AdminRequest request_;
  const AdminFiles& files_;
  std::string line_;
};

}  // namespace hf::holdfast
