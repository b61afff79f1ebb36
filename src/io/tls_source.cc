#include "io/tls_source.h"

#include <utility>

namespace hf::io {

std::expected<std::unique_ptr<TlsSource>, TlsMistake> TlsSource::make(std::string what,
                                                                      std::vector<std::string> files,
                                                                      Load load, const Say& say) {
  std::erase(files, "");
  std::unique_ptr<TlsSource> made(new TlsSource(std::move(what), std::move(files), std::move(load), say));
  auto loaded = made->load_();
  if (!loaded) return std::unexpected(loaded.error());
  made->current_ = std::move(*loaded);
  made->warn();
  return made;
}

void TlsSource::reload() {
  auto loaded = load_();
  if (!loaded) {
    if (say_) {
      say_("HF-TLS-002", what_ + " keeps the certificate it has: " + loaded.error().text +
                             ". It is read again when a file changes, or at SIGHUP");
    }
    return;
  }
  if ((*loaded)->digest() == current_->digest()) return;
  current_ = std::move(*loaded);
  if (say_) {
    say_("HF-TLS-001", what_ + " read its files again and shows " +
                           (current_->summary().empty() ? "no certificate" : current_->summary()));
  }
  warn();
}

void TlsSource::warn() const {
  if (!say_) return;
  for (const TlsContext::Warning& warning : current_->warnings()) say_(warning.event, warning.text);
}

}  // namespace hf::io
