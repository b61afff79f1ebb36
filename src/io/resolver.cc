#include "io/resolver.h"

#include <pthread.h>

#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>

namespace hf::io {

struct Resolver::Shared {
  struct Question {
    uint64_t serial = 0;
    std::string host;
    uint16_t port = 0;
  };

  std::shared_ptr<Wakeup> wakeup;
  std::mutex mutex;  // Guards what follows.
  std::condition_variable work;
  bool stopping = false;
  bool started = false;
  bool busy = false;  // With a question that was begun.
  std::optional<Question> question;
  std::optional<Resolution> answer;
  std::atomic<bool> answered{false};
};

Resolver::Resolver(std::shared_ptr<Wakeup> wakeup) : wakeup_(std::move(wakeup)) { start(); }

Resolver::~Resolver() { stop(); }

void Resolver::start() {
  shared_ = std::make_shared<Shared>();
  shared_->wakeup = wakeup_;
}

void Resolver::stop() {
  {
    std::lock_guard lock(shared_->mutex);
    shared_->stopping = true;
  }
  shared_->work.notify_one();
}

void Resolver::ask(uint64_t serial, const std::string& host, uint16_t port) {
  {
    std::lock_guard lock(shared_->mutex);
    shared_->question = Shared::Question{serial, host, port};
    if (!shared_->started) {  // A node that names nobody has no such thread.
      shared_->started = true;
      std::thread([shared = shared_, counted = threads_] { serve(shared); }).detach();
    }
  }
  shared_->work.notify_one();
}

void Resolver::give_up() {
  {
    std::lock_guard lock(shared_->mutex);
    shared_->question.reset();
    if (!shared_->busy || threads_.use_count() - 1 > kLeftMax) return;
  }
  stop();
  start();
}

bool Resolver::has_answer() const { return shared_->answered.load(std::memory_order_seq_cst); }

std::optional<Resolution> Resolver::take_answer() {
  if (!has_answer()) return std::nullopt;
  std::lock_guard lock(shared_->mutex);
  shared_->answered.store(false, std::memory_order_seq_cst);
  return std::exchange(shared_->answer, std::nullopt);
}

void Resolver::serve(const std::shared_ptr<Shared>& shared) {
  ::pthread_setname_np(::pthread_self(), "hf-resolver");
  std::unique_lock lock(shared->mutex);
  while (true) {
    while (!shared->question && !shared->stopping) shared->work.wait(lock);
    if (shared->stopping) return;
    const Shared::Question question = std::move(*shared->question);
    shared->question.reset();
    shared->busy = true;
    lock.unlock();

    Resolution answer;
    answer.serial = question.serial;
    try {
      answer.addresses = resolve_host(question.host, question.port, &answer.error);
    } catch (const std::exception& thrown) {
      answer.addresses.clear();
      answer.error = "cannot look up " + question.host + ": " + thrown.what();
    }

    lock.lock();
    shared->busy = false;
    if (shared->stopping) return;
    shared->answer = std::move(answer);
    shared->answered.store(true, std::memory_order_seq_cst);
    lock.unlock();
    shared->wakeup->notify();
    lock.lock();
  }
}

}  // namespace hf::io
