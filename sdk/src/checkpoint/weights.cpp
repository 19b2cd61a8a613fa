#include <wayfarer/weights.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <memory>
#include <set>
#include <span>
#include <utility>

#include <wayfarer/error.hpp>
#include <wayfarer/hooks.hpp>
#include <wayfarer/json.hpp>
#include <wayfarer/model.hpp>
#include <wayfarer/parallel.hpp>

namespace wayfarer {
namespace {

tensor strided(tensor const& t, std::size_t offset, dims shape, std::vector<std::ptrdiff_t> strides) {
  auto const keep = std::make_shared<tensor const>(t);
  auto const* const data = static_cast<std::byte const*>(t.raw()) + offset * size_of(t.type());
  return tensor::look(t.type(), data, std::move(shape), keep, std::move(strides));
}

/// What training and saving put in front of a model's own names: torch.compile, DataParallel and DDP, Lightning, PEFT, the model
/// classes of transformers.
constexpr std::string_view wrappers[] = {
    "_orig_mod", "_fsdp_wrapped_module", "albert", "auto_model", "backbone", "base_model", "bert",       "distilbert", "electra",
    "gpt_neox",  "language_model",       "model",  "module",     "roberta",  "rwkv",       "transformer"};

/// Bytes of the wrappers in front of a name.
std::size_t wrapped(std::string_view name) {
  std::size_t cut = 0;
  while (true) {
    auto const dot = name.find('.', cut);
    if (dot == std::string_view::npos) return cut;
    auto const part = name.substr(cut, dot - cut);
    if (std::find(std::begin(wrappers), std::end(wrappers), part) == std::end(wrappers)) return cut;
    cut = dot + 1;
  }
}

/// Tensors that say nothing of a forward pass up to the logits, without their wrappers: masks and position numbers that old
/// versions of transformers saved, the pooler and the other heads of pretraining of BERT, ALBERT and ELECTRA, which no hook
/// reaches, and a bias table of T5's cross attention that was never used.
constexpr std::string_view harmless_tensors[] = {"h.*.attn.bias",
                                                 "h.*.attn.masked_bias",
                                                 "h.*.crossattention.masked_bias",
                                                 "h.*.attn.attention.bias",
                                                 "h.*.attn.attention.masked_bias",
                                                 "layers.*.attention.bias",
                                                 "layers.*.attention.masked_bias",
                                                 "layers.*.rotary_emb.inv_freq",
                                                 "h.*.rotary_emb.inv_freq",
                                                 "embeddings.position_ids",
                                                 "embeddings.token_type_ids",
                                                 "pooler.dense.weight",
                                                 "pooler.dense.bias",
                                                 "pooler.weight",
                                                 "pooler.bias",
                                                 "sop_classifier.classifier.weight",
                                                 "sop_classifier.classifier.bias",
                                                 "discriminator_predictions.dense.weight",
                                                 "discriminator_predictions.dense.bias",
                                                 "discriminator_predictions.dense_prediction.weight",
                                                 "discriminator_predictions.dense_prediction.bias",
                                                 "cls.seq_relationship.weight",
                                                 "cls.seq_relationship.bias",
                                                 "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"};

/// What such a buffer holds where it says nothing that a model here does not do by itself.
enum class buffer { anything, causal_mask, window_mask, far_below_zero, positions, zeros };

buffer kind_of(std::string_view base) {
  static constexpr std::pair<std::string_view, buffer> kinds[] = {
      {"*.masked_bias", buffer::far_below_zero},        {"h.*.attn.bias", buffer::causal_mask},
      {"h.*.attn.attention.bias", buffer::window_mask}, {"layers.*.attention.bias", buffer::causal_mask},
      {"embeddings.position_ids", buffer::positions},   {"embeddings.token_type_ids", buffer::zeros}};
  for (auto const& [pattern, kind] : kinds)
    if (matches(pattern, base)) return kind;
  return buffer::anything;
}

std::string expected_of(buffer kind) {
  switch (kind) {
    case buffer::causal_mask:
    case buffer::window_mask:
      return "is another mask than the causal one, which is used";
    case buffer::far_below_zero:
      return "does not hide what it masks; masked keys are hidden here";
    case buffer::positions:
      return "are not 0, 1, 2, ...; positions are counted from 0 here";
    case buffer::zeros:
      return "are not 0; tokens without a type have type 0 here";
    case buffer::anything:
      break;
  }
  return "";
}

/// Whether each query sees itself and the keys before it: all of them, or as many as the others do.
template <class T>
bool is_mask(std::span<T const> x, std::size_t n, bool whole) {
  std::size_t window = n;
  for (std::size_t q = 0; q < n; ++q) {
    T const* const row = x.data() + q * n;
    std::size_t first = 0;
    while (first < n && row[first] == T(0)) ++first;
    if (first > q || (whole && first != 0)) return false;
    if (first != 0 && window == n) window = q + 1 - first;
    if (first != (q + 1 > window ? q + 1 - window : 0)) return false;
    for (std::size_t k = first; k < n; ++k)
      if (row[k] != T(k <= q ? 1 : 0)) return false;
  }
  return true;
}

template <class T>
bool holds(buffer kind, std::span<T const> x, std::size_t n) {
  switch (kind) {
    case buffer::causal_mask:
    case buffer::window_mask:
      return x.size() == n * n && is_mask(x, n, kind == buffer::causal_mask);
    case buffer::far_below_zero:
      return std::all_of(x.begin(), x.end(), [](T v) { return static_cast<double>(v) <= -1e3; });
    case buffer::positions:
      for (std::size_t i = 0; i < x.size(); ++i)
        if (static_cast<double>(x[i]) != static_cast<double>(i % n)) return false;
      return true;
    case buffer::zeros:
      return std::all_of(x.begin(), x.end(), [](T v) { return v == T(0); });
    case buffer::anything:
      break;
  }
  return true;
}

bool is_expected(buffer kind, tensor const& t) {
  std::size_t const n = t.rank() == 0 ? 1 : t.size(t.rank() - 1);
  switch (t.type()) {
    case dtype::u8:
      return holds(kind, t.values<std::uint8_t const>(), n);
    case dtype::i32:
      return holds(kind, t.values<std::int32_t const>(), n);
    case dtype::i64:
      return holds(kind, t.values<std::int64_t const>(), n);
    case dtype::f64:
      return holds(kind, t.values<double const>(), n);
    default: {
      tensor const numbers = t.to(dtype::f32);
      return holds(kind, numbers.values<float const>(), n);
    }
  }
}

bool harmless(std::string_view base) {
  return std::any_of(std::begin(harmless_tensors), std::end(harmless_tensors),
                     [&](std::string_view pattern) { return matches(pattern, base); });
}

/// "h.3.attn.c_attn.bias" -> "h.#.attn.c_attn.bias".
std::string without_numbers(std::string_view name) {
  std::string out;
  for (std::size_t at = 0; at < name.size();) {
    std::size_t const end = std::min(name.find('.', at), name.size());
    auto const part = name.substr(at, end - at);
    out += part.find_first_not_of("0123456789") == std::string_view::npos ? "#" : part;
    if (end < name.size()) out += '.';
    at = end + 1;
  }
  return out;
}

/// "'a', 'b' and 7 more tensors".
std::string listed(std::vector<std::string> const& names, std::size_t most = 6) {
  std::string out;
  std::size_t const shown = names.size() == most + 1 ? most + 1 : std::min(most, names.size());
  for (std::size_t i = 0; i < shown; ++i) out += (i ? ", " : "") + in_quotes(names[i]);
  if (shown < names.size()) out += " and " + std::to_string(names.size() - shown) + " more";
  return out;
}

bool same_bytes(tensor const& a, tensor const& b) {
  return a.type() == b.type() && a.bytes() == b.bytes() && std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
}

bool is_real(dtype t) noexcept {
  return t == dtype::f32 || t == dtype::f64 || t == dtype::f16 || t == dtype::bf16;
}

}  // namespace

void weight_table::store(std::string name, dims shape, bool optional) {
  stored_order_.push_back(name);
  stored_.insert_or_assign(std::move(name), place{std::move(shape), optional});
}

void weight_table::also(std::string_view name, std::string other) {
  auto const found = stored_.find(name);
  if (found == stored_.end()) throw plugin_error("no tensor '" + std::string(name) + "' was declared");
  found->second.others.push_back(std::move(other));
}

void weight_table::otherwise(std::string_view name, std::string other) {
  auto const found = stored_.find(name);
  if (found == stored_.end() || !stored_.contains(other))
    throw plugin_error("no tensor '" + std::string(name) + "' was declared");
  found->second.otherwise = std::move(other);
}

void weight_table::name(std::string common, std::string stored, make_view view) {
  order_.push_back(common);
  common_.insert_or_assign(std::move(common), alias{std::move(stored), std::move(view), {}});
}

void weight_table::zeros(std::string common, dims shape) {
  order_.push_back(common);
  common_.insert_or_assign(std::move(common), alias{"", {}, std::move(shape)});
}

void weight_table::check(std::string const& where, dtype type, std::vector<std::size_t> const& shape, place const& p) {
  if (!is_real(type))
    throw data_error(where + " is " + std::string(name_of(type)) + "; a weight is float32, float64, float16 or bfloat16");
  bool fits = shape.size() == p.shape.size();
  for (std::size_t i = 0; fits && i < p.shape.size(); ++i) fits = shape[i] == p.shape[i].size;
  if (fits) return;
  std::string got;
  for (auto const n : shape) got += (got.empty() ? "" : " x ") + std::to_string(n);
  throw data_error(where + " is " + (got.empty() ? "a scalar" : got) + ", but config.json asks for " + describe(p.shape));
}

bool weight_table::has(place const& p) const {
  return loaded_ ? p.data.defined() : !p.file_name.empty();
}

/// Undefined if neither the tensor nor what serves in its place is there.
tensor const& weight_table::data_of(place const& p) const {
  return p.data.defined() || p.otherwise.empty() ? p.data : stored_.find(p.otherwise)->second.data;
}

void weight_table::look(checkpoint const& file) {
  std::map<std::string, std::vector<std::string>, std::less<>> by_base;  // prefixes with which a name comes
  std::map<std::string, std::size_t, std::less<>> met;                   // how many wanted names come with a prefix
  std::map<std::string, std::string, std::less<>> foreign;
  std::set<std::string, std::less<>> wanted;
  for (auto const& [name, p] : stored_) {
    wanted.insert(name);
    wanted.insert(p.others.begin(), p.others.end());
  }
  file_names_ = file.names();
  for (auto const& f : file.foreign()) {
    foreign.emplace(f.name, f.type);
    file_names_.push_back(f.name);
  }
  for (auto const& name : file_names_) {
    std::size_t const cut = wrapped(name);
    std::string const prefix = name.substr(0, cut);
    by_base[name.substr(cut)].push_back(prefix);
    if (wanted.contains(std::string_view(name).substr(cut))) ++met[prefix];
  }
  std::set<std::string, std::less<>> used, prefixes;
  // The name in the file of one wanted name: with the prefix that most have, the shortest among equals.
  auto const find = [&](std::string const& base) -> std::string {
    auto const found = by_base.find(base);
    if (found == by_base.end()) return {};
    auto const best = std::min_element(found->second.begin(), found->second.end(), [&](auto const& a, auto const& b) {
      return std::pair(met[b], a.size()) < std::pair(met[a], b.size());
    });
    used.insert(*best + base);
    prefixes.insert(*best);
    return *best + base;
  };
  for (auto& [name, p] : stored_) {
    std::vector<std::string> there;
    if (auto at = find(name); !at.empty()) there.push_back(std::move(at));
    for (auto const& other : p.others)
      if (auto at = find(other); !at.empty()) there.push_back(std::move(at));
    p.file_name.clear(), p.twins.clear();
    for (auto const& at : there) {
      std::string const where = path_ + ": tensor " + in_quotes(at);
      if (auto const f = foreign.find(at); f != foreign.end())
        throw data_error(where + " is " + f->second + "; a weight is float32, float64, float16 or bfloat16");
      auto const* const e = file.find(at);
      check(where, e->type, e->shape, p);
    }
    if (there.empty()) continue;
    p.file_name = there.front();
    p.twins.assign(there.begin() + 1, there.end());
  }
  unread_.clear();
  for (auto const& name : file_names_)
    if (!used.contains(name) && !harmless(std::string_view(name).substr(wrapped(name)))) unread_.push_back(name);
  prefixes_.assign(prefixes.begin(), prefixes.end());
  looked_ = true;
}

void weight_table::look(std::string const& path) {
  path_ = path;
  look(open_checkpoint(path));
}

void weight_table::load(std::string const& path) {
  path_ = path;
  auto const file = open_checkpoint(path);
  look(file);
  for (auto& [name, p] : stored_) {
    if (p.file_name.empty()) continue;
    std::vector<std::string> dim_names;
    for (auto const& d : p.shape) dim_names.push_back(d.name);
    p.data = file.tensor(p.file_name, dim_names);
    for (auto const& twin : p.twins)
      if (!same_bytes(p.data, file.tensor(twin, dim_names)))
        throw data_error(path_ + ": tensors " + in_quotes(p.file_name) + " and " + in_quotes(twin) +
                         " are two names of one matrix, but hold different numbers; remove the one that is not meant");
  }
  // Of those that nothing reads and that are taken to say nothing: those that do say something.
  std::vector<std::string> odd(file_names_.size());
  parallel_for(file_names_.size(), [&](std::size_t i) {
    std::string const& name = file_names_[i];
    std::string_view const base = std::string_view(name).substr(wrapped(name));
    buffer const kind = harmless(base) ? kind_of(base) : buffer::anything;
    if (kind == buffer::anything || stored_.contains(base)) return;
    if (!file.find(name) || !is_expected(kind, file.tensor(name))) odd[i] = name;
  });
  for (auto const& name : odd)
    if (!name.empty()) unread_.push_back(name);
  loaded_ = true;
}

bool weight_table::found(std::string_view name) const {
  auto const at = stored_.find(name);
  return at != stored_.end() && has(at->second);
}

bool weight_table::same(std::string_view one, std::string_view other) const {
  auto const a = stored_.find(one), b = stored_.find(other);
  return a != stored_.end() && b != stored_.end() && a->second.data.defined() && b->second.data.defined() &&
         same_bytes(a->second.data, b->second.data);
}

std::vector<std::string> weight_table::prefixes() const {
  return prefixes_;
}

std::vector<std::string> weight_table::remarks() const {
  if (unread_.empty()) return {};
  std::set<std::string> patterns;
  for (auto const& [name, p] : stored_) {
    patterns.insert(without_numbers(name));
    for (auto const& other : p.others) patterns.insert(without_numbers(other));
  }
  std::vector<std::string> layers, others;
  std::map<buffer, std::vector<std::string>> buffers;
  for (auto const& name : unread_) {
    std::string const base = name.substr(wrapped(name));
    if (harmless(base))
      buffers[kind_of(base)].push_back(name);
    else
      (patterns.contains(without_numbers(base)) ? layers : others).push_back(name);
  }
  std::vector<std::string> all;
  for (auto const& [kind, names] : buffers) all.push_back(path_ + ": " + listed(names) + " " + expected_of(kind));
  if (!others.empty()) all.push_back(path_ + ": nothing reads " + listed(others));
  if (!layers.empty())
    all.push_back(path_ + ": the file has more layers or copies than config.json says: nothing reads " + listed(layers));
  return all;
}

void weight_table::load(std::string const& what, std::map<std::string, tensor> const& tensors) {
  path_ = what;
  for (auto const& [name, t] : tensors) file_names_.push_back(name);
  for (auto& [name, p] : stored_) {
    auto const found = tensors.find(name);
    if (found == tensors.end()) continue;
    std::vector<std::size_t> shape;
    std::vector<std::string> dim_names;
    for (auto const& d : found->second.shape()) shape.push_back(d.size);
    check(path_ + ": tensor " + in_quotes(name), found->second.type(), shape, p);
    for (auto const& d : p.shape) dim_names.push_back(d.name);
    p.data = found->second.named(dim_names);
    p.file_name = name;
  }
  loaded_ = looked_ = true;
}

tensor weight_table::weight(std::string_view common) const {
  auto const found = common_.find(common);
  if (found == common_.end())
    throw usage_error("there is no weight '" + std::string(common) + "'" + did_you_mean(common, order_));
  if (!loaded_) throw plugin_error("weight '" + std::string(common) + "' was asked for before the model was loaded");
  auto const& a = found->second;
  tensor t;
  if (!a.stored.empty()) {
    auto const& p = stored_.at(a.stored);
    t = data_of(p);
    if (!t.defined() && p.optional) t = tensor(dtype::f32, p.shape);
    if (!t.defined())
      throw data_error(path_ + ": weight '" + std::string(common) + "' is not in this checkpoint: tensor " +
                       in_quotes(p.otherwise.empty() ? a.stored : p.otherwise) + " is missing");
  } else {
    t = tensor(dtype::f32, a.zeros);
  }
  return a.view ? a.view(t) : t;
}

tensor weight_table::stored(std::string_view name) const {
  auto const found = stored_.find(name);
  if (found == stored_.end()) throw plugin_error("no tensor '" + std::string(name) + "' was declared");
  tensor const& data = data_of(found->second);
  if (!data.defined() && !found->second.optional) require_all();
  return data;
}

std::vector<std::string> weight_table::missing() const {
  std::vector<std::string> out;
  for (auto const& name : stored_order_) {
    auto const& p = stored_.at(name);
    if (p.optional || has(p)) continue;
    if (!p.otherwise.empty()) {
      // Where nothing serves, the other one is reported; of two that serve for each other the first.
      auto const& other = stored_.at(p.otherwise);
      bool const reported = other.otherwise != name || std::find(out.begin(), out.end(), p.otherwise) != out.end();
      if (has(other) || reported) continue;
    }
    out.push_back(name);
  }
  return out;
}

void weight_table::require_all() const {
  require([](std::string_view) { return true; });
}

void weight_table::require(std::function<bool(std::string_view)> const& needed) const {
  if (!loaded_) throw plugin_error("the model was used before it was loaded");
  require_found(needed);
}

void weight_table::require_found(std::function<bool(std::string_view)> const& needed) const {
  auto gone = missing();
  std::erase_if(gone, [&](std::string const& name) { return !needed(name); });
  if (gone.empty()) return;
  std::string list;
  for (auto const& name : gone) list += (list.empty() ? "" : ", ") + name;
  throw data_error(path_ + ": this checkpoint lacks " + std::to_string(gone.size()) +
                   " tensors that a forward pass needs (its other weights can still be probed): " + list + what_is_there(gone));
}

/// What the file has in place of the missing tensors: an unknown prefix, else near names, else a few of its own.
std::string weight_table::what_is_there(std::vector<std::string> const& gone) const {
  if (file_names_.empty()) return "; it has no tensors at all";
  std::map<std::string, std::size_t> behind;
  for (auto const& name : gone)
    for (auto const& there : file_names_)
      if (there.size() > name.size() && there.ends_with("." + name)) ++behind[there.substr(0, there.size() - name.size())];
  auto const most =
      std::max_element(behind.begin(), behind.end(), [](auto const& a, auto const& b) { return a.second < b.second; });
  if (most != behind.end() && most->second * 2 > gone.size())
    return "; " + (most->second >= gone.size() ? "all" : std::to_string(most->second)) +
           " of these names are there behind the prefix " + in_quotes(most->first) +
           ": take it off, and this checkpoint can be read";
  std::string out;
  std::size_t shown = 0;
  for (auto const& name : gone) {
    if (shown == 3) break;
    auto const near = near_names(name, unread_);
    if (near.empty()) continue;
    out += (shown++ == 0 ? "; near names that it has: " : ", ") + in_quotes(near.front()) + " (" + name + "?)";
  }
  std::string const count = std::to_string(file_names_.size());
  if (unread_.empty()) return out + "; each of the file's " + count + " tensors is read";
  return out + "; of the file's " + count + " tensors " + std::to_string(unread_.size()) +
         " are read by nothing: " + listed(unread_);
}

tensor split_heads(tensor const& stored, std::size_t first, std::size_t heads, std::size_t d_head, bool in_first) {
  auto const dh = static_cast<std::ptrdiff_t>(d_head);
  if (stored.rank() == 1) return strided(stored, first, {{"head", heads}, {"d_head", d_head}}, {dh, 1});
  auto const columns = static_cast<std::ptrdiff_t>(stored.size(1));
  dims const shape{{"head", heads}, {"d_model", stored.size(in_first ? 0 : 1)}, {"d_head", d_head}};
  if (in_first) return strided(stored, first, shape, {dh, columns, 1});
  return strided(stored, first * stored.size(1), shape, {dh * columns, 1, columns});
}

tensor join_heads(tensor const& stored, std::size_t heads, bool in_first) {
  std::size_t const in = stored.size(in_first ? 0 : 1), out = stored.size(in_first ? 1 : 0), d_head = in / heads;
  auto const dh = static_cast<std::ptrdiff_t>(d_head), columns = static_cast<std::ptrdiff_t>(stored.size(1));
  dims const shape{{"head", heads}, {"d_head", d_head}, {"d_model", out}};
  if (in_first) return strided(stored, 0, shape, {dh * columns, columns, 1});
  return strided(stored, 0, shape, {dh, 1, columns});
}

std::vector<non_finite_weight> non_finite_weights(model const& m) {
  auto const& names = m.info().weights;
  std::vector<std::size_t> counts(names.size());
  parallel_for(names.size(), [&](std::size_t i) {
    tensor t;
    try {
      t = m.weight(names[i]);
    } catch (data_error const&) {
      return;  // not in this checkpoint
    }
    auto const values = t.contiguous() ? t : t.clone();
    std::size_t const n = values.count();
    std::size_t bad = 0;
    auto const same_exponent = [&](auto const* bits, auto mask) {
      for (std::size_t j = 0; j < n; ++j) bad += (bits[j] & mask) == mask ? 1 : 0;
    };
    switch (values.type()) {
      case dtype::f32:
        same_exponent(static_cast<std::uint32_t const*>(values.raw()), std::uint32_t{0x7f800000});
        break;
      case dtype::f64:
        same_exponent(static_cast<std::uint64_t const*>(values.raw()), std::uint64_t{0x7ff0000000000000});
        break;
      case dtype::f16:
        same_exponent(static_cast<std::uint16_t const*>(values.raw()), std::uint16_t{0x7c00});
        break;
      case dtype::bf16:
        same_exponent(static_cast<std::uint16_t const*>(values.raw()), std::uint16_t{0x7f80});
        break;
      case dtype::i32:
      case dtype::i64:
      case dtype::u8:
        break;
    }
    counts[i] = bad;
  });
  std::vector<non_finite_weight> out;
  for (std::size_t i = 0; i < names.size(); ++i)
    if (counts[i]) out.push_back({names[i], counts[i]});
  return out;
}

}  // namespace wayfarer
