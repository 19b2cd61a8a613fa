#include "composition.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <list>
#include <map>
#include <mutex>
#include <numeric>
#include <optional>
#include <system_error>
#include <unordered_map>

#include <wayfarer/error.hpp>
#include <wayfarer/json.hpp>
#include <wayfarer/parallel.hpp>
#include <wayfarer/rows.hpp>

namespace wayfarer::concepts {

// ---- cutting ---------------------------------------------------------------------------------------------------------------

cutting cutting_of(std::string_view name) {
  if (name == "concat_each") return cutting::concat_each;
  if (name == "segment_each") return cutting::segment_each;
  if (name == "sentences") return cutting::sentences;
  if (name == "merge_all") return cutting::merge_all;
  return cutting::concat_all;
}

namespace {

/// White space of Unicode, as Python's regular expressions know it.
bool begins_with_space(std::string_view text) noexcept {
  if (text.empty()) return false;
  char const c = text.front();
  if (c == ' ' || (c >= '\t' && c <= '\r') || (c >= '\x1c' && c <= '\x1f')) return true;
  for (std::string_view const wide : {"\u0085", "\u00a0", "\u1680", "\u2028", "\u2029", "\u202f", "\u205f", "\u3000"})
    if (text.starts_with(wide)) return true;
  return text.size() >= 3 && text.starts_with("\xe2\x80") && static_cast<unsigned char>(text[2]) <= 0x8a;  // U+2000 to U+200A
}

}  // namespace

std::vector<std::string_view> sentences_of(std::string_view text) {
  std::vector<std::string_view> all;
  std::size_t first = 0;
  for (std::size_t i = 0; i < text.size(); ++i)
    if (text[i] == '.' && begins_with_space(text.substr(i + 1))) {
      all.push_back(text.substr(first, i + 1 - first));
      first = i + 1;
    }
  if (first < text.size()) all.push_back(text.substr(first));
  return all;
}

std::vector<std::vector<std::string>> cut(item_block const& items, std::size_t i, cutting how) {
  if (items.texts.empty())
    throw usage_error("the source gives no texts; concept tests need questions with answers to choose from");
  std::vector<std::vector<std::string>> examples;
  if (how == cutting::concat_all || items.segments.empty()) {
    examples.push_back({items.texts[i]});
  } else {
    auto const segments = items.segments[i];
    if (!items.segment_example.empty() && items.segment_example[i].size() != segments.size())
      throw data_error("item " + std::to_string(items.first + i) + " has " + std::to_string(segments.size()) +
                       " segments, but examples for " + std::to_string(items.segment_example[i].size()));
    std::int32_t last = 0;
    for (std::size_t s = 0; s < segments.size(); ++s) {
      std::int32_t const of = items.segment_example.empty() ? 0 : items.segment_example[i][s];
      if (s == 0 || of != last) examples.emplace_back();
      examples.back().push_back(segments[s]);
      last = of;
    }
  }
  if (how == cutting::concat_each)
    for (auto& e : examples) e = {std::accumulate(e.begin(), e.end(), std::string())};
  if (how == cutting::sentences)
    for (auto& e : examples) {
      std::vector<std::string> finer;
      for (auto const& segment : e)
        for (auto const sentence : sentences_of(segment)) finer.emplace_back(sentence);
      e = std::move(finer);
    }
  if (how == cutting::merge_all)
    for (std::size_t e = 1; e < examples.size();) {
      examples[0].insert(examples[0].end(), examples[e].begin(), examples[e].end());
      examples.erase(examples.begin() + static_cast<std::ptrdiff_t>(e));
    }
  for (auto& e : examples) std::erase_if(e, [](std::string const& segment) { return segment.empty(); });
  return examples;
}

// ---- composing -------------------------------------------------------------------------------------------------------------

norm_rule norm_of(std::string_view name) {
  if (name == "l2") return norm_rule::l2;
  if (name == "z" || name == "layer") return norm_rule::z;
  if (name == "var") return norm_rule::var;
  return norm_rule::none;
}

void normalise(std::span<double> x, norm_rule how) {
  if (how == norm_rule::none || x.empty()) return;
  double const n = static_cast<double>(x.size());
  double by = 0;
  if (how == norm_rule::l2) {
    for (double const v : x) by += v * v;
    by = std::sqrt(by);
  } else {
    double mean = 0;
    for (double const v : x) mean += v;
    mean /= n;
    for (double const v : x) by += (v - mean) * (v - mean);
    if (how == norm_rule::z) {
      by = std::sqrt(by / n + 1e-5);
      for (double& v : x) v -= mean;
    } else {
      by = n > 1 ? std::sqrt(by / (n - 1)) : 0;
    }
  }
  if (by == 0) return;
  for (double& v : x) v /= by;
}

word_rule::word_rule(std::string text, std::string_view parameter) : text_(std::move(text)) {
  auto const refuse = [&](std::string const& why) {
    throw usage_error(std::string(parameter) + ": " + in_quotes(text_) + " " + why +
                      "; it is mean, w1mean, last or concat, after relu|, -relu|, relu+| or -relu+| and zNorm| or zNorm+|, as in "
                      "\"relu|zNorm|mean\"");
  };
  std::string_view rest = text_;
  auto const bar = [&] { return rest.find('|'); };
  if (std::size_t const end = bar(); end != rest.npos) {
    auto const step = rest.substr(0, end);
    bool const known = step == "relu" || step == "-relu" || step == "relu+" || step == "-relu+";
    if (known) {
      relu_ = step.front() == '-' ? activation_step::minus : activation_step::plus;
      relu_added_ = step.back() == '+';
      rest.remove_prefix(end + 1);
    }
  }
  if (std::size_t const end = bar(); end != rest.npos) {
    auto const step = rest.substr(0, end);
    if (step != "zNorm" && step != "zNorm+") refuse("has a step " + in_quotes(step) + " that is not known here");
    norm_ = step == "zNorm" ? norm_step::alone : norm_step::added;
    rest.remove_prefix(end + 1);
  }
  if (rest == "mean")
    pooling_ = pooling::mean;
  else if (rest == "w1mean")
    pooling_ = pooling::w1mean;
  else if (rest == "last")
    pooling_ = pooling::last;
  else if (rest == "concat")
    pooling_ = pooling::concat;
  else
    refuse("has no pooling that is known");
}

namespace {

/// a of every number.
void apply(activation a, std::vector<double>& x, std::size_t width) {
  if (x.empty()) return;
  ragged<std::int32_t> one;
  one.offsets.push_back(x.size() / width);
  auto const of = row_packing::of(one);
  rows r(of, width, dtype::f64);
  std::copy(x.begin(), x.end(), r.overwrite<double>());
  r = activate(std::move(r), a);
  std::copy_n(r.data<double>(), x.size(), x.begin());
}

}  // namespace

vectors word_rule::operator()(vectors states, activation a) const {
  std::size_t const n = states.count(), d = states.width;
  if (n == 0) return states;
  if (pooling_ == pooling::last) {
    states.values.erase(states.values.begin(), states.values.end() - static_cast<std::ptrdiff_t>(d));
  }
  if (relu_ != activation_step::none || norm_ != norm_step::none) {
    std::vector<double> const before = states.values;
    auto& x = states.values;
    if (relu_ != activation_step::none) {
      double const sign = relu_ == activation_step::minus ? -1 : 1;
      for (double& v : x) v *= sign;
      apply(a, x, d);
      for (std::size_t i = 0; i < x.size(); ++i) x[i] = sign * x[i] + (relu_added_ ? before[i] : 0);
    }
    if (norm_ != norm_step::none) {
      for (std::size_t t = 0; t < states.count(); ++t) normalise(states[t], norm_rule::z);
      if (norm_ == norm_step::added)
        for (std::size_t i = 0; i < x.size(); ++i) x[i] += before[i];
    }
  }
  if (pooling_ == pooling::last || pooling_ == pooling::concat) return states;
  vectors out{d, std::vector<double>(d)};
  double total = 0;
  for (std::size_t t = 0; t < n; ++t) {
    double const weight = pooling_ == pooling::w1mean ? static_cast<double>(t + 1) : 1;
    for (std::size_t j = 0; j < d; ++j) out.values[j] += weight * states.values[t * d + j];
    total += weight;
  }
  for (double& v : out.values) v /= total;
  return out;
}

example_rule example_rule_of(std::string_view name) {
  if (name == "none") return example_rule::none;
  if (name == "soft_cluster") return example_rule::soft_cluster;
  return example_rule::mean;
}

namespace {

/// One vector, the mean of all.
vectors mean_of(vectors const& all, norm_rule norm) {
  if (all.count() == 0) return all;
  vectors out{all.width, std::vector<double>(all.width)};
  for (std::size_t i = 0; i < all.count(); ++i)
    for (std::size_t j = 0; j < all.width; ++j) out.values[j] += all[i][j];
  for (double& v : out.values) v /= static_cast<double>(all.count());
  normalise(out[0], norm);
  return out;
}

}  // namespace

vectors compose(std::vector<std::vector<std::shared_ptr<vectors const>>> const& segments, pyramid const& how) {
  vectors all;
  for (auto const& example : segments) {
    vectors mine;
    for (auto const& segment : example) {
      vectors one = *segment;
      if (how.normalises_words)
        for (std::size_t i = 0; i < one.count(); ++i) normalise(one[i], how.norm);
      mine.width = one.width;
      mine.push_back(one.values);
    }
    if (mine.count() == 0) continue;
    all.width = mine.width;
    all.push_back(how.segment_mean ? mean_of(mine, how.norm).values : mine.values);
  }
  return how.example_mean ? mean_of(all, how.norm) : all;
}

// ---- layers ----------------------------------------------------------------------------------------------------------------

layer_choice layer_of(std::string const& text, std::string_view parameter, model_info const& m) {
  if (text == "E") return {layer_choice::table::input, {}};
  if (text == "OE") return {layer_choice::table::output, {}};
  auto const count = static_cast<std::int64_t>(m.layers);
  std::int64_t at = 0;
  if (text == "top") {
    at = count;
  } else if (text == "middle") {
    at = (count + 1) / 2;
  } else {
    auto const* const end = text.data() + text.size();
    if (auto const read = std::from_chars(text.data(), end, at); read.ec != std::errc() || read.ptr != end)
      throw usage_error(std::string(parameter) + ": " + in_quotes(text) +
                        " is not a layer; it is a number, top, middle, E (token embeddings) or OE (output embeddings)");
    if (at < -count - 1 || at > count)
      throw usage_error(std::string(parameter) + ": there is no layer " + text + "; the model has " + std::to_string(m.layers) +
                        " blocks, so it is 0 to " + std::to_string(m.layers) + ", or -1 to " + std::to_string(-count - 1));
    if (at < 0) at += count + 1;
  }
  bool const encodes = m.family == model_family::encoder_decoder;
  std::string const blocks = encodes ? "encoder." : "blocks.";
  if (at < count) return {layer_choice::table::none, blocks + std::to_string(at) + ".hook_resid_pre"};
  std::string const last = blocks + std::to_string(count - 1) + ".";
  for (std::string const& top : {std::string(encodes ? "encoder_final_ln.hook_out" : "ln_final.hook_out"), last + "ln2.hook_out"})
    if (m.find_hook(top)) return {layer_choice::table::none, top};
  throw usage_error(std::string(parameter) + ": " + m.architecture + " has no norm after its last block to take the top from");
}

// ---- encoding --------------------------------------------------------------------------------------------------------------

std::string want::key() const {
  std::string const at = layer.from == layer_choice::table::input    ? "E"
                         : layer.from == layer_choice::table::output ? "OE"
                                                                     : layer.hook;
  return at + " " + word.text();
}

namespace {

using shared_vectors = std::shared_ptr<vectors const>;
constexpr std::size_t roles = 2, tokens_at_once = 2048;

/// What all blocks of a sweep share: what is wanted, and vectors of segments that may come again.
class common_store {
 public:
  explicit common_store(std::size_t room) : room_(room) {}

  void add(std::size_t role, want const& w) {
    std::lock_guard const hold(lock_);
    wants_[role].emplace(w.key(), w);
  }
  std::map<std::string, want> wants(std::size_t role) {
    std::lock_guard const hold(lock_);
    return wants_[role];
  }
  shared_vectors find(std::string const& key) {
    std::lock_guard const hold(lock_);
    auto const at = places_.find(key);
    if (at == places_.end()) return nullptr;
    order_.splice(order_.begin(), order_, at->second);
    return at->second->value;
  }
  void put(std::string const& key, shared_vectors const& value) {
    std::size_t const size = value->values.size() * sizeof(double) + 2 * key.size() + overhead;
    std::lock_guard const hold(lock_);
    if (size > room_ || places_.contains(key)) return;
    for (held_ += size; held_ > room_; order_.pop_back()) {
      held_ -= order_.back().size;
      places_.erase(order_.back().key);
    }
    order_.push_front({key, value, size});
    places_[key] = order_.begin();
  }

 private:
  static constexpr std::size_t overhead = 200;  // of an entry's bookkeeping, about
  struct entry {
    std::string key;
    shared_vectors value;
    std::size_t size;
  };
  std::mutex lock_;
  std::map<std::string, want> wants_[roles];
  std::list<entry> order_;  // used last comes first
  std::unordered_map<std::string, std::list<entry>::iterator> places_;
  std::size_t room_, held_ = 0;
};

/// What the probes of one block share.
struct block_store {
  std::mutex lock;  // held while the model runs: only this block's probes wait for it
  std::map<std::string, std::shared_ptr<item_pieces const>> pieces;
  std::unordered_map<std::string, shared_vectors> found[roles];
};

std::shared_ptr<common_store> common_of(sample const& block, std::string const& id, std::size_t room) {
  return block.kept<common_store>(id + " vectors", [&] { return common_store(room); });
}
std::shared_ptr<block_store> store_of(sample const& block, std::string const& id) {
  return block.shared<block_store>(id + " block", [] { return block_store(); });
}

std::string bytes_of(std::vector<std::int32_t> const& tokens) {
  return {reinterpret_cast<char const*>(tokens.data()), tokens.size() * sizeof(std::int32_t)};
}

piece tokenize(tokenizer const& with, std::string_view text, bool ends, std::size_t most) {
  piece p{with.encode(text, {.special = true, .ends = ends}).ids, 0};
  if (most != 0 && p.tokens.size() > most) {
    p.cut = p.tokens.size() - most;
    p.tokens.erase(p.tokens.begin(), p.tokens.begin() + static_cast<std::ptrdiff_t>(p.cut));
  }
  return p;
}

tokenizer const& tokenizer_of(model const& m) {
  auto const* const t = m.text_tokenizer();
  if (!t)
    throw usage_error(m.info().architecture + " has no tokenizer to read texts with; put its files into the checkpoint's folder");
  return *t;
}

/// A table's rows.
vectors rows_of(tensor const& table, std::vector<std::int32_t> const& tokens) {
  vectors out{table.size(1), {}};
  tensor const row(dtype::f64, {{"d_model", table.size(1)}});
  for (auto const t : tokens) {
    if (t < 0 || static_cast<std::size_t>(t) >= table.size(0))
      throw data_error("token " + std::to_string(t) + " is outside the table of " + std::to_string(table.size(0)) +
                       " embeddings; the tokenizer is of another model");
    copy_into(row, table[static_cast<std::size_t>(t)]);
    out.push_back(row.values<double const>());
  }
  return out;
}

/// A segment that must be run, and where it was asked for.
struct job {
  std::vector<std::int32_t> const* tokens;
  std::string key;
  std::size_t row;
};

/// The vectors of some segments, for all wants that have none yet: one pass over the model for all of them.
class pass {
 public:
  pass(sample const& block, model const& m, std::vector<want> wants) : block_(block), model_(m), wants_(std::move(wants)) {
    auto const& info = m.info();
    for (auto const& w : wants_) {
      if (w.layer.from == layer_choice::table::none) hooks_.add(info.hooks_for(w.layer.hook));
      if (w.layer.from == layer_choice::table::input) input_ = m.weight("embed.W_E");
      if (w.layer.from == layer_choice::table::output) output_ = m.weight("unembed.W_U").transposed();
      if (w.word.activates() && !activation_) {
        if (info.activation.empty())
          throw usage_error("word: " + in_quotes(w.word.text()) + " needs the activation function of the model's MLPs, and " +
                            info.architecture + " does not say which it is");
        activation_ = activation_of(info.activation);
      }
    }
  }

  /// [job][want]
  std::vector<std::vector<shared_vectors>> operator()(std::span<job const> jobs) const {
    std::vector<std::vector<shared_vectors>> out(jobs.size(), std::vector<shared_vectors>(wants_.size()));
    activations captured;
    if (!hooks_.empty()) {
      batch b;
      std::vector<std::size_t> rows;
      for (auto const& j : jobs) b.tokens.push_back(*j.tokens), rows.push_back(j.row);
      auto request = block_.request(std::move(rows));
      request.capture = hooks_;
      captured = model_.run(b, request);
    }
    parallel_for(jobs.size(), [&](std::size_t i) {
      for (std::size_t w = 0; w < wants_.size(); ++w)
        out[i][w] = std::make_shared<vectors const>(
            wants_[w].word(states(wants_[w].layer, *jobs[i].tokens, captured, i), activation_.value_or(activation::identity)));
    });
    return out;
  }

 private:
  vectors states(layer_choice const& layer, std::vector<std::int32_t> const& tokens, activations const& captured,
                 std::size_t i) const {
    if (layer.from == layer_choice::table::input) return rows_of(input_, tokens);
    if (layer.from == layer_choice::table::output) return rows_of(output_, tokens);
    tensor const x = captured.at(layer.hook, i).to(dtype::f64);
    auto const values = x.values<double const>();
    return {x.size(1), {values.begin(), values.end()}};
  }

  sample const& block_;
  model const& model_;
  std::vector<want> wants_;
  hook_set hooks_;
  tensor input_, output_;
  std::optional<activation> activation_;
};

}  // namespace

std::size_t encoder::most_tokens(model const& m) const {
  std::size_t const own = m.info().longest;
  if (longest_ == 0) return own;
  return own == 0 ? longest_ : std::min(own, longest_);
}

void encoder::announce(shared_values& of_sweep, role r, want const& w) const {
  of_sweep.get<common_store>(id_ + " vectors", [&] { return common_store(room_); })->add(r, w);
}

std::shared_ptr<item_pieces const> encoder::contexts(sample const& block, model const& m, cutting how) const {
  auto const store = store_of(block, id_);
  std::size_t const most = most_tokens(m);
  std::lock_guard const hold(store->lock);
  auto& kept = store->pieces["context " + std::to_string(static_cast<int>(how)) + " " + std::to_string(most)];
  if (kept) return kept;
  auto const& with = tokenizer_of(m);
  auto made = std::make_shared<item_pieces>(block.size());
  parallel_for(block.size(), [&](std::size_t i) {
    for (auto const& example : cut(block.items(), i, how)) {
      auto& to = (*made)[i].emplace_back();
      for (auto const& segment : example)
        if (auto p = tokenize(with, segment, true, most); !p.tokens.empty()) to.push_back(std::move(p));
    }
  });
  return kept = std::move(made);
}

std::shared_ptr<item_pieces const> encoder::choices(sample const& block, model const& m, bool alone) const {
  auto const& items = block.items();
  if (items.choices.empty() && block.size() != 0)
    throw usage_error(
        "the source gives no answers to choose from; concept tests need questions with answers, such as hellaswag's");
  auto const store = store_of(block, id_);
  std::size_t const most = alone ? most_tokens(m) : 0;
  std::lock_guard const hold(store->lock);
  auto& kept = store->pieces[(alone ? "choice alone " : "choice ") + std::to_string(most)];
  if (kept) return kept;
  auto const& with = tokenizer_of(m);
  auto made = std::make_shared<item_pieces>(block.size());
  parallel_for(block.size(), [&](std::size_t i) {
    for (auto const& text : items.choices[i]) {
      piece p = tokenize(with, text, alone, most);
      if (p.tokens.empty()) throw data_error("item " + std::to_string(items.first + i) + " has an answer without tokens");
      (*made)[i].push_back({std::move(p)});
    }
  });
  return kept = std::move(made);
}

namespace {

/// Runs jobs, the longest first, as many at once as a pass holds. `give(job, what it made)`.
template <class Give>
void run_jobs(pass const& run, std::vector<job>& jobs, Give const& give) {
  std::stable_sort(jobs.begin(), jobs.end(), [](job const& a, job const& b) { return a.tokens->size() > b.tokens->size(); });
  for (std::size_t first = 0; first < jobs.size();) {
    std::size_t last = first, tokens = 0;
    while (last < jobs.size() && (last == first || tokens + jobs[last].tokens->size() <= tokens_at_once))
      tokens += jobs[last++].tokens->size();
    auto const some = std::span<job const>(jobs).subspan(first, last - first);
    auto const made = run(some);
    for (std::size_t i = 0; i < some.size(); ++i) give(some[i], made[i]);
    first = last;
  }
}

}  // namespace

std::vector<std::vector<std::vector<shared_vectors>>> encoder::encode(sample const& block, model const& m, role r,
                                                                      item_pieces const& pieces, want const& wanted) const {
  auto const common = common_of(block, id_, room_);
  common->add(r, wanted);
  std::string const own = wanted.key();
  auto const store = store_of(block, id_);
  std::lock_guard const hold(store->lock);
  auto& found = store->found[r];
  // Edits are of items: then equal segments of different items are not the same.
  bool const edited = !block.request({}).edits.empty();
  auto const key_of = [&](std::size_t i, piece const& p) {
    return (edited ? std::to_string(block[i].index()) + ":" : std::string()) + bytes_of(p.tokens);
  };
  auto const full = [](std::string const& key, std::string const& want_key) { return want_key + "\n" + key; };
  auto const look = [&](std::string const& key) -> shared_vectors {
    if (auto const at = found.find(key); at != found.end()) return at->second;
    auto v = common->find(std::to_string(r) + key);
    if (v) found.emplace(key, v);
    return v;
  };

  // What is not there yet, with the other wants that it lacks.
  std::map<std::string, job> missing;
  for (std::size_t i = 0; i < pieces.size(); ++i)
    for (auto const& example : pieces[i])
      for (auto const& p : example) {
        std::string key = key_of(i, p);
        if (!missing.contains(key) && !look(full(key, own))) missing.emplace(key, job{&p.tokens, key, i});
      }
  // Those that lack the same wants go together: all of them, unless a probe did not say beforehand what it would want.
  auto const all = common->wants(r);
  std::map<std::string, std::pair<std::vector<std::string>, std::vector<job>>> groups;
  for (auto& [key, j] : missing) {
    std::vector<std::string> lacks;
    std::string name;
    for (auto const& [want_key, w] : all)
      if (want_key == own || !look(full(key, want_key))) lacks.push_back(want_key), name += want_key + "\n";
    groups[name].second.push_back(std::move(j));
    groups[name].first = std::move(lacks);
  }
  for (auto& [name, group] : groups) {
    auto const& lacks = group.first;
    std::vector<want> wants;
    for (auto const& w : lacks) wants.push_back(all.at(w));
    run_jobs(pass(block, m, std::move(wants)), group.second, [&](job const& one, auto const& made) {
      for (std::size_t w = 0; w < lacks.size(); ++w) {
        std::string const key = full(one.key, lacks[w]);
        found[key] = made[w];
        if (!edited) common->put(std::to_string(r) + key, made[w]);
      }
    });
  }
  std::vector<std::vector<std::vector<shared_vectors>>> out(pieces.size());
  for (std::size_t i = 0; i < pieces.size(); ++i)
    for (auto const& example : pieces[i]) {
      auto& to = out[i].emplace_back();
      for (auto const& p : example) to.push_back(found.at(full(key_of(i, p), own)));
    }
  return out;
}

std::size_t tokens_cut(std::vector<std::vector<piece>> const& item) noexcept {
  std::size_t n = 0;
  for (auto const& example : item)
    for (auto const& p : example) n += p.cut;
  return n;
}

std::size_t choices_of(probe_context const& at) {
  if (!at.data().info().has_texts || !at.data().info().has_choices)
    throw usage_error("concept tests need texts with answers to choose from; this source gives no " +
                      std::string(at.data().info().has_texts ? "answers" : "texts") + ": use one such as hellaswag");
  auto const range = at.items();
  auto const first = at.data().read({range.first, std::min(range.first + 1, range.last)});
  return first.choices.empty() ? 0 : first.choices[0].size();
}

void check_choices(item_block const& items, std::size_t i, std::size_t choices) {
  if (std::size_t const n = items.choices[i].size(); n != choices)
    throw data_error("item " + std::to_string(items.first + i) + " has " + std::to_string(n) + " answers, the first one has " +
                     std::to_string(choices) + "; every item needs as many");
}

std::int32_t gold_of(item_block const& items, std::size_t i, std::size_t choices) {
  auto const at = items.truth.find("gold");
  if (at == items.truth.end())
    throw usage_error("the source does not say which answer is right ('gold'); use one that does, such as hellaswag");
  double const gold = at->second.get({i});
  if (!(gold >= 0 && gold < static_cast<double>(choices)))
    throw data_error("item " + std::to_string(items.first + i) + ": the right answer is number " +
                     std::to_string(static_cast<std::int64_t>(gold)) + ", but there are " + std::to_string(choices));
  return static_cast<std::int32_t>(gold);
}

}  // namespace wayfarer::concepts
