// The subcommands, one file each. Each adds itself to the command line.
#pragma once

#include "holdfast/admin_client.h"
#include "holdfast/command_line.h"

namespace hf::holdfast {

void add_init(Command app);
void add_run(Command app);
void add_status(Command app);
void add_pub(Command app);
void add_sub(Command app);
void add_stream(Command app);
void add_client(Command app);
void add_retained(Command app);
void add_queue(Command app);
void add_node(Command app);
void add_user(Command app);
void add_token(Command app);
void add_acl(Command app);
void add_config(Command app);
void add_store(Command app);
void add_connect(Command app);
void add_claim(Command app);
void add_version(Command app);

// Parts of commands that have a file of their own: sub ls, stream export.
void add_sub_ls(Command sub);
void add_stream_export(Command stream);

// Says why on standard error; the exit code.
int report(const Failure& failure);
// The same, if there is something to say.
int report(const std::expected<void, Failure>& done);

}  // namespace hf::holdfast
