// Goal: what people see of tokens holds no secret. Method: golden text.
#include "holdfast/token_command.h"

#include <gtest/gtest.h>

namespace hf::holdfast {
namespace {

TEST(TokenCommandTest, ListsWithoutSecrets) {
  identity::Tokens::Map all;
  all["prometheus"] = identity::make_token(identity::Role::kRead, "a");
  all["deploy"] = identity::make_token(identity::Role::kAdminister, "b");
  const identity::Tokens tokens(all);
  EXPECT_EQ(tokens_table(tokens),
            "NAME        ROLE\n"
            "deploy      administer\n"
            "prometheus  read\n");
  EXPECT_EQ(tokens_json(tokens),
            R"({"tokens":[{"name":"deploy","role":"administer"},{"name":"prometheus","role":"read"}]})");
  EXPECT_EQ(tokens_json(identity::Tokens()), R"({"tokens":[]})");
}

}  // namespace
}  // namespace hf::holdfast
