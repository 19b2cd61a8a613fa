// ByT5's tokenizer: a token is a byte. It has no files: ids 0 to 2 are <pad>, </s> and <unk>, the bytes follow, then sentinels.
#include <wayfarer/error.hpp>
#include <wayfarer/json.hpp>

#include "folder.hpp"

namespace wayfarer::tokenizing {

namespace {

constexpr std::int32_t first_byte = 3;

class bytes final : public base {
 public:
  explicit bytes(setting s) : base(std::move(s)) {}

  std::string_view kind() const noexcept override { return "bytes"; }

  std::string decode(std::span<std::int32_t const> ids) const override {
    std::string out;
    for (std::int32_t const id : ids) out += token_bytes(id);
    return out;
  }
  bool begins_word(std::int32_t id) const override {
    check(id);
    return false;
  }
  std::optional<std::int32_t> find(std::string_view text) const override {
    auto const id = tokens().find(text);
    return id < 0 ? std::nullopt : std::optional(id);
  }

 private:
  void cut(stretch const& s, encoding& out) const override {
    for (std::size_t i = s.begin; i < s.end; ++i) {
      out.ids.push_back(first_byte + static_cast<unsigned char>(s.text[i]));
      out.spans.push_back({i, i + 1});
    }
  }
};

}  // namespace

std::shared_ptr<tokenizer const> make_bytes(folder& from, description about) {
  about.require(cutting::bytes, vocabulary_files::none);
  for (auto const* setting : {&about.lower_case, &about.accents}) about.refuse(*setting, "which ByT5's tokenizer does not read");
  for (char const* name : {"tokenizer.json", "spiece.model", "vocab.json", "vocab.txt"})
    if (from.has(name))
      unread(about.class_at, in_quotes(about.class_at.as_string()) + " needs no file, but the folder has " + name +
                                 "; remove it, or name the class that reads it");
  auto const refuse = refusal_at(about.class_at);
  // 125 by default; the first one follows the bytes.
  std::size_t const sentinels = about.extra_ids ? about.extra_ids->as_unsigned(10'000) : 125;
  setting s;
  s.tokens.expect(first_byte + 256 + sentinels + about.added.size());
  std::vector<added_token> added;
  auto const special = [&](char const* role, std::int32_t id, char const* usual) {
    auto const* const said = about.role(role);
    added.push_back({id, said ? said->text : usual, true, true, true});
  };
  special("pad_token", 0, "<pad>"), special("eos_token", 1, "</s>"), special("unk_token", 2, "<unk>");
  for (unsigned b = 0; b < 256; ++b) {
    char const c = static_cast<char>(b);
    s.tokens.add(first_byte + static_cast<std::int32_t>(b), {&c, 1}, refuse);
  }
  for (std::size_t k = 0; k < sentinels; ++k)
    added.push_back({first_byte + 256 + static_cast<std::int32_t>(k), "<extra_id_" + std::to_string(k) + ">"});
  add_described(
      added, about, [](std::string_view) { return -1; }, refuse);
  for (auto& t : added) t.normalized = false;
  add_tokens(s, added, refuse);
  s.tokens.index();
  s.roles.pad = 0, s.roles.eos = 1, s.roles.unk = 2;
  s.around.after = {1}, s.around.after_once = true;
  s.around.both = ends::pair{{}, {1}, {1}};
  finish(s, about, from);
  return std::make_shared<bytes const>(std::move(s));
}

}  // namespace wayfarer::tokenizing
