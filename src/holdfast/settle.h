// Drives a node or a store without an event loop, its jobs one after another on this thread: for subcommands
// that work on a directory that no process uses.
#pragma once

#include <functional>

#include "base/prng.h"
#include "io/clock.h"
#include "node/node.h"
#include "store/store.h"

namespace hf::holdfast {

// Steps until done() or, if the disk does not let it come true, `patience` has passed: then false.
bool settle(node::Node& node, store::Disk& disk, Entropy& entropy, io::Clock& clock,
            const std::function<bool()>& done, Duration patience = seconds(30));

// Runs what the store wants done; true if there was anything.
bool run_jobs(store::Store& store, store::Disk& disk, Entropy& entropy, const Now& now);

}  // namespace hf::holdfast
