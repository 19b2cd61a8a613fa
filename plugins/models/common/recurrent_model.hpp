// The frame of models without attention: tokens in, blocks over a residual stream, a head; and continued runs in constant
// memory.
//
// A family derives from it and gives its block, and what one layer carries from position to position. A pass over a long text
// goes through it piece by piece unless a request needs it whole (edits, weights between positions): the numbers are
// the same bytes, since all that a position knows of the ones before is what the layers carry. Constructed before any weight is
// read; afterwards immutable, for any number of threads.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <wayfarer/layers.hpp>
#include <wayfarer/model.hpp>
#include <wayfarer/scan.hpp>
#include <wayfarer/taps.hpp>
#include <wayfarer/weights.hpp>

#include "one_stack.hpp"

namespace wayfarer {

/// What one layer keeps of what it has read.
struct layer_past {
  std::vector<carried> states;
  /// Of layers that weigh recent positions one by one: each item's, in a form of their own.
  std::vector<tensor> kept{};

  layer_past branch(std::span<std::size_t const> items) const;
};

/// What all layers keep, for some items.
struct recurrent_past {
  std::vector<layer_past> layers;
  std::vector<std::size_t> lengths;

  std::size_t length(std::size_t item) const { return lengths[item]; }
  recurrent_past branch(std::span<std::size_t const> items) const;
  recurrent_past mark() const;
  void back_to(recurrent_past const& then) { *this = then.mark(); }
};

struct recurrent_model : one_stack_model {
  activations run(batch const&, run_request const&) const override;
  std::unique_ptr<continued_run> begin(batch const&, run_request const&, activations* captured) const override;
  tensor final_norm(tensor const& x) const override;
  rows unembed_tokens(rows const& x, std::size_t first, std::size_t last) const override;

 protected:
  /// Rows of one piece of text, at most, over all items.
  static constexpr std::size_t piece_rows = 2048;

  /// What the blocks of one pass share.
  struct pass {
    run_request const& request;
    rows first_values{};  ///< RWKV-7: the values of the first layer
  };

  using one_stack_model::one_stack_model;

  /// What a layer carries as long as it has read nothing.
  virtual layer_past fresh(std::size_t layer, std::size_t items, dtype precision) const = 0;
  /// One block: x + what its parts give. x: [token, d_model], all items packed end to end.
  virtual rows block(std::size_t layer, rows x, pass&, layer_past&, tap_scope const& at) const = 0;

  // Filled by the family when weights come in.
  tensor token_table_, position_table_{};
  norm_weights embed_ln_{}, ln_final_;
  linear_weights unembed_;
  bool has_embed_ln_ = false, rms_ = false;

 private:
  recurrent_past nothing_read(std::size_t items, dtype precision) const;
  /// `goes_on`: the past will be read from again, so a pass must not stop early.
  activations read(batch const&, run_request const&, recurrent_past&, bool goes_on) const;
  activations in_pieces(batch const&, run_request const&, recurrent_past&, std::size_t piece) const;
  activations once(batch const&, run_request const&, recurrent_past&, bool goes_on) const;
  void forward(batch const&, run_request const&, taps& at, recurrent_past&, bool goes_on) const;
  rows embedding(batch const&, std::shared_ptr<row_packing const> const&, run_request const&, taps& at) const;
  rows normed(rows const& x, norm_weights const& w, tap_scope const& at) const {
    return rms_ ? rms_norm(x, w, at) : layer_norm(x, w, at);
  }
  bool over_pairs(run_request const&) const;
};

/// Makes lists of hooks: what all of these models have, in the order in which a pass reaches them.
struct recurrent_hooks {
  std::vector<hook_info> all{};
  dims state;  ///< [d_model]

  void add(std::string name, dims row, std::string about, bool per_pair = false) {
    all.push_back({std::move(name), std::move(row), per_pair, std::move(about)});
  }
  void norm(std::string const& at, std::string const& of, bool rms, dims const& row, dims const& scales);
  void norm(std::string const& at, std::string const& of, bool rms) { norm(at, of, rms, state, {{"one", 1}}); }
};

/// Rank-one and rank-two tensors of the usual kinds, declared and named in one go; torch's Linear matrices are [out, in].
void store_norm(weight_table&, std::string const& stored, std::string const& common, dim const& width, bool bias);
void store_matrix(weight_table&, std::string const& stored, std::string const& common, dim const& in, dim const& out);

}  // namespace wayfarer
