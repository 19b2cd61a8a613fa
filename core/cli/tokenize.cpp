// wayfarer tokenize: shows the tokens of a text, or describes a model's tokenizer.
#include <algorithm>
#include <array>
#include <charconv>
#include <concepts>
#include <cstdint>
#include <iostream>
#include <unordered_map>
#include <utility>
#include <vector>

#include <boost/container/static_vector.hpp>

#include <wayfarer/error.hpp>
#include <wayfarer/json.hpp>
#include <wayfarer/packed_numbers.hpp>
#include <wayfarer/tokenizer.hpp>
#include <wayfarer/utf8.hpp>

#include "cli/opened_model.hpp"
#include "cli/planning.hpp"
#include "cli/verbs.hpp"
#include "text/numbers.hpp"
#include "text/printable.hpp"
#include "text/table.hpp"

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
    std::cout << printable_json(json_value::object({{"kind", t.kind()},
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

/// Long texts have millions of tokens, so that nothing is kept of them but what waits to be written.
class writer {
 public:
  explicit writer(tokenizer const& t) : tokens_(t) {}
  ~writer() { flush(); }
  writer(writer const&) = delete;
  writer& operator=(writer const&) = delete;

  writer& operator<<(std::string_view text) {
    waiting_ += text;
    return *this;
  }
  writer& operator<<(std::integral auto number) {
    digits text;
    return *this << text.of(static_cast<std::size_t>(number));
  }
  struct column {
    std::size_t number, width;
  };
  /// Each flush to the right, two spaces after it, gathered first: a long text has millions of lines.
  writer& columns(std::array<column, 4> const& all) {
    line_.clear();
    for (auto const& c : all) {
      digits text;
      std::string_view const number = text.of(c.number);
      for (std::size_t n = number.size(); n < c.width; ++n) line_.push_back(' ');
      line_.insert(line_.end(), number.begin(), number.end());
      line_.insert(line_.end(), 2, ' ');
    }
    waiting_.append(line_.data(), line_.size());
    return *this;
  }
  writer& token(std::int32_t id, bool json) {
    auto const [at, fresh] = texts_.try_emplace(id);
    if (fresh) {
      std::string const text = tokens_.token_text(id);
      at->second = json ? printable_json(json_value(text)) : printable('"' + text + '"');
    }
    return *this << at->second;
  }
  /// To be called now and then: writes what has gathered.
  void pass_on() {
    if (waiting_.size() > std::size_t{1} << 16) flush();
  }

 private:
  void flush() {
    std::cout << waiting_;
    waiting_.clear();
  }
  struct digits {
    std::array<char, 24> all;
    std::string_view of(std::size_t number) {
      return {all.data(), std::to_chars(all.data(), all.data() + all.size(), number).ptr};
    }
  };
  tokenizer const& tokens_;
  std::string waiting_;
  boost::container::static_vector<char, 128> line_{};  // four numbers, or their titles, and spaces
  std::unordered_map<std::int32_t, std::string> texts_;
};

/// The tokens of a text in a few bytes each, since a long text has millions and JSON lists them three times.
class packed_tokens {
 public:
  void add(std::int32_t id, token_span span) {
    numbers_.push_back(static_cast<std::uint32_t>(id));
    // Tokens mostly begin where the one before ends; the odd numbers are steps back.
    bool const back = span.begin < end_;
    numbers_.push_back(back ? 2 * (end_ - span.begin) + 1 : 2 * (span.begin - end_));
    numbers_.push_back(span.end - span.begin);
    end_ = span.end;
  }
  void each(auto&& one) const {
    packed_numbers::reader read(numbers_);
    std::size_t end = 0;
    for (std::size_t n = numbers_.size() / 3; n > 0; --n) {
      auto const id = static_cast<std::int32_t>(read.next());
      std::size_t const step = read.next(), begin = step % 2 == 1 ? end - step / 2 : end + step / 2;
      end = begin + read.next();
      one(id, token_span{begin, end});
    }
  }

 private:
  packed_numbers numbers_;
  std::size_t end_ = 0;
};

void print_json(tokenizer const& t, std::string_view text, tokenize_options const& how) {
  writer out(t);
  packed_tokens tokens;
  char const* comma = "";
  out << "{\"ids\":[";
  encode_in_parts(t, text, how, [&](encoding const& e) {
    for (std::size_t i = 0; i < e.ids.size(); ++i, comma = ",") {
      tokens.add(e.ids[i], e.spans[i]);
      out << comma << e.ids[i];
    }
    out.pass_on();
  });
  comma = "";
  out << "],\"tokens\":[";
  tokens.each([&](std::int32_t id, token_span) { (out << std::exchange(comma, ",")).token(id, true).pass_on(); });
  comma = "";
  out << "],\"spans\":[";
  tokens.each(
      [&](std::int32_t, token_span s) { (out << std::exchange(comma, ",") << "[" << s.begin << "," << s.end << "]").pass_on(); });
  out << "]}\n";
}

void print(tokenizer const& t, std::string_view text, tokenize_options const& how) {
  writer out(t);
  // As wide as the largest number could be, so that a long text need not be cut twice.
  auto const title = [&](std::string const& name, std::size_t largest) {
    std::size_t const width = std::max(name.size(), std::to_string(largest).size());
    out << std::string(width - name.size(), ' ') << name << "  ";
    return width;
  };
  std::size_t const position = title("position", text.size()), id = title("id", t.vocabulary()),
                    from = title("from byte", text.size()), to = title("to byte", text.size());
  out << "token\n";
  std::size_t n = 0;
  // Quotes make spaces visible.
  encode_in_parts(t, text, how, [&](encoding const& e) {
    for (std::size_t i = 0; i < e.ids.size(); ++i, ++n) {
      auto const& span = e.spans[i];
      out.columns({{{n, position}, {static_cast<std::size_t>(e.ids[i]), id}, {span.begin, from}, {span.end, to}}});
      out.token(e.ids[i], false) << "\n";
    }
    out.pass_on();
  });
}

/// The same of two texts: which of them a token stands in, and its type.
void print_pair(tokenizer const& t, pair_encoding const& e, bool json) {
  if (json) {
    auto ids = json_value::array(), tokens = json_value::array(), spans = json_value::array(), types = json_value::array(),
         texts = json_value::array();
    for (std::size_t i = 0; i < e.ids.size(); ++i) {
      ids.push_back(e.ids[i]);
      tokens.push_back(t.token_text(e.ids[i]));
      spans.push_back(json_value::array({e.spans[i].begin, e.spans[i].end}));
      types.push_back(e.types[i]);
      texts.push_back(e.second[i] ? 1 : 0);
    }
    std::cout << to_json(json_value::object({{"ids", std::move(ids)},
                                             {"types", std::move(types)},
                                             {"tokens", std::move(tokens)},
                                             {"texts", std::move(texts)},
                                             {"spans", std::move(spans)}}))
              << '\n';
    return;
  }
  std::vector<std::vector<std::string>> rows;
  for (std::size_t i = 0; i < e.ids.size(); ++i)
    rows.push_back({std::to_string(i), std::to_string(e.ids[i]), std::to_string(e.types[i]), e.second[i] ? "second" : "first",
                    std::to_string(e.spans[i].begin), std::to_string(e.spans[i].end), '"' + t.token_text(e.ids[i]) + '"'});
  std::cout << format_table({"position", "id", "type", "text", "from byte", "to byte", "token"}, rows);
}

}  // namespace

int tokenize_verb(words const& arguments) {
  verb_options o(
      "tokenize PLUGIN --path DIR [OPTIONS] [TEXT | -]",
      "Splits a text into a model's tokens: ids, the text of each, and its place in the text in bytes. '-' reads the\n"
      "text from standard input. Without a text, describes the tokenizer.",
      {"wayfarer tokenize gpt2 --path gpt2 \"Hello, world!\"", "wayfarer tokenize t5 --path flan-t5-small --json - < text"});
  add_model_options(o);
  o.positional("TEXT");
  o.named().add_options()("json", "print JSON");
  o.named().add_options()("no-ends", "omit the tokens that the model expects around a text, such as </s>");
  o.named().add_options()("no-special", "read special tokens in the text as plain text");
  o.named().add_options()("pair", boost::program_options::value<std::string>()->value_name("TEXT"),
                          "a second text: both in one sequence, as the model reads pairs, with token types");
  if (!o.parse(arguments)) return 0;

  registry plugins = open_registry(o);
  auto const m = open_model(o, plugins);
  tokenizer const* const t = m->text_tokenizer();
  if (!t)
    throw data_error(
        (o.has("path") ? o.get<std::string>("path") + ": " : std::string()) +
        "no tokenizer here; this build reads tokenizer.json, vocab.json with merges.txt, encoder.json with vocab.bpe, "
        "spiece.model, vocab.txt, and ByT5Tokenizer, which needs no file");
  auto const texts = o.all("TEXT");
  if (texts.empty()) {
    describe(*t, o.has("json"));
    return 0;
  }
  std::string const text = texts[0] == "-" ? text_of_input() : texts[0];
  require_utf8(text, "the text");
  if (auto const* const noted = dynamic_cast<pair_tokenizer const*>(t))
    for (auto const& note : noted->notes()) std::cerr << "warning: " << printable(note) << '\n';
  tokenize_options const how{.special = !o.has("no-special"), .ends = !o.has("no-ends")};
  if (o.has("pair")) {
    auto const* const pairs = dynamic_cast<pair_tokenizer const*>(t);
    if (!pairs) throw usage_error("this model's tokenizer reads no pairs; leave --pair out");
    std::string const second = o.get<std::string>("pair");
    require_utf8(second, "the text of --pair");
    print_pair(*t, pairs->encode_pair(text, second, 0, how), o.has("json"));
    return 0;
  }
  o.has("json") ? print_json(*t, text, how) : print(*t, text, how);
  return 0;
}

}  // namespace wayfarer::host
