// wayfarer tokenize: what a model makes of a text, or what its tokenizer is.
#include <iostream>
#include <iterator>

#include <wayfarer/error.hpp>
#include <wayfarer/json.hpp>
#include <wayfarer/tokenizer.hpp>

#include "cli/models.hpp"
#include "cli/planning.hpp"
#include "cli/verbs.hpp"

namespace wayfarer::host {
namespace {

using role = std::pair<char const*, std::optional<std::int32_t>>;

std::vector<role> roles_of(special_tokens const& s) {
  return {{"bos", s.bos}, {"eos", s.eos}, {"unk", s.unk}, {"pad", s.pad}, {"mask", s.mask}, {"cls", s.cls}, {"sep", s.sep}};
}

void describe(tokenizer const& t, bool json) {
  if (json) {
    auto special = json_value::object(), files = json_value::array();
    for (auto const& [name, id] : roles_of(t.special()))
      if (id) special.set(name, *id);
    for (auto const& f : t.files()) files.push_back(f);
    std::cout << to_json(json_value::object({{"kind", t.kind()},
                                             {"vocabulary", t.vocabulary()},
                                             {"special", std::move(special)},
                                             {"files", std::move(files)}}),
                         2)
              << '\n';
    return;
  }
  std::cout << t.kind() << ", " << format_count(t.vocabulary()) << " tokens\n";
  std::vector<std::vector<std::string>> rows;
  for (auto const& [name, id] : roles_of(t.special()))
    if (id) rows.push_back({name, std::to_string(*id), t.token_text(*id)});
  if (!rows.empty()) std::cout << format_table({"role", "id", "token"}, rows);
  for (auto const& f : t.files()) std::cout << "read from " << printable(f) << '\n';
}

void print(tokenizer const& t, encoding const& e, bool json) {
  if (json) {
    auto ids = json_value::array(), tokens = json_value::array(), spans = json_value::array();
    for (std::size_t i = 0; i < e.ids.size(); ++i) {
      ids.push_back(e.ids[i]);
      tokens.push_back(t.token_text(e.ids[i]));
      spans.push_back(json_value::array({e.spans[i].begin, e.spans[i].end}));
    }
    std::cout << to_json(
                     json_value::object({{"ids", std::move(ids)}, {"tokens", std::move(tokens)}, {"spans", std::move(spans)}}))
              << '\n';
    return;
  }
  // Quotes, since spaces are what one wants to see.
  std::vector<std::vector<std::string>> rows;
  for (std::size_t i = 0; i < e.ids.size(); ++i)
    rows.push_back({std::to_string(i), std::to_string(e.ids[i]), std::to_string(e.spans[i].begin), std::to_string(e.spans[i].end),
                    '"' + t.token_text(e.ids[i]) + '"'});
  std::cout << format_table({"position", "id", "from byte", "to byte", "token"}, rows);
}

}  // namespace

int tokenize_verb(words const& arguments) {
  verb_options o(
      "tokenize PLUGIN --path DIR [OPTIONS] [TEXT | -]",
      "Cuts a text into a model's tokens: ids, what each stands for, and where in the text it is, in bytes. '-' reads the\n"
      "text from standard input. Without a text, says what the tokenizer is.",
      {"wayfarer tokenize gpt2 --path gpt2 \"Hello, world!\"", "wayfarer tokenize t5 --path flan-t5-small --json - < text"});
  add_model_options(o);
  o.positional("TEXT");
  o.named().add_options()("json", "print JSON");
  o.named().add_options()("no-ends", "leave out what the model expects around a text, such as </s>");
  o.named().add_options()("no-special", "read special tokens that are written out in the text as plain text");
  if (!o.parse(arguments)) return 0;

  registry plugins = open_registry(o);
  auto const m = open_model(o, plugins);
  tokenizer const* const t = m->text_tokenizer();
  if (!t)
    throw data_error((o.has("path") ? o.get<std::string>("path") + ": " : std::string()) +
                     "no tokenizer here; one of these is needed: tokenizer.json, vocab.json with merges.txt, encoder.json with "
                     "vocab.bpe, spiece.model, vocab.txt");
  auto const texts = o.all("TEXT");
  if (texts.empty()) {
    describe(*t, o.has("json"));
    return 0;
  }
  std::string const text =
      texts[0] == "-" ? std::string(std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>()) : texts[0];
  print(*t, t->encode(text, {.special = !o.has("no-special"), .ends = !o.has("no-ends")}), o.has("json"));
  return 0;
}

}  // namespace wayfarer::host
