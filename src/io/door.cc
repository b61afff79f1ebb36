#include "io/door.h"

#include <utility>

#include "io/proxy_filter.h"
#include "io/tls_filter.h"
#include "io/websocket_filter.h"

namespace hf::io {

std::string DoorOptions::unix_path() const {
  constexpr std::string_view kPrefix = "unix:";
  return address.starts_with(kPrefix) ? address.substr(kPrefix.size()) : "";
}

std::expected<std::unique_ptr<Door>, TlsMistake> Door::make(const DoorOptions& options,
                                                            const TlsSource::Say& say) {
  std::unique_ptr<Door> door(new Door());
  door->proxy_ = options.proxy;
  if (options.websocket) door->origins_ = std::make_shared<const std::vector<std::string>>(options.origins);
  if (options.tls) {
    const TlsServerFiles files = *options.tls;
    const auto protocol =
        options.websocket || options.http ? TlsContext::Protocol::kHttp : TlsContext::Protocol::kMqtt;
    auto source = TlsSource::make(
        options.address, {files.certificate, files.key, files.client_ca, files.client_crl},
        [files, protocol] { return TlsContext::server(files, protocol); }, say);
    if (!source) return std::unexpected(source.error());
    door->tls_ = std::move(*source);
  }
  return door;
}

std::unique_ptr<FilterChain> Door::chain() const {
  auto chain = std::make_unique<FilterChain>();
  if (proxy_) chain->add(std::make_unique<ProxyFilter>());
  if (tls_) chain->add(std::make_unique<TlsFilter>(tls_->current()));
  if (origins_) chain->add(std::make_unique<WebSocketFilter>(origins_));
  return chain;
}

}  // namespace hf::io
