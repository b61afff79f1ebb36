// What is inside a node, for people: lists as tables, one client in full, and why somebody who is owed messages does not get
// them. Tables are made of the rows that the admin protocol gives, so that both ends of it say the same.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <string>
#include <vector>

#include "node/inspect.h"

namespace hf::holdfast {

// A list of the admin protocol: under which name its rows stand in an answer, and how they are shown.
struct ListText {
  const char* rows;  // "clients"
  std::vector<std::string> heading;
  std::vector<std::string> (*row)(const nlohmann::ordered_json&);
  const char* none;  // Said if there is no row.
};
const ListText& clients_list();
const ListText& subscriptions_list();
const ListText& receivers_list();  // Subscriptions that match a topic.
const ListText& retained_list();
const ListText& queues_list();
const ListText& config_list();

// One client: what `holdfast client show` prints.
std::string client_text(const nlohmann::ordered_json& client);
// What is lost if its session ends; empty: nothing.
std::string client_loss(const nlohmann::ordered_json& client);

// "window full: 20 of 20", for a table.
std::string queue_summary(const node::QueueStatus& queue);
// One sentence: who is owed how much, and why it is still here.
std::string queue_sentence(const node::QueueStatus& queue, int64_t now_wall_us);

}  // namespace hf::holdfast
