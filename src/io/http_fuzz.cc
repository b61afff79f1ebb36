// Any bytes in one piece and in two: the same requests and the same end; nothing that was refused goes on; memory stays bounded.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "io/http.h"

namespace {

using hf::Bytes;
using hf::io::HttpReader;
using hf::io::HttpRequest;

struct Outcome {
  std::vector<HttpRequest> requests;
  int failure = 0;
};

Outcome run(Bytes first, Bytes second) {
  HttpReader reader;
  Outcome outcome;
  for (const Bytes piece : {first, second}) {
    reader.take(piece);
    while (auto request = reader.next()) outcome.requests.push_back(std::move(*request));
    (void)reader.take_continue();
  }
  if (reader.failure() != nullptr) outcome.failure = reader.failure()->status;
  if (outcome.failure != 0 && reader.held_bytes() != 0) std::abort();
  return outcome;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace hf::io;
  if (size < 2) return 0;
  const Bytes bytes(reinterpret_cast<const char*>(data) + 2, size - 2);
  const size_t cut = std::min<size_t>(data[0] + 256u * data[1], bytes.size());
  const Outcome whole = run(bytes, {});
  const Outcome pieces = run(bytes.substr(0, cut), bytes.substr(cut));
  if (whole.failure != pieces.failure || whole.requests.size() != pieces.requests.size()) std::abort();
  for (size_t i = 0; i < whole.requests.size(); ++i) {
    const HttpRequest& request = whole.requests[i];
    if (request.body != pieces.requests[i].body || request.headers != pieces.requests[i].headers)
      std::abort();
    if (request.body.size() > kHttpBodyBytesMax || request.headers.size() > kHttpHeadersMax) std::abort();
    (void)http_percent_decoded(request.path);
    (void)http_host_allowed(request.header("host").value_or(""), "0.0.0.0:1", {"a"});
    (void)format_http_response(http_problem(404, "x", request.path), false, false, "");
  }
  return 0;
}
