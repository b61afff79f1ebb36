// How the process takes memory from the system and gives it back.
#pragma once

namespace hf::io {

// What a step needs for its effects it frees when they are carried out, and the next step wants it again. By default the
// allocator returns it to the kernel in between, and the page faults cost a fan-out a third of its speed: so it keeps what a
// burst used. First thing in main().
void keep_freed_memory();
// When the burst is over: what is free goes back to the kernel.
void give_back_memory();

}  // namespace hf::io
