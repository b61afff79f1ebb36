#include "holdfast/settle.h"

#include <vector>

namespace hf::holdfast {

bool settle(node::Node& node, store::Disk& disk, Entropy& entropy, io::Clock& clock,
            const std::function<bool()>& done, Duration patience) {
  const Instant deadline = clock.now().mono + patience;
  std::vector<node::Input> inputs;
  node::Effects effects;
  while (!done()) {
    const Now now = clock.now();
    if (now.mono >= deadline) return false;
    effects.clear();
    node.step(inputs, now, effects);
    inputs.clear();
    for (auto& job : effects.jobs) {
      job->run(disk, entropy);
      inputs.emplace_back(node::JobDone{std::move(job)});
    }
    if (effects.dial) inputs.emplace_back(node::Dialed{0, "not now"});
  }
  return true;
}

bool run_jobs(store::Store& store, store::Disk& disk, Entropy& entropy, const Now& now) {
  bool any = false;
  while (auto job = store.take_job(now)) {
    job->run(disk, entropy);
    store.complete(std::move(job), now);
    any = true;
  }
  return any;
}

}  // namespace hf::holdfast
