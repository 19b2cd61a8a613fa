#include "recurrent_model.hpp"

#include <algorithm>
#include <string>
#include <utility>

#include <wayfarer/error.hpp>
#include <wayfarer/pretrained.hpp>

#include "continued.hpp"

namespace wayfarer {
namespace {

std::vector<std::size_t> all_of(std::size_t n) {
  std::vector<std::size_t> all(n);
  for (std::size_t i = 0; i < n; ++i) all[i] = i;
  return all;
}

/// Positions [from, from + most) of each item, as far as it has them.
batch piece_of(batch const& whole, std::size_t from, std::size_t most) {
  batch out;
  std::vector<std::size_t> rows;
  for (std::size_t i = 0; i < whole.items(); ++i) {
    auto const tokens = whole.tokens[i];
    std::size_t const first = std::min(from, tokens.size()), n = std::min(most, tokens.size() - first);
    out.tokens.push_back(tokens.subspan(first, n));
    out.first_position.push_back((whole.first_position.empty() ? 0 : whole.first_position[i]) + first);
    std::size_t const start = whole.tokens.offsets[i] - whole.tokens.offsets[0] + first;
    for (std::size_t k = 0; k < n; ++k) rows.push_back(start + k);
  }
  if (!whole.embeddings.defined()) return out;
  tensor const& given = whole.embeddings;
  out.embeddings = tensor(
      given.type(), {given.shape()[0].name == "token" ? dim{"token", rows.size()} : dim{"row", rows.size()}, given.shape()[1]});
  for (std::size_t k = 0; k < rows.size(); ++k) copy_into(out.embeddings[k], given[rows[k]]);
  return out;
}

/// Puts what pieces captured end to end.
class pieces_captured {
 public:
  pieces_captured(run_request const& request, batch const& whole) : request_(request), whole_(whole) {}

  void add(activations const& part, batch const& piece, std::size_t from) {
    for (auto const& hook : request_.capture.names()) {
      auto& items = all_[hook];
      items.resize(whole_.items());
      bool const last_only = hook == "logits" && request_.last_logits_only;
      for (std::size_t i = 0; i < whole_.items(); ++i) {
        tensor const& t = part.at(hook, i);
        if (!items[i].defined()) {
          dims shape = t.shape();
          shape[0].size = last_only ? std::min<std::size_t>(1, whole_.tokens[i].size()) : whole_.tokens[i].size();
          items[i] = tensor(t.type(), shape);
        }
        std::size_t const n = piece.tokens[i].size();
        if (n == 0) continue;
        if (last_only)
          copy_into(items[i], t);
        else
          copy_into(items[i].slice(0, from, from + n), t);
      }
    }
  }
  activations take() {
    activations out;
    for (auto& [hook, items] : all_) out.put(hook, std::move(items));
    return out;
  }

 private:
  run_request const& request_;
  batch const& whole_;
  std::map<std::string, std::vector<tensor>> all_;
};

}  // namespace

layer_past layer_past::branch(std::span<std::size_t const> items) const {
  layer_past out;
  for (auto const& s : states) out.states.push_back(s.branch(items));
  for (auto const i : items)
    if (!kept.empty()) out.kept.push_back(kept.at(i));
  return out;
}

recurrent_past recurrent_past::branch(std::span<std::size_t const> items) const {
  recurrent_past out;
  for (auto const& layer : layers) out.layers.push_back(layer.branch(items));
  for (auto const i : items) out.lengths.push_back(lengths.at(i));
  return out;
}

recurrent_past recurrent_past::mark() const {
  return branch(all_of(lengths.size()));
}

// ---- forward pass ------------------------------------------------------------------------------------------------------------

rows recurrent_model::embedding(batch const& items, std::shared_ptr<row_packing const> const& of, run_request const& request,
                                taps& at) const {
  if (items.embeddings.defined())
    return at("hook_embed", rows_from(items.embeddings, of, info_.d_model, request.precision, "embeddings"));
  rows x = embed(items.tokens, of, token_table_, request.precision);
  if (has_embed_ln_) x = normed(x, embed_ln_, at.in("embed_ln"));
  return at("hook_embed", std::move(x));
}

void recurrent_model::forward(batch const& items, run_request const& request, taps& at, recurrent_past& past,
                              bool goes_on) const {
  auto const of = row_packing::of(items.tokens, items.first_position);
  rows x = embedding(items, of, request, at);
  if (position_table_.defined()) x += at("hook_pos_embed", embed_positions(of, position_table_, request.precision));
  pass p{request};
  for (std::size_t i = 0; i < info_.layers && (goes_on || !at.done()); ++i)
    x = block(i, std::move(x), p, past.layers[i], at.block("blocks", i));
  for (std::size_t i = 0; i < items.items(); ++i) past.lengths[i] += items.tokens[i].size();
  if (at.done()) return;
  bool const norm_hooks = at.in("ln_final").any();
  if (request.last_logits_only && !norm_hooks) x = x.last();
  x = normed(x, ln_final_, at.in("ln_final"));
  if (at.wants("logits")) at("logits", linear(request.last_logits_only ? x.last() : x, unembed_));
}

bool recurrent_model::over_pairs(run_request const& request) const {
  auto const pairs = [&](std::string const& name) {
    auto const* const hook = info_.find_hook(name);
    return hook && hook->per_pair;
  };
  auto const& names = request.capture.names();
  return std::any_of(names.begin(), names.end(), pairs) ||
         std::any_of(request.edits.begin(), request.edits.end(), [&](hook_edit const& e) { return pairs(e.hook); });
}

recurrent_past recurrent_model::nothing_read(std::size_t items, dtype precision) const {
  recurrent_past past;
  for (std::size_t i = 0; i < info_.layers; ++i) past.layers.push_back(fresh(i, items, precision));
  past.lengths.assign(items, 0);
  return past;
}

activations recurrent_model::once(batch const& items, run_request const& request, recurrent_past& past, bool goes_on) const {
  taps at(info_, request);
  forward(items, request, at, past, goes_on);
  return at.take();
}

activations recurrent_model::in_pieces(batch const& items, run_request const& request, recurrent_past& past,
                                       std::size_t piece) const {
  pieces_captured all(request, items);
  std::size_t longest = 0;
  for (std::size_t i = 0; i < items.items(); ++i) longest = std::max(longest, items.tokens[i].size());
  for (std::size_t from = 0; from < longest; from += piece) {
    batch const part = piece_of(items, from, piece);
    all.add(once(part, request, past, true), part, from);
  }
  return all.take();
}

activations recurrent_model::read(batch const& items, run_request const& request, recurrent_past& past, bool goes_on) const {
  weights_.require_all();
  check_precision(request.precision);
  bool const pairs = over_pairs(request);
  for (std::size_t i = 0; pairs && i < items.items(); ++i)
    if (past.lengths[i] && !items.tokens[i].empty())
      throw usage_error(info_.architecture +
                        ": a continued run keeps a state and not the positions before, so it has no weights to them; ask for "
                        "hooks over pairs of positions in one run over the whole text");
  std::size_t const piece = std::max<std::size_t>(64, piece_rows / std::max<std::size_t>(1, items.items()));
  std::size_t longest = 0;
  for (std::size_t i = 0; i < items.items(); ++i) longest = std::max(longest, items.tokens[i].size());
  if (longest > piece && !pairs && request.edits.empty()) return in_pieces(items, request, past, piece);
  return once(items, request, past, goes_on);
}

activations recurrent_model::run(batch const& items, run_request const& request) const {
  recurrent_past past = nothing_read(items.items(), request.precision);
  return read(items, request, past, false);
}

std::unique_ptr<continued_run> recurrent_model::begin(batch const& items, run_request const& request,
                                                      activations* captured) const {
  auto const go_on = [this, precision = request.precision](batch const& some, run_request const& wanted, recurrent_past& past) {
    if ((wanted.precision == dtype::f64) != (precision == dtype::f64))
      throw usage_error(info_.architecture + ": a continued run must keep the precision that it began with");
    return read(some, wanted, past, true);
  };
  return begin_run<recurrent_past>(go_on, nothing_read(items.items(), request.precision), items, request, captured);
}

tensor recurrent_model::final_norm(tensor const& x) const {
  weights_.require_all();
  return on_rows(x, info_.d_model, "d_model", [&](rows const& r) { return normed(r, ln_final_, {}); });
}

rows recurrent_model::unembed_tokens(rows const& x, std::size_t first, std::size_t last) const {
  weights_.require_all();
  return linear(x, outputs_of(unembed_, first, last));
}

// ---- hooks and weights -------------------------------------------------------------------------------------------------------

void recurrent_hooks::norm(std::string const& at, std::string const& of, bool rms, dims const& row, dims const& scales) {
  add(at + "hook_scale", scales,
      rms ? "square root of the mean square of " + of + " plus epsilon"
          : "square root of the variance of " + of + " plus epsilon");
  add(at + "hook_normalized", row, rms ? of + " over hook_scale" : of + " less its mean, over hook_scale");
  add(at + "hook_out", row, "hook_normalized times weight" + std::string(rms ? "" : " plus bias"));
}

void store_norm(weight_table& w, std::string const& stored, std::string const& common, dim const& width, bool bias) {
  w.store(stored + ".weight", {width});
  w.name(common + ".w", stored + ".weight");
  if (!bias) return;
  w.store(stored + ".bias", {width});
  w.name(common + ".b", stored + ".bias");
}

void store_matrix(weight_table& w, std::string const& stored, std::string const& common, dim const& in, dim const& out) {
  w.store(stored + ".weight", {out, in});
  w.name(common, stored + ".weight", [](tensor const& t) { return t.transposed(); });
}

}  // namespace wayfarer
