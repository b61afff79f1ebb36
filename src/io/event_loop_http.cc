// Connections that speak HTTP: probes, scrapes and the API. The rest of the loop is in event_loop.cc.
//
//     waits for a request --whole--> is answered --sent--> waits ...
//        30 s, 10 s from its first byte      at most 30 s
//
// They must not disturb MQTT: there are few of them (`http_max`), each gets one answer a turn, none is read while its answer is
// made or sent, and so each holds one request and one response at most. At the limit whoever has been idle longest makes room.
#include <algorithm>

#include "base/assert.h"
#include "crypto/crypto.h"
#include "io/event_loop.h"

namespace hf::io {

// --- Coming.

// Whether one more may come in.
bool EventLoop::make_http_room() {
  if (https_.size() < options_.http_max) return true;
  // Nobody loses a request that way that came at the pace of an honest client.
  for (const ConnectionId id : https_) {
    Connection& connection = *find(id);
    if (connection.kind == Kind::kOpening) {
      if (connection.passage->away() || connection.passage->begun + options_.eviction_age > now_.mono)
        continue;
      lose_opening(connection, door_counters_.evicted, "others waited");
      return true;
    }
    if (connection.kind == Kind::kHttp) {
      if (connection.http->busy || connection.out_bytes > 0) continue;
      if (connection.http->waits_since + options_.eviction_age > now_.mono) continue;
    }
    lose(connection);
    return true;
  }
  ++http_counters_.refused;
  return false;
}

// Nobody waits for an answer any more.
void EventLoop::forget_request(const Connection& connection) {
  if (admin_ != nullptr) admin_->closed(connection.id);
  http_->closed(connection.id);
}

// Its chain stands, or it has none.
void EventLoop::begin_http(Connection& connection, HttpCaller caller) {
  connection.kind = Kind::kHttp;
  connection.http = std::make_unique<HttpConversation>();
  connection.http->caller = std::move(caller);
  connection.http->waits_since = now_.mono;
  set_deadline(connection, now_.mono + options_.http_idle_timeout);
}

// --- Requests.

void EventLoop::http_received(Connection& connection, Bytes bytes) {
  HttpConversation& http = *connection.http;
  const bool was_midway = http.reader.midway();
  http.reader.take(bytes);
  // From its first byte on, so that who sends a byte now and then gains nothing.
  if (!was_midway && http.reader.midway() && !http.busy)
    connection.deadline = now_.mono + options_.http_request_timeout;
  if (!http.due) serve_http(connection);
}

// One request, if one is whole.
void EventLoop::serve_http(Connection& connection) {
  HttpConversation& http = *connection.http;
  if (http.busy || connection.out_bytes > 0 || connection.broken) return;
  std::optional<HttpRequest> request = http.reader.next();
  if (!request) {
    if (const HttpMistake* mistake = http.reader.failure()) {
      ++http_counters_.malformed;
      return refuse_http(connection, *mistake);
    }
    if (http.reader.take_continue()) send(connection, std::string(kHttpContinue));
    return;
  }
  ++http_counters_.requests;
  http.busy = true;
  http.head_only = request->method == "HEAD";
  http.keep_alive = request->keep_alive;
  connection.deadline = now_.mono + options_.http_answer_timeout;
  update_interest(connection);
  if (http_->request(connection.id, http.caller, *request, now_, &http_replies_)) step_due_ = true;
  crypto::wipe(&request->body);  // A password may be in it.
  for (HttpReply& reply : std::exchange(http_replies_, {})) {
    Connection* const asking = find(reply.connection);
    if (asking != nullptr && asking->kind == Kind::kHttp) respond(*asking, reply.response);
  }
}

// Those whose next request has come already.
void EventLoop::serve_http_due() {
  for (const ConnectionId id : std::exchange(http_due_, {})) {
    Connection* const connection = find(id);
    if (connection == nullptr || connection->kind != Kind::kHttp) continue;
    connection->http->due = false;
    serve_http(*connection);
    if (find(id) == connection) update_interest(*connection);
  }
}

// --- Responses.

void EventLoop::respond(Connection& connection, const HttpResponse& response) {
  const ConnectionId id = connection.id;
  HttpConversation& http = *connection.http;
  http.busy = false;
  http.waits_since = now_.mono;
  const bool close = response.close || !http.keep_alive || stopping_;
  // Without a clock there is no date. RFC 9110, section 6.6.1.
  const std::string date = now_.quality == ClockQuality::kUnknown ? "" : http_date(now_.wall_us);
  const bool more = http.reader.midway();
  connection.deadline = now_.mono + (more ? options_.http_request_timeout : options_.http_idle_timeout);
  send(connection, format_http_response(response, http.head_only, close, date));
  if (find(id) == nullptr) return;
  if (close) return begin_close(connection);
  if (more && connection.out_bytes == 0) http_go_on(connection);
  update_interest(connection);
}

// What has been read already is looked at in the next turn.
void EventLoop::http_go_on(Connection& connection) {
  if (std::exchange(connection.http->due, true)) return;
  http_due_.push_back(connection.id);
}

// The last answer: what follows a request that cannot be read is no request.
void EventLoop::refuse_http(Connection& connection, const HttpMistake& mistake) {
  HttpResponse problem =
      http_problem(mistake.status, "malformed", std::string(mistake.text) + "; the connection is closed");
  problem.close = true;
  connection.http->head_only = false;
  respond(connection, problem);
}

// --- Times.

// Its response left, or more of it.
void EventLoop::http_flushed(Connection& connection) {
  connection.deadline = now_.mono + options_.http_idle_timeout;
  if (connection.out_bytes == 0 && !connection.http->busy && connection.http->reader.midway())
    http_go_on(connection);
}

// Its deadline has passed. False: it has another one.
bool EventLoop::expire_http(Connection& connection) {
  HttpConversation& http = *connection.http;
  const bool waits = !http.busy && connection.out_bytes == 0;
  if (http.busy || connection.out_bytes > 0 || http.reader.midway()) ++http_counters_.timed_out;
  if (waits && http.reader.midway()) {
    const ConnectionId id = connection.id;
    refuse_http(connection, {408, "the request did not become whole in time"});
    return find(id) == nullptr;
  }
  lose(connection);
  return true;
}

LoopFigures EventLoop::figures() {
  LoopFigures figures;
  figures.now = now_;
  figures.connections = connections_.size();
  figures.openings = openings_.size();
  figures.doors = door_counters_;
  figures.https = https_.size();
  figures.http = http_counters_;
  figures.stopping = stopping_;
  const auto shown = [&](const std::string& where, const TlsSource& source) {
    if (const auto until = source.current()->not_after_s())
      figures.certificates.push_back({where, *until, source.current()->crl_made_s()});
  };
  for (const Listener& listener : listeners_) {
    if (listener.door && listener.door->tls() != nullptr) shown(listener.address, *listener.door->tls());
  }
  if (dial_tls_) shown("upstream", *dial_tls_);
  if (paused_) figures.paused_for = now_.mono - paused_since_;
  for (const auto& [id, connection] : connections_) {
    // Of those who have not said who they are.
    const bool stranger = connection->kind == Kind::kOpening || connection->kind == Kind::kUndecided;
    if (stranger) figures.preauth_bytes += connection->out_bytes;
    if (connection->http) figures.preauth_bytes += connection->http->reader.held_bytes();
  }
  if (storage_ == nullptr) return figures;
  figures.jobs_outstanding = storage_->outstanding();
  if (figures.jobs_outstanding > 0) figures.disk_silent_for = now_.mono - disk_answered_;
  figures.commits = storage_->times(store::Lane::kCommit);
  return figures;
}

}  // namespace hf::io
