// wayfarer generate: a model continues prompts, token by token. Its activations can be saved.
#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <iterator>
#include <limits>
#include <map>
#include <optional>
#include <utility>

#include <wayfarer/error.hpp>
#include <wayfarer/findings.hpp>
#include <wayfarer/generate.hpp>
#include <wayfarer/hooks.hpp>
#include <wayfarer/json.hpp>
#include <wayfarer/pretrained.hpp>
#include <wayfarer/utf8.hpp>
#include <wayfarer/version.hpp>

#include "cli/advised_error.hpp"
#include "cli/opened_model.hpp"
#include "cli/outputs.hpp"
#include "cli/planning.hpp"
#include "cli/signals.hpp"
#include "cli/verbs.hpp"
#include "engine/engine.hpp"
#include "engine/provenance.hpp"
#include "engine/threads.hpp"
#include "store/store.hpp"
#include "text/numbers.hpp"
#include "text/printable.hpp"

namespace wayfarer::host {
namespace po = boost::program_options;

namespace {

/// The text of what a model emits, `<id>` for an id that its tokenizer does not know: an embedding table may have more rows
/// than there are tokens.
std::string text_of(model const& m, std::span<std::int32_t const> ids) {
  auto const* const t = m.text_tokenizer();
  std::string out;
  std::vector<std::int32_t> known;
  for (auto const id : ids) {
    if (t && has_token(*t, id)) {
      known.push_back(id);
      continue;
    }
    if (!known.empty()) out += t->decode(std::exchange(known, {}));
    out += (t || out.empty() ? "" : " ") + m.token_text(id);
  }
  return known.empty() ? out : out + t->decode(known);
}

/// "15,496 703" -> token ids.
std::vector<std::int32_t> parse_ids(std::string_view text, char const* option, std::size_t vocabulary) {
  std::vector<std::int32_t> ids;
  while (true) {
    text.remove_prefix(std::min(text.find_first_not_of(", \n\t"), text.size()));
    if (text.empty()) return ids;
    std::int32_t id = 0;
    auto const [rest, bad] = std::from_chars(text.data(), text.data() + text.size(), id);
    if (bad != std::errc{} || id < 0 || static_cast<std::size_t>(id) >= vocabulary)
      throw usage_error(std::string(option) + " takes token ids from 0 to " + std::to_string(vocabulary - 1) +
                        ", with commas between them, not '" + printable(text.substr(0, 20)) + "'");
    ids.push_back(id);
    text.remove_prefix(static_cast<std::size_t>(rest - text.data()));
  }
}

/// Prints text as it grows. A character whose bytes come in several tokens waits until it is whole.
class growing_text {
 public:
  growing_text(model const& m, std::vector<std::int32_t> so_far) : model_(m), ids_(std::move(so_far)) {
    shown_ = text_of(m, ids_).size();
  }

  void add(std::int32_t token) {
    ids_.push_back(token);
    std::string const all = text_of(model_, ids_);
    std::size_t whole = all.size();
    for (std::size_t back = 1; back <= 3 && back <= all.size(); ++back) {
      auto const c = static_cast<unsigned char>(all[all.size() - back]);
      if (c < 0x80) break;
      if (c >= 0xc0) {
        std::size_t const length = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
        if (length > back) whole = all.size() - back;
        break;
      }
    }
    if (whole > shown_) show(std::string_view(all).substr(shown_, whole - shown_)), shown_ = whole;
  }
  void end() {
    std::string const all = text_of(model_, ids_);
    if (all.size() > shown_) show(std::string_view(all).substr(shown_));
    std::cout << std::endl;
  }

 private:
  static void show(std::string_view part) { std::cout << printable_lines(part) << std::flush; }

  model const& model_;
  std::vector<std::int32_t> ids_;
  std::size_t shown_;
};

/// Rows that a hook gave, step after step, of every item; kept as float32 (float64 where the model computes in it).
class kept_activations {
 public:
  void add(generation_step const& step, hook_set const& hooks) {
    for (auto const& hook : hooks.names())
      for (std::size_t k = 0; k < step.items.size(); ++k) {
        auto& parts = all_[hook];
        if (parts.size() <= step.items[k]) parts.resize(step.items[k] + 1);
        parts[step.items[k]].push_back(step.captured.at(hook, k).clone());
      }
  }

  /// [item, pos, ...] or [item, head, query, key], NaN beyond the end of an item.
  void write(model_info const& info, results& out) const {
    for (auto const& [hook, items] : all_) {
      hook_info const& about = *info.find_hook(hook);
      std::size_t const along = about.per_pair ? 1 : 0;  // the axis on which steps follow one another
      dims shape;
      for (auto const& parts : items) {
        std::size_t rows = 0;
        for (auto const& t : parts) {
          rows += t.size(along);
          if (shape.empty()) shape = t.shape();
          for (std::size_t a = 0; a < t.rank(); ++a)
            if (a != along) shape[a].size = std::max(shape[a].size, t.size(a));
        }
        if (!shape.empty()) shape[along].size = std::max(shape[along].size, rows);
      }
      if (shape.empty()) continue;
      shape.insert(shape.begin(), {"item", items.size()});
      dtype const type = items.front().empty() ? dtype::f32 : items.front().front().type();
      tensor all(type, shape);
      if (type == dtype::f64)
        fill<double>(all, items, along);
      else
        fill<float>(all, items, along);
      auto& d = out.add(hook, all).about(about.about).missing("beyond the item's length, or a key that the query does not see");
      std::vector<std::string> names;
      // A dimension has one size in a node, and hooks may differ in how far they go: keys in number, say.
      for (auto const& s : shape) names.push_back(s.name);
      d.rename(names);
    }
  }

 private:
  template <class T>
  static void fill(tensor const& all, std::vector<std::vector<tensor>> const& items, std::size_t along) {
    for (T& x : all.values<T>()) x = std::numeric_limits<T>::quiet_NaN();
    for (std::size_t i = 0; i < items.size(); ++i) {
      std::size_t row = 0;
      for (auto const& part : items[i]) {
        copy<T>(all[i].slice(along, row, row + part.size(along)), part);
        row += part.size(along);
      }
    }
  }
  template <class T>
  static void copy(tensor const& to, tensor const& from) {
    if (from.rank() == 1) {
      tensor const line = from.to(dtype_of<T>());
      auto const x = line.view<T const>();
      auto const y = to.view<T>();
      for (std::size_t i = 0; i < from.size(0); ++i) y(i) = x(i);
      return;
    }
    for (std::size_t i = 0; i < from.size(0); ++i) copy<T>(to[i], from[i]);
  }

  std::map<std::string, std::vector<std::vector<tensor>>> all_;
};

struct prompt_text {
  std::string text;  // "" if ids were given
  std::vector<std::int32_t> ids, decoder_ids;
  std::string refused = {};  ///< why the model can't continue it
};

std::vector<prompt_text> read_prompts(verb_options const& o, model const& m, generation_tokens const& ends) {
  std::vector<prompt_text> all;
  bool const two_stacks = m.info().family == model_family::encoder_decoder;
  tokenizer const* const t = m.text_tokenizer();
  bool from_input = false;
  for (auto const& given : o.all("prompt")) {
    if (!t)
      throw usage_error("the folder has no tokenizer to read a text; give token ids with --ids, or add the tokenizer's files");
    prompt_text p{given, {}, {}};
    if (given == "-") {
      if (from_input) throw usage_error("'--prompt -' can be given only once: it reads all of standard input");
      from_input = true;
      p.text = text_of_input();
      if (p.text.ends_with('\n')) p.text.pop_back();
    }
    require_utf8(p.text, "prompt " + std::to_string(all.size()));
    p.ids = (two_stacks ? t->encode(p.text) : encode_prompt(*t, p.text)).ids;
    if (p.ids.empty() && ends.bos) p.ids.push_back(*ends.bos);
    if (p.ids.empty()) throw usage_error("the prompt is empty; give at least one word, or a token with --ids");
    all.push_back(std::move(p));
  }
  for (auto const& given : o.all("ids")) {
    all.push_back({"", parse_ids(given, "--ids", m.info().vocabulary), {}});
    if (all.back().ids.empty()) throw usage_error("--ids names no token");
  }
  if (all.empty())
    throw usage_error("there is nothing to continue: give --prompt TEXT, --prompt - for standard input, or --ids 1,2,3");
  auto const starts = o.all("decoder-ids");
  if (!two_stacks && !starts.empty())
    throw usage_error("--decoder-ids is for encoder-decoders, and " + m.info().architecture + " is none");
  if (starts.size() > 1 && starts.size() != all.size())
    throw usage_error("give --decoder-ids once for all prompts, or once for each of the " + std::to_string(all.size()));
  for (std::size_t i = 0; two_stacks && i < all.size(); ++i) {
    if (!starts.empty())
      all[i].decoder_ids = parse_ids(starts[starts.size() == 1 ? 0 : i], "--decoder-ids", m.info().vocabulary);
    else
      all[i].decoder_ids = ends.start;
  }
  return all;
}

/// What tokens add to the text of those before them: alone, a first token may lose its space.
std::string text_after(model const& m, std::span<std::int32_t const> before, std::span<std::int32_t const> more) {
  if (!m.text_tokenizer() || before.empty()) return text_of(m, more);
  std::vector<std::int32_t> all(before.begin(), before.end());
  std::size_t const begin = text_of(m, all).size();
  all.insert(all.end(), more.begin(), more.end());
  std::string const text = text_of(m, all);
  return text.substr(std::min(begin, text.size()));
}

/// Bytes of a byte-level tokenizer need not be a text, and JSON and HDF5 hold texts only.
std::string as_text(std::string text) {
  return is_utf8(text) ? text : printable(text);
}

void add_options(verb_options& o) {
  add_model_options(o);
  o.named().add_options()("prompt", po::value<std::vector<std::string>>()->composing()->value_name("TEXT"),
                          "text to continue, - for standard input; may be given more than once")(
      "ids", po::value<std::vector<std::string>>()->composing()->value_name("IDS"), "token ids to continue, as in 464,1334")(
      "decoder-ids", po::value<std::vector<std::string>>()->composing()->value_name("IDS"),
      "encoder-decoders: first tokens of the decoder; default: decoder_start_token_id, else bos_token_id, else the padding "
      "token")("max-new-tokens", po::value<std::size_t>()->default_value(50)->value_name("N"), "stop after this many")(
      "temperature", po::value<double>()->default_value(0, "0")->value_name("T"), "0: always the likeliest token")(
      "top-k", po::value<std::size_t>()->default_value(0)->value_name("K"), "draw from the K likeliest tokens; 0: from all")(
      "top-p", po::value<double>()->default_value(1, "1")->value_name("P"),
      "draw from the fewest tokens that have this probability together")(
      "seed", po::value<std::uint64_t>()->default_value(0)->value_name("S"), "the same seed gives the same tokens")(
      "stop", po::value<std::vector<std::string>>()->composing()->value_name("IDS"),
      "tokens that end a text; default: eos_token_id, else the tokenizer's end of text")("no-stop",
                                                                                         "continue after the end of text")(
      "capture", po::value<std::vector<std::string>>()->composing()->multitoken()->value_name("HOOK..."),
      "save the activations at these hooks")("json", "print JSON at the end");
  add_result_options(o, "the file for activations and tokens; {seed}, {temperature} and other options in its name are replaced");
}

/// Where --out says that results go; nothing without it.
std::optional<output_place> place_of_results(verb_options const& o) {
  if (!o.has("out")) return {};
  provide_run_inputs(o.all("path"));
  auto const text = [](double x) { return to_json(json_value(x)); };
  auto place = result_place(o, "",
                            {{"seed", std::to_string(o.get<std::uint64_t>("seed"))},
                             {"temperature", text(o.get<double>("temperature"))},
                             {"top-k", std::to_string(o.get<std::size_t>("top-k"))},
                             {"top-p", text(o.get<double>("top-p"))},
                             {"max-new-tokens", std::to_string(o.get<std::size_t>("max-new-tokens"))}});
  say_replaced(place);
  return place;
}

sampling read_sampling(verb_options const& o, model const& m, generation_tokens const& ends) {
  sampling how;
  how.max_new_tokens = o.get<std::size_t>("max-new-tokens");
  how.temperature = o.get<double>("temperature");
  how.top_k = o.get<std::size_t>("top-k");
  how.top_p = o.get<double>("top-p");
  how.seed = o.get<std::uint64_t>("seed");
  for (auto const& ids : o.all("stop")) {
    auto const named = parse_ids(ids, "--stop", m.info().vocabulary);
    if (named.empty()) throw usage_error("--stop names no token; give ids such as 50256, or --no-stop instead");
    how.stop.insert(how.stop.end(), named.begin(), named.end());
  }
  if (how.stop.empty() && !o.has("no-stop")) how.stop = ends.stop;
  return how;
}

/// A prompt that is too long ends by itself, as an item of a run does, and the others go on.
void refuse_long_ones(std::vector<prompt_text>& prompts, model_info const& info) {
  for (std::size_t i = 0; i < prompts.size() && info.longest != 0; ++i)
    for (auto const& [ids, what] :
         {std::pair{&prompts[i].ids, " has "}, std::pair{&prompts[i].decoder_ids, " begins the decoder with "}})
      if (ids->size() > info.longest && prompts[i].refused.empty())
        prompts[i].refused = "prompt " + std::to_string(i) + what + format_count(ids->size()) + " tokens, and " +
                             info.architecture + " reads at most " + format_count(info.longest) + "; shorten it";
}

batch batch_of(std::vector<prompt_text> const& prompts) {
  batch start;
  for (auto const& p : prompts) {
    if (!p.refused.empty()) continue;
    start.tokens.push_back(p.ids);
    if (!p.decoder_ids.empty()) start.decoder_tokens.push_back(p.decoder_ids);
  }
  return start;
}

/// Prompts and what the model made of them. Items are the prompts that were not refused.
struct generation {
  model const& m;
  std::vector<prompt_text> prompts;
  sampling how;
  batch start;
  std::vector<std::size_t> items = {};  ///< the prompt of each
  ragged<std::int32_t> fresh = {};      ///< new tokens of each
  kept_activations kept = {};

  bool two_stacks() const { return !start.decoder_tokens.empty(); }
  /// The tokens that new ones follow.
  ragged<std::int32_t> const& read() const { return two_stacks() ? start.decoder_tokens : start.tokens; }
  /// Of an item: tokens whose text stands before that of new ones.
  std::vector<std::int32_t> shown(std::size_t i) const {
    return two_stacks() ? std::vector<std::int32_t>{} : prompts[items[i]].ids;
  }
  /// A prompt is shown as it was given: its tokens may not hold all of it.
  std::string beginning(std::size_t i) const {
    if (two_stacks()) return {};
    prompt_text const& p = prompts[items[i]];
    return printable_lines(p.text.empty() ? text_of(m, p.ids) : p.text);
  }
  std::vector<std::string> refused() const {
    std::vector<std::string> all;
    for (auto const& p : prompts)
      if (!p.refused.empty()) all.push_back(p.refused);
    return all;
  }
};

/// `streams`: the text of the one prompt grows on the screen.
void run(generation& g, run_request const& request, bool streams) {
  if (streams) std::cout << g.beginning(0) << std::flush;
  growing_text text(g.m, g.shown(0));
  g.fresh = generate(g.m, g.start, g.how, request, [&](generation_step const& step) {
    if (streams) text.add(step.tokens[0]);
    g.kept.add(step, request.capture);
    return true;
  });
  if (streams) text.end();
}

void print_texts(generation const& g) {
  for (std::size_t i = 0; i < g.items.size(); ++i) {
    growing_text rest(g.m, g.shown(i));
    std::cout << "[" << g.items[i] << "] " << g.beginning(i);
    for (auto const id : g.fresh[i]) rest.add(id);
    rest.end();
  }
}

void print_json(generation const& g) {
  auto all = json_value::array();
  std::size_t next = 0;  // item
  for (auto const& p : g.prompts) {
    auto ids = json_value::array(), added = json_value::array();
    for (auto const id : p.ids) ids.push_back(id);
    if (!p.refused.empty()) {
      all.push_back(json_value::object({{"prompt", as_text(p.text)}, {"ids", std::move(ids)}, {"refused", p.refused}}));
      continue;
    }
    std::size_t const i = next++;
    auto const fresh = g.fresh[i];
    bool const stopped = !fresh.empty() && std::find(g.how.stop.begin(), g.how.stop.end(), fresh.back()) != g.how.stop.end();
    for (auto const id : fresh) added.push_back(id);
    all.push_back(json_value::object({{"prompt", as_text(p.text)},
                                      {"ids", std::move(ids)},
                                      {"new_ids", std::move(added)},
                                      {"text", as_text(text_after(g.m, g.shown(i), fresh))},
                                      {"ended", stopped                               ? "stop token"
                                                : fresh.size() < g.how.max_new_tokens ? "positions"
                                                                                      : "length"}}));
  }
  std::cout << printable_json(all, 2) << '\n';
}

results results_of(generation const& g) {
  auto const& read = g.read();
  std::size_t const items = g.items.size();
  std::size_t longest = 0;
  for (std::size_t i = 0; i < items; ++i) longest = std::max(longest, read[i].size() + g.fresh[i].size());
  tensor ids(dtype::i32, {{"item", items}, {"token", longest}}), lengths(dtype::i32, {{"item", items}}),
      given(dtype::i32, {{"item", items}}), prompts(dtype::i32, {{"item", items}});
  std::vector<std::string> texts;
  for (std::size_t i = 0; i < items; ++i) {
    std::vector<std::int32_t> whole(read[i].begin(), read[i].end());
    whole.insert(whole.end(), g.fresh[i].begin(), g.fresh[i].end());
    prompts.view<std::int32_t>()(i) = static_cast<std::int32_t>(g.items[i]);
    given.view<std::int32_t>()(i) = static_cast<std::int32_t>(read[i].size());
    lengths.view<std::int32_t>()(i) = static_cast<std::int32_t>(whole.size());
    for (std::size_t k = 0; k < longest; ++k) {
      ids.view<std::int32_t>()(i, k) = k < whole.size() ? whole[k] : -1;
      texts.push_back(k < whole.size() ? as_text(g.m.token_text(whole[k])) : "");
    }
  }
  results r;
  r.add("token_id", ids).about("tokens of the prompt and those drawn after it; -1 beyond an item's end");
  r.add("token_text", std::move(texts), {{"item", items}, {"token", longest}}).about("their texts");
  r.add("length", lengths).about("tokens of an item, those of its prompt among them").units("tokens");
  r.add("prompt", prompts).about("which of the prompts it is, in the order in which they were given, from 0");
  r.add("prompt_length", given).about("tokens of its prompt").units("tokens");
  // The last token drawn is never read, so hooks have one position fewer than there are tokens.
  g.kept.write(g.m.info(), r);
  return r;
}

using moment = std::chrono::steady_clock::time_point;

/// `about`: where what was written is told.
void write_results(generation const& g, plugin const& of, output_place const& to, std::string const& began, moment started,
                   std::ostream& about) {
  results const r = results_of(g);
  auto const parameters = json_value::object({{"max_new_tokens", g.how.max_new_tokens},
                                              {"temperature", g.how.temperature},
                                              {"top_k", g.how.top_k},
                                              {"top_p", g.how.top_p},
                                              {"seed", std::to_string(g.how.seed)}});
  double const seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  node_record const node{
      "generation", std::string(of.id()), "model", std::string(of.version()), std::string(of.build_id()), to_json(parameters), "",
      seconds};
  result_writer file(to.path, "Generation by " + std::string(of.id()), g.how.seed);
  run_record run;
  for (auto const& why : g.refused()) run.warnings.push_back(node.name + ": " + why);
  for (auto const& gap : file.write(node, r))
    if (gap.missing.empty()) {
      run.warnings.push_back(node.name + ": " + gap.dataset + ": " + describe(gap) + ", without a reason");
      std::fprintf(stderr, "warning: %s\n", printable(run.warnings.back()).c_str());
    }
  run.plan_json = to_json(parameters);
  run.versions = library_versions();
  run.environment = environment();
  run.started = began, run.ended = utc_now();
  run.peak_memory = peak_memory_bytes();
  file.commit(run, {node});
  about << printable(to.given) << ": " << file.datasets() << " datasets, " << format_size(file.bytes()) << "\n";
}

}  // namespace

int generate_verb(words const& arguments) {
  verb_options o(
      "generate PLUGIN --path DIR --prompt TEXT [OPTIONS]",
      "Continues a prompt with a model, token by token, and prints the text as it grows. Several prompts run side by\n"
      "side. --capture saves activations at hooks to a file.",
      {"wayfarer generate gpt2 --path ~/models/gpt2 --prompt 'The lighthouse'",
       "wayfarer generate gpt2 --path ~/models/gpt2 --prompt 'Once' --temperature 0.8 --top-p 0.95 --seed 3",
       "echo 'translate English to German: good' | wayfarer generate t5 --path ~/models/t5-small --prompt -",
       "wayfarer generate gpt2 --path ~/models/gpt2 --ids 464,1334 --json",
       "wayfarer generate gpt2 --path ~/models/gpt2 --prompt 'The' --capture 'blocks.*.hook_resid_post' --out walk.h5"});
  add_options(o);
  if (!o.parse(arguments)) return 0;
  if (o.has("capture") != o.has("out")) throw usage_error("--capture and --out belong together: give both, or neither");

  if (o.has("out")) {
    outlive_readers();
    say_when_ended("; " + o.get<std::string>("out") + " is not written, and nothing is kept");
  }
  auto const started = std::chrono::steady_clock::now();
  std::string const began = utc_now();
  registry plugins = open_registry(o);
  auto const to = place_of_results(o);
  std::unique_ptr<model> const m = open_model(o, plugins);
  run_request request;
  if (o.has("capture")) request.capture = m->info().hooks_for(o.all("capture"));
  refuse_forced_tokens(*m);
  generation_tokens const ends = generation_tokens_of(*m);
  auto prompts = read_prompts(o, *m, ends);
  auto how = read_sampling(o, *m, ends);
  refuse_long_ones(prompts, m->info());
  auto start = batch_of(prompts);
  generation g{*m, std::move(prompts), std::move(how), std::move(start)};
  for (std::size_t i = 0; i < g.prompts.size(); ++i)
    if (g.prompts[i].refused.empty()) g.items.push_back(i);
  auto refused = g.refused();
  if (g.items.empty()) throw advised_error(std::move(refused));
  for (auto const& why : refused) std::cerr << "warning: " << printable(why) << '\n';

  prove_threads(default_threads());
  m->load();
  if (auto const* files = dynamic_cast<pretrained const*>(m.get()))
    for (auto const& text : files->remarks()) std::cerr << "warning: " << printable(text) << '\n';
  // One text grows on the screen; several are printed one after another when all are done.
  bool const streams = g.prompts.size() == 1 && !o.has("json");
  run(g, request, streams);
  if (o.has("json"))
    print_json(g);
  else if (!streams)
    print_texts(g);
  if (to) write_results(g, *plugins.find(o.required("PLUGIN")), *to, began, started, o.has("json") ? std::cerr : std::cout);
  // All that could be made is there; the command was wrong all the same.
  if (!refused.empty())
    throw usage_error(format_count(refused.size()) + " of " + counted(g.prompts.size(), "prompt") +
                      (refused.size() == 1 ? " was" : " were") + " refused: " + refused.front() +
                      (refused.size() == 1 ? "" : ", and others as the warnings say"));
  return 0;
}

}  // namespace wayfarer::host
