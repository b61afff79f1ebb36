// Files with certificates and keys, and what was loaded from them last that was good. A reload that fails keeps that: a half
// written certificate must not lock everybody out. Those who are connected notice nothing either way.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "io/tls_context.h"

namespace hf::io {

class TlsSource {
 public:
  using Say = std::function<void(const char* event, const std::string& text)>;
  using Load = std::function<TlsContext::Loaded()>;

  // `what` is whose certificate it is, for the log: "0.0.0.0:8883". `say` outlives this.
  static std::expected<std::unique_ptr<TlsSource>, TlsMistake> make(std::string what,
                                                                    std::vector<std::string> files, Load load,
                                                                    const Say& say);

  // For new handshakes.
  const std::shared_ptr<const TlsContext>& current() const { return current_; }
  const std::vector<std::string>& files() const { return files_; }
  // Reads the files again and says what came of it, unless nothing changed.
  void reload();

 private:
  TlsSource(std::string what, std::vector<std::string> files, Load load, const Say& say)
      : what_(std::move(what)), files_(std::move(files)), load_(std::move(load)), say_(say) {}
  void warn() const;

  const std::string what_;
  const std::vector<std::string> files_;
  const Load load_;
  const Say& say_;
  std::shared_ptr<const TlsContext> current_;
};

}  // namespace hf::io
