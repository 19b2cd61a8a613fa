// Tokens that a pipeline names as right and wrong answers, one for all items or one for each: the logit difference between them
// is what logit_attribution and patching explain.
//
// Made by a probe's constructor from four parameters; a plain value, any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <wayfarer/config.hpp>
#include <wayfarer/error.hpp>
#include <wayfarer/json.hpp>
#include <wayfarer/model.hpp>
#include <wayfarer/parameter_error.hpp>

namespace wayfarer::language {

class answer_list {
 public:
  /// `name`: a parameter of texts; `name_ids`: the same as token ids. Throws usage_error if both are given.
  answer_list(config const& c, std::string const& name)
      : name_(name), texts_(c[name].texts()), ids_(c[name + "_ids"].integers()) {
    if (!texts_.empty() && !ids_.empty())
      throw usage_error("both '" + name + "' and '" + name + "_ids' are given; leave one out");
  }

  /// Adds what is wrong with any of the answers, without weights: their number, and texts that are no single token.
  void check(std::size_t count, model const& m, std::vector<parameter_problem>& problems) const {
    std::size_t const n = texts_.empty() ? ids_.size() : texts_.size();
    if (n == 0) return;
    std::string const parameter = texts_.empty() ? name_ + "_ids" : name_;
    for (std::size_t i = 0; i < n; ++i) {
      try {
        token(n == 1 ? 0 : i, n == 1 ? 1 : count, m);
      } catch (usage_error const& e) {
        problems.push_back({parameter, i, e.what()});
        if (n != 1 && n != count) return;  // the same for all
      }
    }
  }

  bool empty() const noexcept { return texts_.empty() && ids_.empty(); }
  /// The token for number `i` of `count` things. Throws usage_error if there are neither one nor `count` answers, or a text is no
  /// single token of the model.
  std::int32_t token(std::size_t i, std::size_t count, model const& m) const {
    std::size_t const n = texts_.empty() ? ids_.size() : texts_.size();
    if (n != 1 && n != count)
      throw usage_error("'" + name_ + "' has " + std::to_string(n) + " entries; give one for all, or one for each of " +
                        std::to_string(count));
    std::size_t const at = n == 1 ? 0 : i;
    if (texts_.empty()) {
      if (ids_[at] < 0 || static_cast<std::size_t>(ids_[at]) >= m.info().vocabulary)
        throw usage_error("'" + name_ + "_ids' names token " + std::to_string(ids_[at]) + ", but the model's are 0 to " +
                          std::to_string(m.info().vocabulary - 1));
      return static_cast<std::int32_t>(ids_[at]);
    }
    auto const* tokenizer = m.text_tokenizer();
    if (tokenizer == nullptr)
      throw usage_error("the model has no tokenizer to look '" + name_ + "' up with; give '" + name_ + "_ids'");
    if (auto const found = tokenizer->find(texts_[at])) return *found;
    std::string pieces;
    for (auto const id : tokenizer->encode(texts_[at], {.special = true, .ends = false}).ids)
      pieces += (pieces.empty() ? "" : " ") + in_quotes(tokenizer->token_text(id));
    throw usage_error("'" + name_ + "': " + in_quotes(texts_[at]) + " is not a single token of the model but " + pieces +
                      "; a word within a text begins with its space");
  }

 private:
  std::string name_;
  std::vector<std::string> texts_;
  std::vector<std::int64_t> ids_;
};

}  // namespace wayfarer::language
