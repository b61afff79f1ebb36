// The subcommands, one file each. Each adds itself to the command line and leaves its exit code (exit_code.h)
// in *exit_code when it was the one that was called.
#pragma once

#include "holdfast/admin_client.h"

namespace CLI {
class App;
}

namespace hf::holdfast {

void add_init(CLI::App& app, int* exit_code);
void add_run(CLI::App& app, int* exit_code);
void add_status(CLI::App& app, int* exit_code);
void add_pub(CLI::App& app, int* exit_code);
void add_sub(CLI::App& app, int* exit_code);
void add_stream(CLI::App& app, int* exit_code);
void add_client(CLI::App& app, int* exit_code);
void add_retained(CLI::App& app, int* exit_code);
void add_queue(CLI::App& app, int* exit_code);
void add_node(CLI::App& app, int* exit_code);
void add_user(CLI::App& app, int* exit_code);
void add_token(CLI::App& app, int* exit_code);
void add_acl(CLI::App& app, int* exit_code);
void add_config(CLI::App& app, int* exit_code);
void add_store(CLI::App& app, int* exit_code);
void add_connect(CLI::App& app, int* exit_code);
void add_claim(CLI::App& app, int* exit_code);
void add_version(CLI::App& app, int* exit_code);

// Parts of commands that have a file of their own: sub ls, stream export.
void add_sub_ls(CLI::App& sub, int* exit_code);
void add_stream_export(CLI::App& stream, int* exit_code);

// Says why on standard error; the exit code.
int report(const Failure& failure);

}  // namespace hf::holdfast
