// What a TCP socket of ours is told before anything else.
#pragma once

namespace hf::io {

// `dialed`: the link to the parent, which has to notice a silent death sooner than a client's connection.
void set_tcp_options(int socket, bool dialed);

}  // namespace hf::io
